"""SALVAGE=yes: of damaged films what can be read is published, and the table says that it is not all."""

import itertools
import urllib.parse
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import av
import m3u8
import pytest
from clips import H264, cut, make
from house import House

from watcher import localb2

LADDER = "180,144"
SMALL = ("-c:v", "mpeg4", "-q:v", "6", "-g", "25")


def _cut_mp4(path: Path) -> None:
    """Ten of twenty seconds, whose index tells of all twenty."""
    _cut(path, *SMALL, "-c:a", "aac", "-movflags", "+faststart")


def _cut_copyable(path: Path) -> None:
    _cut(path, *H264, "-g", "50", "-c:a", "aac", "-movflags", "+faststart")


def _cut_mkv(path: Path) -> None:
    _cut(path, *SMALL, "-c:a", "libmp3lame")


def _cut_avi(path: Path) -> None:
    _cut(path, *SMALL, "-c:a", "libmp3lame")


def _cut(path: Path, *encoding: str) -> None:
    cut(make(path.with_name(f"whole-{path.name}"), *encoding, seconds=20), path, share=0.5)


def _noise(path: Path, *encoding: str, kind: str, start: float, end: float) -> None:
    """Overwrite the packets of one track between two times."""
    whole = make(path.with_name(f"whole-{path.name}"), *encoding, seconds=20)
    data = bytearray(whole.read_bytes())
    with av.open(str(whole)) as container:
        for packet in container.demux(container.streams.best(kind)):
            time = float((packet.pts or 0) * packet.time_base)
            if packet.size and packet.pos is not None and start <= time < end:
                data[packet.pos : packet.pos + packet.size] = b"\x55" * packet.size
    path.write_bytes(data)


def _hole(path: Path) -> None:
    """Five seconds out of the middle, of which one chunk (4 to 12 s) loses the end and the next the beginning."""
    _noise(path, *H264, "-g", "25", "-c:a", "aac", kind="video", start=9.5, end=14.5)


def _lost_chunk(path: Path) -> None:
    """All of a chunk, and a little more."""
    _noise(path, *SMALL, "-c:a", "aac", kind="video", start=3.5, end=13.0)


def _deaf(path: Path) -> None:
    """All of the sound."""
    _noise(path, *SMALL, "-c:a", "aac", kind="audio", start=-1, end=99)


SOURCES: dict[str, Callable[[Path], None]] = {
    "cut.mp4": _cut_mp4,
    "cut-copyable.mp4": _cut_copyable,
    "cut.mkv": _cut_mkv,
    "cut.avi": _cut_avi,
    "hole.mp4": _hole,
    "lost-chunk.mp4": _lost_chunk,
    "deaf.mp4": _deaf,
}


@dataclass(frozen=True)
class Salvaged:
    """What became of them."""

    house: House
    rows: dict[str, dict[str, Any]]
    folder: Path

    def mp4(self, name: str) -> tuple[list[float], float | None]:
        """Decode all of an MP4; return the times of its pictures, and when its sound ends."""
        path = self.house.download(self.rows[name]["mp4"], self.folder / f"made-{name}.mp4")
        times, heard = [], None
        with av.open(str(path)) as container:
            for frame in container.decode(*container.streams.video, *container.streams.audio):
                if isinstance(frame, av.VideoFrame):
                    times.append(float(frame.time or 0.0))
                else:
                    heard = float(frame.time or 0.0) + frame.samples / frame.sample_rate
        return times, heard

    def playlists(self, name: str) -> list[m3u8.M3U8]:
        """Return the media playlists, pictures first."""
        master = self._text(self.rows[name]["hls"])
        place = self.rows[name]["hls"].rpartition("/")[0]
        uris = [one.uri for one in (*master.playlists, *master.media)]
        return [self._text(f"{place}/{urllib.parse.unquote(uri)}") for uri in uris]

    def _text(self, name: str) -> m3u8.M3U8:
        path = self.house.download(name, self.folder / "playlist.m3u8")
        return m3u8.loads(path.read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def salvaged(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Salvaged]:
    folder = tmp_path_factory.mktemp("salvage")
    with localb2.serve(folder / "b2") as b2:
        house = House(folder, b2, LADDER=LADDER, SALVAGE="yes", QUALITY="fast")
        for name, write in SOURCES.items():
            write(folder / name)
            house.upload(folder / name)
        joined = make(folder / "joined.mp4", seconds=2)
        joined.write_bytes(joined.read_bytes() * 2)
        house.upload(joined)
        house.run_until_idle()
        yield Salvaged(house, house.rows(), folder)


@pytest.mark.parametrize("name", SOURCES)
def test_the_table_says_that_it_is_not_all_and_why(salvaged: Salvaged, name: str) -> None:
    row = salvaged.rows[name]
    assert (row["status"], row["reason"]) == ("completed", "salvaged"), row["error"]
    assert row["error_code"] == ("source_truncated" if name.startswith("cut") else "source_damaged")
    assert row["error"].startswith("only what can be read is published: ")
    assert "of 20.0 s" in row["error"]


def test_of_recordings_put_one_behind_the_other_the_first_is_published_and_said_to_be_that(
    salvaged: Salvaged,
) -> None:
    row = salvaged.rows["joined.mp4"]
    assert (row["status"], row["reason"]) == ("completed", "salvaged"), row["error"]
    assert row["error_code"] == "source_damaged"
    assert "2.0 s: another recording was put behind it" in row["error"]
    times, _ = salvaged.mp4("joined.mp4")
    assert len(times) == 50


@pytest.mark.parametrize("name", ["cut.mp4", "cut-copyable.mp4", "cut.mkv", "cut.avi"])
def test_what_is_there_of_a_cut_film_plays_to_its_end(salvaged: Salvaged, name: str) -> None:
    times, heard = salvaged.mp4(name)
    assert 8 < times[-1] < 12
    assert heard == pytest.approx(times[-1], abs=1.5)
    assert salvaged.rows[name]["duration_seconds"] == pytest.approx(max(times[-1] + 0.04, heard), abs=0.1)
    assert max(after - before for before, after in itertools.pairwise(times)) < 0.1


@pytest.mark.parametrize("name", ["hole.mp4", "lost-chunk.mp4"])
def test_a_film_goes_on_behind_a_hole_with_its_times_as_they_were(salvaged: Salvaged, name: str) -> None:
    times, heard = salvaged.mp4(name)
    assert times[-1] == pytest.approx(19.96, abs=0.001)
    assert heard == pytest.approx(20.0, abs=0.1)
    assert 200 < len(times) < 400


@pytest.mark.parametrize("name", SOURCES)
def test_the_playlists_are_as_long_as_the_film_and_have_no_gap(salvaged: Salvaged, name: str) -> None:
    times, _ = salvaged.mp4(name)
    *rungs, sound = salvaged.playlists(name) if name != "deaf.mp4" else [*salvaged.playlists(name), None]
    assert len(rungs) == 2
    for playlist in rungs:
        assert playlist.is_endlist
        length = sum(segment.duration for segment in playlist.segments)
        assert length == pytest.approx(times[-1] + 0.04, abs=0.05)
    assert sound is None or sound.is_endlist


def test_a_film_whose_sound_is_lost_comes_out_silent(salvaged: Salvaged) -> None:
    times, heard = salvaged.mp4("deaf.mp4")
    assert heard is None
    assert len(times) == 500


def test_show_says_it_too(salvaged: Salvaged) -> None:
    shown = " ".join(salvaged.house.cli("show", "cut.mp4").stdout.split())
    assert "completed salvaged" in shown
    assert "source_truncated: only what can be read is published" in shown
