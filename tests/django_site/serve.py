"""Makes the site's own database, prints the port, and serves the site until it is killed."""

import os
import sys
from socketserver import ThreadingMixIn
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

os.environ["DJANGO_SETTINGS_MODULE"] = "settings"

import django
from django.contrib.staticfiles.handlers import StaticFilesHandler
from django.core.management import call_command
from django.core.wsgi import get_wsgi_application


class _Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True


class _Quiet(WSGIRequestHandler):
    def log_message(self, *_: object) -> None:
        """Leave the log to tracebacks."""


def main() -> None:
    """Serve."""
    django.setup()
    call_command("migrate", verbosity=0, run_syncdb=True)
    call_command("check", databases=["default", "watcher"], fail_level="WARNING")
    from site_app.models import Video

    for number, owner in enumerate(sys.argv[1:], start=1):
        Video.objects.create(title=f"cat {number}", owner=owner, raw=f"media/private/cat{number}.mov")
    application = StaticFilesHandler(get_wsgi_application())
    with make_server("127.0.0.1", 0, application, server_class=_Server, handler_class=_Quiet) as server:
        print(f"port {server.server_port}", flush=True)
        server.serve_forever()


main()
