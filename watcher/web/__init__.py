"""The status page and the JSON API: what people and other programs may see of the table. Writes nothing.

`create` returns the ASGI application; any ASGI server may run it, such as
`gunicorn -k uvicorn_worker.UvicornWorker 'watcher.web:create()'`.
"""

import contextlib
import socket
from collections.abc import AsyncIterator

import fastapi
import uvicorn
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.middleware.gzip import GZipMiddleware

from watcher import __version__, config, database, log, stats
from watcher.errors import Misconfigured, Outage
from watcher.web import api, guard, media, metrics, pages, playback, troubles, views

GRACE_SECONDS = 5  # for answers under way when it is asked to stop; they take milliseconds
LEAST_COMPRESSED_BYTES = 500  # below this the answer fits into one packet as it is

_log = log.get()


def create(settings: config.Settings | None = None) -> fastapi.FastAPI:
    """Return the application; its settings are those of the environment unless given.

    Raises Misconfigured when there is no table to read, or one of another version's schema.
    """
    if settings is None:
        settings = config.load()
        log.configure(level=settings.log_level, format=settings.log_format)
    readings = database.open_for_reading(settings.database_url.get_secret_value())
    try:
        database.demand_current(readings)
    except Misconfigured:
        readings.dispose()
        raise

    @contextlib.asynccontextmanager
    async def lifespan(_app: fastapi.FastAPI) -> AsyncIterator[None]:
        yield
        readings.dispose()

    app = fastapi.FastAPI(
        title="Watcher",
        version=__version__,
        lifespan=lifespan,
        docs_url=None,  # their pages load scripts from elsewhere
        redoc_url=None,
        openapi_url="/api/v1/openapi.json",
    )
    app.state.settings = settings
    app.state.readings = readings
    app.state.tally = stats.Tally(readings)
    app.state.player = playback.Playback(settings)
    for router in (pages.router, media.router, api.router, metrics.router):
        app.include_router(router)
    app.mount("/static", views.Static())
    for kind in (HTTPException, RequestValidationError, Outage, Misconfigured):
        app.add_exception_handler(kind, troubles.answer)
    app.add_middleware(GZipMiddleware, minimum_size=LEAST_COMPRESSED_BYTES)
    app.add_middleware(guard.Guard, token=settings.web_token)  # the last one added is the first one asked
    return app


def serve(settings: config.Settings, *, host: str, port: int) -> None:
    """Serve until SIGINT or SIGTERM; Misconfigured for an address that others reach while no token is set."""
    if settings.web_token is None and not guard.is_loopback(host):
        raise Misconfigured(
            [
                f"WEB_TOKEN: is not set, and whoever reaches {host} could see all videos: set one, or use 127.0.0.1"
            ]
        )
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        listener = socket.create_server((host, port), family=family)
    except OSError as error:
        raise Misconfigured(
            [f"WEB_PORT: cannot listen on {host} port {port}: {error.strerror}. Choose another with --port."]
        ) from error
    with listener:
        server = uvicorn.Server(
            uvicorn.Config(
                create(settings),
                log_config=None,
                log_level="warning",
                server_header=False,
                access_log=False,
                timeout_graceful_shutdown=GRACE_SECONDS,
            )
        )
        shown = f"[{host}]" if ":" in host else host
        _log.info("serving", url=f"http://{shown}:{port}/", needs_token=settings.web_token is not None)
        server.run(sockets=[listener])
