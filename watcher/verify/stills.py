"""Whether a still picture can be shown, in the size that was promised."""

from typing import Any

from watcher.errors import Failure


def still(name: str, picture: dict[str, Any] | None, *, width: int, height: int) -> None:
    """Raise unless `picture`, the prober's facts of what was decoded of the file `name`, has exactly that size."""
    found = (picture["width"], picture["height"]) if picture is not None else None
    if found is None:
        raise Failure("output_invalid", f"{name} cannot be decoded")
    if found != (width, height):
        raise Failure("output_invalid", f"{name} is {found[0]}x{found[1]}, not {width}x{height}")
