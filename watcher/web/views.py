"""Templates to HTML: everything that is put into a page is escaped, and text from outside cannot turn it around."""

import hashlib
import mimetypes
import urllib.parse
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

import jinja2
from starlette.responses import Response
from starlette.staticfiles import StaticFiles
from starlette.types import Scope
from typing_extensions import override

from watcher import display

HERE = Path(__file__).parent
STATIC = HERE / "static"


def render(template: str, **values: Any) -> str:
    """Return a page."""
    return _environment().get_template(template).render(values)


class Static(StaticFiles):
    """The files that pages load. Their addresses change with their content, so browsers may keep them."""

    def __init__(self) -> None:
        super().__init__(directory=STATIC)

    @override
    async def get_response(self, path: str, scope: Scope) -> Response:
        response = await super().get_response(path, scope)
        response.headers["Cache-Control"] = "private, max-age=31536000, immutable"
        return response


@cache
def address(name: str) -> str:
    """Return the address of a static file."""
    digest = hashlib.sha256((STATIC / name).read_bytes()).hexdigest()[:12]
    return f"/static/{name}?{digest}"


def has(name: str) -> bool:
    """Whether there is a static file of this name: hls.js is put there by the build."""
    return (STATIC / name).is_file()


@cache
def _environment() -> jinja2.Environment:
    mimetypes.add_type(
        "text/javascript", ".js"
    )  # where a system's own table says otherwise, nosniff blocks it
    made = jinja2.Environment(
        loader=jinja2.FileSystemLoader(HERE / "templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.globals |= {"static": address, "has_static": has, "here": "", "search": ""}
    made.filters |= {
        "ago": display.ago,
        "clean": display.clean,
        "clock": _clock,
        "count": _count,
        "folder": lambda name: name.rpartition("/")[0],
        "iso": lambda time: time.astimezone(UTC).isoformat(timespec="seconds").replace("+00:00", "Z"),
        "leaf": lambda name: name.rpartition("/")[2] or name,
        "percent": lambda part: f"{int(part * 100)} %",  # 100 only when it is done
        "rate": _rate,
        "size": display.size,
        "span": _span,
        "version": _version,
        "query": lambda values: urllib.parse.urlencode({k: v for k, v in values.items() if v}),
    }
    return made


def _clock(time: datetime) -> str:
    return time.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S")


def _count(number: int) -> str:
    return f"{number:,}".replace(",", "\u202f")  # a narrow space, that no line breaks at


def _span(seconds: float | None) -> str:
    """Return a length as a player shows it: 0:04, 1:02:03; empty when it is not known."""
    if seconds is None:
        return ""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def _rate(bits: int | None) -> str:
    if bits is None:
        return ""
    return f"{bits / 1e6:.1f} Mbit/s" if bits >= 1_000_000 else f"{bits / 1000:.0f} kbit/s"


def _version(video: dict[str, Any]) -> int:
    """Return what the addresses of a video's pictures end with, so that a new picture is a new address."""
    time: datetime = video["completed_at"] or video["playable_at"] or video["discovered_at"]
    return int(time.timestamp())
