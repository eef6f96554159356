"""The web application on a port of its own, in a thread of the test's process."""

import socket
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager

import uvicorn
from house import wait_for

from watcher import config, web


@contextmanager
def served(settings: config.Settings) -> Iterator[str]:
    """Serve the application on 127.0.0.1 for as long as the block runs; gives its base URL."""
    app = web.create(settings)
    # asyncio answers without delay only where the socket says that it speaks TCP; create_server's does not.
    with closing(socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)) as listener:
        listener.bind(("127.0.0.1", 0))
        server = uvicorn.Server(uvicorn.Config(app, log_config=None, timeout_graceful_shutdown=5))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        try:
            wait_for(lambda: server.started, "the web application to start")
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join()
