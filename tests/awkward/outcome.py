"""What the daemon has made of awkward files, and whether that is what had to come of each."""

import urllib.parse
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import checks
import m3u8
import measure
from case import Case, Film, Refused, Skipped
from house import House

from watcher.beat import Beat


@dataclass(frozen=True)
class Outcome:
    """What the daemon has made of all files."""

    house: House
    rows: dict[str, dict[str, Any]]
    objects: dict[str, list[str]]
    folder: Path
    table: dict[str, str]  # what each test has found out, by the name of its file

    def fetch(self, name: str) -> Path:
        """Download an object."""
        path = self.folder / urllib.parse.quote(name, safe="")[-200:]
        if not path.exists():
            self.house.bucket.download(self.objects[name][0], path, beat=Beat())
        return path


def wrong(outcome: Outcome, case: Case, row: dict[str, Any]) -> list[str]:
    """Return what is wrong with what was made of a file, in words."""
    said = row["error_code"] or row["reason"]
    match case.expect:
        case Refused(code, says):
            if (row["status"], said) != ("failed", code):
                return [f"{row['status']} {said}, not failed {code}"]
            return [] if says in row["error"] else [f"the error does not say {says!r}"]
        case Skipped(reason):
            return (
                []
                if (row["status"], said) == ("skipped", reason)
                else [f"{row['status']} {said}, not skipped {reason}"]
            )
        case Film():
            if row["status"] != "completed":
                return [f"{row['status']} {said}: {(row['error'] or '').splitlines()[:1]}"]
            return [*_wrong_files(outcome, case.expect, row), *_wrong_ladder(outcome, case.expect, row)]


def _wrong_files(outcome: Outcome, expect: Film, row: dict[str, Any]) -> Iterator[str]:
    yield from checks.film(outcome.fetch(row["mp4"]), expect, size=expect.size)
    yield from checks.poster(
        outcome.fetch(row["poster"]), expect, size=expect.size, colour_within=expect.colour_within
    )
    if (row["width"], row["height"]) != expect.size:
        yield f"the table says {row['width']}x{row['height']}"


def _wrong_ladder(outcome: Outcome, expect: Film, row: dict[str, Any]) -> Iterator[str]:
    """Put each rendition together from its segments, as a player does, and compare it with the MP4."""
    mp4 = measure.shown(outcome.fetch(row["mp4"]))
    master = m3u8.loads(outcome.fetch(row["hls"]).read_text())
    pictures: list[tuple[str, measure.Shown]] = []
    if not master.playlists:
        yield "the ladder has no rung"
    for variant in master.playlists:
        path, seconds = _assembled(outcome, row["hls"], variant.uri)
        if abs(seconds - mp4.seconds) > max(0.1, mp4.last_length):
            yield f"{variant.uri} lasts {seconds:.3f} s, the MP4's picture {mp4.seconds:.3f} s"
        found = measure.shown(path)
        pictures.append((variant.uri, found))
        yield from checks.rendition(path.name, found, mp4, size=variant.stream_info.resolution)
    for rendition in master.media:
        path, _ = _assembled(outcome, row["hls"], rendition.uri)
        sound = measure.shown(path)
        for uri, picture in pictures:
            yield from checks.in_time(uri, picture, sound, within=expect.sync_within)
        if sound.errors or sound.channels != mp4.channels or len(sound.beeps) != len(mp4.beeps):
            yield f"{rendition.uri} has {sound.channels} channels and beeps at {sound.beeps}, the MP4 at {mp4.beeps}"


def _assembled(outcome: Outcome, master: str, uri: str) -> tuple[Path, float]:
    """Return a file with the head and all segments of a media playlist, and how long it says that they last."""
    place = master.rpartition("/")[0]
    playlist = m3u8.loads(outcome.fetch(f"{place}/{urllib.parse.unquote(uri)}").read_text())
    whole = outcome.folder / f"{urllib.parse.quote(f'{place}/{uri}', safe='')[-200:]}.mp4"
    head = b""
    with whole.open("wb") as file:
        for segment in playlist.segments:
            data = _bytes(outcome, place, segment.init_section.uri, segment.init_section.byterange)
            if data != head:
                file.write(data)
                head = data
            file.write(_bytes(outcome, place, segment.uri, segment.byterange))
    return whole, sum(segment.duration for segment in playlist.segments)


def _bytes(outcome: Outcome, place: str, uri: str, byte_range: str) -> bytes:
    length, _, start = byte_range.partition("@")
    with outcome.fetch(f"{place}/{urllib.parse.unquote(uri)}").open("rb") as file:
        file.seek(int(start))
        return file.read(int(length))
