"""How the CLI shows videos: tables, bars and stories for an 80-column terminal. Reads nothing by itself."""

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

from rich import box
from rich.cells import cell_len, set_cell_size
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from watcher import log
from watcher.errors import CODES

STYLES = {
    "pending": "cyan",
    "running": "bold blue",
    "completed": "green",
    "failed": "bold red",
    "skipped": "dim",
    "cancelled": "dim",
}
BAR = 10  # characters of a progress bar
NAME = 12  # characters that names get at least, as long as a column can be left out for them
# Fields of an event's detail that are said in words, in this order.
_TOLD = ("error_code", "code", "reason", "error", "why", "detail", "outputs")


def to_json(rows: Sequence[Mapping[str, Any]]) -> str:
    """Return rows as a JSON array; times in ISO 8601, UTC."""
    return json.dumps([dict(row) for row in rows], indent=2, default=_plain, ensure_ascii=False)


def videos(
    rows: Sequence[Mapping[str, Any]],
    running: Mapping[int, list[str]],
    *,
    now: datetime,
    width: int,
    with_bars: bool = False,
) -> RenderableType:
    """Return the status table, one line for each video; names get what `width` (characters) leaves for them.

    On a narrow terminal it has fewer columns.
    """
    lines = [
        (
            Text(str(row["id"])),
            Text(clean(row["name"])),
            _state(row, running.get(row["id"], []), with_bars=with_bars),
            Text(length(row["duration_seconds"])),
            Text(size(row["size_bytes"])),
            Text(ago(row["discovered_at"], now)),
        )
        for row in rows
    ]
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 1))
    heads = ("ID", "Name", "Status", "Length", "Size", "Age")
    widest = [max([len(head), *(line[place].cell_len for line in lines)]) for place, head in enumerate(heads)]
    shown = list(heads)

    def room() -> int:
        gaps = 3 * (len(shown) - 1)  # a column's padding, the gap, the next one's padding
        return width - gaps - sum(widest[heads.index(head)] for head in shown if head != "Name")

    for head in ("Size", "Age", "Length"):
        if room() < NAME:
            shown.remove(head)
    for head in shown:
        justify: Literal["left", "right"] = "left" if head in ("Name", "Status") else "right"
        fixed = None if head == "Name" else widest[heads.index(head)]
        table.add_column(head, justify=justify, no_wrap=True, min_width=fixed)
    for line in lines:
        cells = dict(zip(heads, line, strict=True))
        cells["Name"] = Text(shorten(line[1].plain, max(room(), NAME // 2)))
        table.add_row(*(cells[head] for head in shown))
    return table


def totals(counts: Mapping[str, int], *, swept_at: datetime | None, now: datetime) -> Text:
    """Return one line: how many videos there are in each state, and when the bucket was last listed."""
    words = [f"{count} {status}" for status, count in sorted(counts.items())]
    line = ", ".join(words) if words else "no videos yet"
    listed = f"last listed {ago(swept_at, now)} ago" if swept_at else "not listed yet"
    return Text(f"{line}; bucket {listed}")


def pause(row: Any, *, now: datetime) -> Text:
    """Return what a daemon does not do at present, why, and what to do about it."""
    again = f"tries again in {ago(now, row.until)}" if row.until > now else "tries again now"
    what = {"listing": "the bucket cannot be listed", "work": "work is paused"}.get(row.what, row.what)
    text = Text(
        f"{what} ({row.code}, for {ago(row.since, now)}; {again}): {clean(row.detail)}", style="yellow"
    )
    return text.append(f"\n  {CODES[row.code].hint}" if row.code in CODES else "", style="dim")


def story(
    row: Mapping[str, Any],
    steps: Sequence[Any],
    outputs: Sequence[Any],
    events: Sequence[Any],
    *,
    whole: Any,
    now: datetime,
    is_full: bool,
) -> RenderableType:
    """Return what is known of one video; of a film's hundreds of chunks the first, and all that went wrong.

    `row` is the view's, `whole` the table's.
    """
    if not is_full:
        steps = [
            step for step in steps if not (step.ordinal and step.status == "completed" and step.attempts == 1)
        ]
        events = told_events(events)
    facts = Table.grid(padding=(0, 2))
    facts.add_column(style="dim", no_wrap=True)
    facts.add_column(overflow="fold")
    facts.add_row("video", Text(str(row["id"])))
    facts.add_row("name", Text(clean(row["name"])))
    facts.add_row("bucket", Text(clean(row["bucket"])))
    facts.add_row("file id", Text(clean(row["file_id"])))
    facts.add_row("size", size(row["size_bytes"]))
    found = row["discovered_at"]
    facts.add_row("found", f"{found.strftime('%Y-%m-%d %H:%M:%S')} UTC, {ago(found, now)} ago")
    facts.add_row("status", _status(row))
    if row["status"] == "running":
        facts.add_row("progress", f"{row['progress']:.0%}")
    if row["error_code"] is not None:
        facts.add_row("error", Text(f"{row['error_code']}: {clean(row['error'] or '')}"))
    if whole is not None and whole.hint:
        facts.add_row("what to do", Text(whole.hint))
    if row["duration_seconds"] is not None:
        facts.add_row("length", length(row["duration_seconds"]))
    if row["width"] is not None:
        facts.add_row("picture", f"{row['width']} x {row['height']}")
    if whole is not None and whole.media is not None:
        facts.add_row("sound", Text(_sound(whole)))
    parts = [output for output in outputs if output.kind.endswith("_part")]
    for output in outputs:
        if is_full or output not in parts:
            facts.add_row(
                output.kind.replace("_", " "), Text(f"{clean(output.name)} ({size(output.size_bytes)})")
            )
    if parts and not is_full:
        facts.add_row("parts", f"{len(parts)} objects, {size(sum(part.size_bytes for part in parts))}")
    return Group(facts, _steps(steps), _events(events))


def clean(text: str) -> str:
    """Return text that cannot take over the terminal."""
    return log.escape(text)


def shorten(text: str, most: int) -> str:
    """Return text of at most `most` terminal cells; the end of a name, where its kind stands, is kept."""
    if cell_len(text) <= most:
        return text
    tail = ""
    for character in reversed(text):
        if cell_len(character + tail) > most // 3:
            break
        tail = character + tail
    return f"{set_cell_size(text, most - cell_len(tail) - 1).rstrip()}…{tail}"


def size(size_bytes: int) -> str:
    """Return a size for people: 1.2 MB is 1,200,000 bytes."""
    amount = float(size_bytes)
    for unit in ("B", "kB", "MB", "GB"):
        if amount < 1000:
            return f"{amount:.0f} {unit}" if unit == "B" or amount >= 100 else f"{amount:.1f} {unit}"
        amount /= 1000
    return f"{amount:.1f} TB"


def length(seconds: float | None) -> str:
    """Return a duration as 1:02:03, or 0:04.2 below ten seconds; a dash when it is not known."""
    if seconds is None:
        return "-"
    if seconds < 10:
        return f"0:{seconds:04.1f}"
    whole = round(seconds)
    hours, minutes = divmod(whole // 60, 60)
    return f"{hours}:{minutes:02}:{whole % 60:02}" if hours else f"{minutes}:{whole % 60:02}"


def ago(then: datetime | None, now: datetime) -> str:
    """Return how long ago in one unit: 5 s, 12 min, 3 h, 8 d."""
    if then is None:
        return "-"
    seconds = max((now - then) / timedelta(seconds=1), 0)
    for most, unit, divisor in ((100, "s", 1), (5400, "min", 60), (129600, "h", 3600)):
        if seconds < most:
            return f"{seconds / divisor:.0f} {unit}"
    return f"{seconds / 86400:.0f} d"


def _sound(video: Any) -> str:
    """Return which sound of a source was chosen, and how loud the published one is."""
    track = video.media["audio"]
    if track is None:
        return "none"
    words = [f"{clean(track['codec'])}, {_channels(track)}, {track['sample_rate']} Hz"]
    language = video.audio_language or "no language given"
    if track["tracks"] > 1:
        words.append(f"track {track['number']} of {track['tracks']} ({clean(language)})")
    elif video.audio_language:
        words.append(clean(language))
    if video.gain_db is not None:
        words.append("silent" if video.loudness_lufs is None else f"{video.loudness_lufs:.1f} LUFS")
    if video.true_peak_dbfs is not None:
        words.append(f"true peak {video.true_peak_dbfs:.1f} dBFS")
    if video.gain_db:
        words.append(f"turned {'up' if video.gain_db > 0 else 'down'} by {abs(video.gain_db):.1f} dB")
    return ", ".join(words)


def _channels(track: Mapping[str, Any]) -> str:
    known = {1: "mono", 2: "stereo"}.get(track["channels"])
    return known or clean(track["layout"] or f"{track['channels']} channels")


def told_events(events: Sequence[Any]) -> list[Any]:
    """Leave out what every chunk, and every announcement after the first, has to tell when all goes well."""
    told, announced = [], False
    for event in events:
        is_routine = event.what in ("started", "finished")
        if is_routine and event.step == "announce":
            if announced:
                continue
            announced = event.what == "finished"
        if is_routine and event.step and ":" in event.step and (event.detail or {}).get("attempt", 1) == 1:
            continue
        told.append(event)
    return told


def told(detail: Mapping[str, Any]) -> str:
    words = []
    if detail.get("attempt", 1) > 1:
        words.append(f"attempt {detail['attempt']}")
    for field in _TOLD:
        value = detail.get(field)
        if value:
            words.append(", ".join(value) if isinstance(value, list) else str(value))
    return ": ".join(words)


def _status(row: Mapping[str, Any]) -> Text:
    why = row["error_code"] if row["status"] == "failed" else row["reason"]
    text = Text(row["status"], style=STYLES.get(row["status"], ""))
    if why:
        text.append(f" {clean(why)}", style="dim")
    return text


def _state(row: Mapping[str, Any], kinds: list[str], *, with_bars: bool) -> Text:
    """Return the status, and for a video that is being made how far it is and what is running."""
    text = _status(row)
    if row["status"] == "running":
        if with_bars:
            full = round(row["progress"] * BAR)
            text.append(" " + "━" * full, style="green").append("━" * (BAR - full), style="dim")
        text.append(f" {row['progress']:.0%}")
        # A list would take the room of the names.
        doing = "waiting" if not kinds else kinds[0] if len(kinds) == 1 else f"{len(kinds)} steps"
        text.append(f" {doing}", style="dim")
    return text


def _steps(steps: Sequence[Any]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1))
    for name, justify in (("Step", "left"), ("Status", "left"), ("Attempts", "right"), ("Seconds", "right")):
        table.add_column(name, justify="right" if justify == "right" else "left", no_wrap=True)
    table.add_column("Last error", overflow="fold")
    for step in steps:
        ended = step.finished_at is not None and step.started_at is not None and step.status == "completed"
        table.add_row(
            step.kind if step.ordinal == 0 else f"{step.kind}:{step.ordinal}",
            Text(step.status, style=STYLES.get(step.status, "")),
            str(step.attempts),
            f"{(step.finished_at - step.started_at).total_seconds():.1f}" if ended else "-",
            Text(clean(": ".join(filter(None, (step.error_code, step.error))))),
        )
    return table


def _events(events: Sequence[Any]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1))
    table.add_column("Time (UTC)", no_wrap=True)
    table.add_column("Event", no_wrap=True)
    table.add_column("Detail", overflow="fold")
    for event in events:
        table.add_row(
            event.at.astimezone(UTC).strftime("%m-%d %H:%M:%S"),
            Text(f"{event.step} {event.what}" if event.step else event.what),
            Text(clean(told(event.detail or {}))),
        )
    return table


def _plain(value: object) -> str:
    if isinstance(value, datetime):
        return value.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    raise TypeError(f"no JSON for {type(value)}")
