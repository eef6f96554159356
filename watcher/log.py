"""What the program says about itself while it runs: how a log line looks and where it goes.

Lines go to standard error: for people on a terminal, one JSON object a line otherwise. Knows no event's name.
"""

import contextlib
import logging
import re
import sys
from collections.abc import Callable, Mapping
from typing import Any, Literal, cast

import structlog

_OURS = "watcher"

# Whatever moves a terminal's cursor, hides text or reorders it, as a hostile object name may: C0, DEL and C1
# controls, line separators, invisible and bidirectional marks, and lone surrogates.
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ud800-\udfff]")
_TOKEN = re.compile(
    r"(authorization['\"]?\s*[:=]\s*['\"]?)(?:(?:basic|bearer)\s+)?[^\s'\"&,;)}]+", re.IGNORECASE
)
_DEEPEST = 4  # levels of nested values that are kept as such; what lies deeper becomes text


def configure(
    *, level: Literal["debug", "info", "warning", "error"], format: Literal["auto", "human", "json"]
) -> None:
    """Send log lines to standard error: ours from `level` up, those of the libraries from warnings up.

    `auto` is human on a terminal and JSON elsewhere. Calling it again replaces the earlier choice.
    """
    is_terminal = sys.stderr.isatty()
    is_human = format == "human" or (format == "auto" and is_terminal)
    handler = logging.StreamHandler(sys.stderr)
    handler.set_name(_OURS)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=_shared(),
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                structlog.processors.format_exc_info,  # a plain traceback: never with the values of locals
                *(_human(colors=is_terminal) if is_human else _json()),
            ],
        )
    )
    root = logging.getLogger()
    for earlier in [other for other in root.handlers if other.get_name() == _OURS]:
        root.removeHandler(earlier)
    root.addHandler(handler)
    root.setLevel(logging.WARNING)
    logging.getLogger(_OURS).setLevel(level.upper())
    # Warns of every tick that finds the one before it still at work, which is as it should be.
    logging.getLogger("apscheduler").setLevel(logging.ERROR)
    logging.captureWarnings(True)


def get() -> structlog.stdlib.BoundLogger:
    """Return a logger: `log.info("published", outputs=3)`. Until `configure` it is silent below warnings."""
    logger = structlog.wrap_logger(
        logging.getLogger(_OURS),
        processors=[
            structlog.stdlib.filter_by_level,
            *_shared(),
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        wrapper_class=structlog.stdlib.BoundLogger,
        context_class=dict,
        cache_logger_on_first_use=False,
    )
    return cast(structlog.stdlib.BoundLogger, logger)


def bound(**fields: object) -> contextlib.AbstractContextManager[None]:
    """Put `fields` (video, step) on every line that this thread logs until the context ends."""
    return structlog.contextvars.bound_contextvars(**fields)


def escape(text: str) -> str:
    """Return `text` with every character that could take over a terminal written out, as in \\x1b."""
    return _CONTROL.sub(lambda match: ascii(match[0])[1:-1], text)


def _shared() -> list[structlog.typing.Processor]:
    return [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.StackInfoRenderer(),
    ]


def _human(*, colors: bool) -> list[structlog.typing.Processor]:
    return [
        _cleaned_for_people,
        structlog.dev.ConsoleRenderer(
            colors=colors,
            pad_event_to=0,
            sort_keys=False,
            exception_formatter=structlog.dev.plain_traceback,
        ),
    ]


def _json() -> list[structlog.typing.Processor]:
    return [_cleaned_for_machines, structlog.processors.JSONRenderer(default=str)]


def _cleaned_for_machines(
    _logger: Any, _method: str, event: structlog.typing.EventDict
) -> structlog.typing.EventDict:
    return {str(key): _cleaned(value, _scrub) for key, value in event.items()}


def _cleaned_for_people(
    _logger: Any, _method: str, event: structlog.typing.EventDict
) -> structlog.typing.EventDict:
    cleaned = {escape(str(key)): _cleaned(value, _for_people) for key, value in event.items()}
    for key in ("event", "timestamp", "level"):
        if key in event:
            cleaned[key] = escape(_scrub(str(event[key])))
    # To the second, and without what every line would repeat; machines get all of it.
    cleaned["timestamp"] = cleaned["timestamp"].partition(".")[0].replace("T", " ")
    if "exception" in event:
        # Indented, so that a line break in an exception's message cannot start what looks like a log line.
        lines = _scrub(str(event["exception"])).splitlines()
        cleaned["exception"] = "\n".join(f"    {escape(line)}" for line in lines)
    return cleaned


def _cleaned(value: Any, clean: Callable[[str], str], depth: int = 0) -> Any:
    if value is None or isinstance(value, bool | int | float):
        return value
    if isinstance(value, Mapping) and depth < _DEEPEST:
        return {clean(str(key)): _cleaned(inner, clean, depth + 1) for key, inner in value.items()}
    if isinstance(value, list | tuple | set | frozenset) and depth < _DEEPEST:
        return [_cleaned(inner, clean, depth + 1) for inner in value]
    return clean(str(value))


def _scrub(text: str) -> str:
    return _TOKEN.sub(r"\1***", text)


def _for_people(text: str) -> str:
    return escape(_scrub(text))
