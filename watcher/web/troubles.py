"""What a request is answered that cannot be served: a page for people, JSON for programs."""

from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response

from watcher import log
from watcher.errors import Misconfigured, Outage
from watcher.web import views

_log = log.get()

_HEADINGS = {404: "Not found", 422: "Not found", 503: "Not available right now"}


async def answer(request: Request, error: Exception) -> Response:
    """Return the answer to `request`, which met `error`."""
    status, detail = _facts(error)
    if status >= 500:
        _log.warning("request_failed", path=request.url.path, why=detail)
    if request.url.path.startswith("/api/"):
        return JSONResponse({"detail": detail}, status)
    heading = _HEADINGS.get(status, "That did not work")
    return HTMLResponse(views.render("error.html", heading=heading, detail=detail), status)


def _facts(error: Exception) -> tuple[int, str]:
    if isinstance(error, HTTPException):
        return error.status_code, str(error.detail)
    if isinstance(error, RequestValidationError):
        wrong = [f"{'.'.join(map(str, one['loc'][1:]))}: {one['msg']}" for one in error.errors()]
        return 422, f"This cannot be asked for: {'; '.join(wrong)}."
    if isinstance(error, Outage):
        return 503, f"{error.detail} {error.hint}"
    assert isinstance(error, Misconfigured)
    return 503, " ".join(error.problems)
