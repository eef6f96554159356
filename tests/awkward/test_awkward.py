"""Awkward and hostile files, all through the whole daemon on the local B2 in one go, and looked at afterwards.

It takes some minutes, so it is no part of `make test`: `pytest tests/awkward`. `ancestor.py` puts the same files
through the command that this project replaces.
"""

import urllib.parse
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import checks
import m3u8
import measure
import pytest
import suite
from case import Case, Film, Refused, Skipped
from house import House

from watcher import localb2
from watcher.beat import Beat

pytestmark = pytest.mark.timeout(1800)  # the first test waits for all of the files


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


@pytest.fixture(scope="session")
def outcome(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Iterator[Outcome]:
    """Upload every file that a chosen test is about, and run the daemon once until nothing is left to do."""
    chosen = {
        item.callspec.params["case"].name for item in request.session.items if hasattr(item, "callspec")
    }
    folder = tmp_path_factory.mktemp("awkward")
    with localb2.serve(folder / "b2") as b2:
        house = House(folder, b2)
        for path, case in suite.made(folder / "sources", [one for one in suite.CASES if one.name in chosen]):
            house.upload(path, case.name)
        house.run_until_idle()
        (folder / "outputs").mkdir()
        yield Outcome(house, house.rows(), house.objects(), folder / "outputs", {})


@pytest.mark.parametrize("case", suite.CASES, ids=lambda case: case.name)
def test_an_awkward_file_comes_out_right_or_is_refused_with_the_reason(outcome: Outcome, case: Case) -> None:
    row = outcome.rows[case.name]

    wrong = _wrong(outcome, case, row)

    found = "; ".join(wrong) or _measured(outcome, row)
    outcome.table[case.name] = f"{'wrong' if wrong else 'right'}  {case.name:28} {found}"
    assert not wrong, row["error"]


def test_the_table_of_all_awkward_files_is_told(
    outcome: Outcome, record_property: Callable[[str, object], None]
) -> None:
    right = sum(line.startswith("right") for line in outcome.table.values())
    lines = [*outcome.table.values(), f"{right} of {len(outcome.table)} right"]
    record_property("table", "\n".join(lines))

    assert outcome.table.keys() == outcome.rows.keys()


def _measured(outcome: Outcome, row: dict[str, Any]) -> str:
    """Return what the MP4 has: its size, frames and seconds, and how far sound and picture are apart."""
    if row["status"] != "completed":
        return f"{row['status']} {row['error_code'] or row['reason']}"
    found = measure.shown(outcome.fetch(row["mp4"]))
    text = f"{found.width}x{found.height}, {len(found.times)} frames, {found.seconds:.3f} s"
    if not found.beeps or len(found.beeps) != len(found.flashes):
        return text
    start, end = ((found.beeps[at] - found.flashes[at]) * 1000 for at in (0, -1))
    return f"{text}, sound {start:+.0f} ms at the start and {end:+.0f} ms at the end"


def _wrong(outcome: Outcome, case: Case, row: dict[str, Any]) -> list[str]:
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
