"""The prober: looks into containers, in a child process."""

import json
import signal
import sys
from collections import deque
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from watcher import room, transcript
from watcher.beat import Beat
from watcher.errors import Failure
from watcher.ffmpeg import child

PROBER = Path(__file__).parent.with_name("probe")

ANSWER_BYTES = 4 * 1024 * 1024  # some hundred bytes a stream, and streams are limited


def probe(
    targets: Sequence[str | Path],
    *,
    folder: Path,
    beat: Beat,
    limits: child.Limits,
    container: str | None,
    scan: Literal["none", "packets", "start", "keyframes"],
    formats: Sequence[str],
    protocols: Sequence[str],
    size_bytes: int | None = None,
) -> list[dict[str, Any]]:
    """Look into each container with the prober, whose module says what comes back.

    With `container` None it is recognised. Raises Failure: "unreadable" when nothing allowed opens it,
    "source_too_large", "source_too_costly", or "encode_failed" when the bytes could not be fetched.
    """
    request: dict[str, Any] = {
        "targets": [str(target) for target in targets],
        "container": container,
        "scan": scan,
        "formats": list(formats),
    }
    request |= {"protocols": list(protocols), "max_streams": limits.streams, "max_pixels": limits.pixels}
    request["size_bytes"] = size_bytes
    answer: list[str] = [""]

    def listen(line: str) -> None:
        beat.advance()
        answer[0] = line

    said: deque[str] = deque(maxlen=transcript.TAIL_LINES)
    argv = [sys.executable, "-I", str(PROBER), json.dumps(request)]
    code = child.execute(
        argv,
        folder=folder,
        beat=beat,
        limits=limits,
        room=room.of_prober(PROBER, targets),
        out=listen,
        err=said.append,
        line_bytes=ANSWER_BYTES,
    )
    if code == -signal.SIGXCPU:
        raise Failure("source_too_costly", f"reading its structure was stopped: {child.ended(code)}")
    if code == -signal.SIGKILL:
        raise Failure("source_too_large", f"reading its structure was stopped: {child.ended(code)}")
    try:
        told: dict[str, Any] = json.loads(answer[0])
    except ValueError as error:
        detail = (
            f"reading its structure failed: {child.ended(code)}: {transcript.clean(transcript.last(said))}"
        )
        raise Failure("unreadable", detail) from error
    if "error" in told:
        code_of = {"open": "unreadable", "read": "encode_failed", "too_large": "source_too_large"}
        raise Failure(code_of[told["kind"]], transcript.clean(told["error"]))
    return [{**found, "log": told["log"]} for found in told["found"]]
