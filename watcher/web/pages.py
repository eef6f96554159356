"""The pages for people: the gallery, a video, the operations."""

import fastapi
from fastapi.responses import HTMLResponse

router = fastapi.APIRouter(include_in_schema=False, default_response_class=HTMLResponse)


@router.get("/")
def gallery() -> str:
    """Show the newest videos."""
    return "<!doctype html><title>Watcher</title>"
