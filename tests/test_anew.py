"""What viewers hold in their hands when a film that is up has to begin anew: nothing in it is gone, or changes."""

import itertools
import re
import threading
import urllib.parse
from contextlib import ExitStack
from pathlib import Path

import m3u8
import pytest
from clips import run
from house import clip, wait_for
from test_beginnings import copied_film, part_of
from test_steps import Floor, open_floor

from watcher import crashpoint, ledger, localb2, stats, steps
from watcher.source import blocks

H264 = ("-c:v", "libx264", "-preset", "ultrafast", "-crf", "35", "-pix_fmt", "yuv420p", "-g", "30")


class Audience:
    """Sees every playlist that is up at any moment, and has the daemon clean up at each of them."""

    def __init__(self, floor: Floor, monkeypatch: pytest.MonkeyPatch) -> None:
        self.floor = floor
        self._monkeypatch = monkeypatch
        self.texts: dict[str, list[str]] = {}  # what each media playlist has said, by its name
        self.gone: list[str] = []  # what was named and was not there
        self.lock = threading.RLock()
        monkeypatch.setattr(steps, "CLEAR_AT_ONCE", 1)  # so that it is seen what goes first
        monkeypatch.setattr(crashpoint, "here", self._here)

    def _here(self, name: str) -> None:
        with self.lock:  # playlists are uploaded side by side
            if name.startswith("upload") or name in ("clean-up.output", "announce", "grown"):
                self.look()
            if name in ("upload", "grown"):
                self.clear_away()

    def hold_back(self, most: int) -> None:
        """Let a source be read no further than so many blocks until a playlist is up."""
        fetched, here = itertools.count(), crashpoint.here

        def hold(name: str) -> None:
            if name == "ranges" and next(fetched) >= most:
                wait_for(lambda: bool(self.texts), "the first playlist")
            here(name)

        self._monkeypatch.setattr(crashpoint, "here", hold)

    def look(self) -> None:
        """Follow the master that is up to all that it leads to."""
        objects = self.floor.house.objects()
        for master in [name for name in objects if name.endswith("master.m3u8")]:
            for name in self._named(master, objects):
                before = self.texts.setdefault(name, [])
                text = self._text(name)
                if text not in before:
                    before.append(text)
                self._named(name, objects)

    def clear_away(self) -> None:
        for _ in range(50):
            self.look()
            if not steps.clear_away(self.floor.shop, now=self.floor.now, go_on=lambda: True):
                return

    def _named(self, name: str, objects: dict[str, list[str]]) -> list[str]:
        folder = name.rpartition("/")[0]
        text = self._text(name)
        addresses = re.findall(r"^[^#\s]+$", text, re.MULTILINE) + re.findall(r'URI="([^"]+)"', text)
        named = [f"{folder}/{urllib.parse.unquote(address)}" for address in addresses]
        self.gone += [f"{name} names {one}" for one in named if one not in objects]
        return [one for one in dict.fromkeys(named) if one.endswith(".m3u8") and one in objects]

    def _text(self, name: str) -> str:
        return self.floor.house.download(name, self.floor.house.folder / "seen").read_text()


def grew(texts: list[str]) -> bool:
    """Tell whether a playlist only grew: segments at its end, and at last its end."""
    every = [m3u8.loads(text) for text in texts]
    lists = [[(one.uri, one.byterange, one.duration) for one in each.segments] for each in every]
    targets = {each.target_duration for each in every}
    return len(targets) == 1 and all(
        after[: len(before)] == before for before, after in itertools.pairwise(lists)
    )


def sharing_times(folder: Path) -> Path:
    """Make a film that can be copied by its facts, but turns out to have two pictures for each time."""
    sharp = clip(folder / "sharp.mkv", *H264, "-an", seconds=12, rate="25")
    clock = ("-c", "copy", "-bsf:v", "setts=ts=floor(TS/80)*80")
    run("-i", str(sharp), *clock, str(folder / "film.mkv"))
    return folder / "film.mkv"


@pytest.mark.parametrize("ladder", ["720", "720,144"])
def test_a_copy_that_is_given_up_leaves_what_viewers_play_until_another_is_up(
    tmp_path: Path, b2: localb2.LocalB2, monkeypatch: pytest.MonkeyPatch, ladder: str
) -> None:
    with ExitStack() as stack:
        floor = open_floor(tmp_path, b2, stack, LADDER=ladder)
        floor.house.upload(sharing_times(tmp_path))
        floor.sweep()
        floor.work("inspect")
        audience = Audience(floor, monkeypatch)

        floor.work("copy")
        audience.clear_away()
        floor.work_to_the_end()
        audience.clear_away()

        assert floor.video().status == "completed"
        top = {name: texts for name, texts in audience.texts.items() if "/180p-" in name}
        assert len(top) == 2  # the copy was up, and then the other
        assert [texts for texts in audience.texts.values() if not grew(texts)] == []
        assert audience.gone == []
        assert [name for name in top if name in floor.house.objects()] == [list(top)[1]]
    assert floor.house.broken() == []


@pytest.mark.parametrize("growing", ["copy", "audio"])
def test_a_film_that_is_up_stays_up_while_a_step_that_was_killed_begins_anew(
    tmp_path: Path, b2: localb2.LocalB2, monkeypatch: pytest.MonkeyPatch, growing: str
) -> None:
    with ExitStack() as stack:
        floor = copied_film(tmp_path, b2, stack, seconds=6)
        floor.work("inspect", "audio" if growing == "copy" else "copy")
        killed = floor.claim(growing)
        first = stats.parts(floor.shop.readings, 1)
        audience = Audience(floor, monkeypatch)
        finish = ledger.finish

        def die(*arguments: object, **named: object) -> bool:
            monkeypatch.setattr(ledger, "finish", finish)
            raise KeyboardInterrupt

        monkeypatch.setattr(ledger, "finish", die)
        with pytest.raises(KeyboardInterrupt):
            floor.perform(killed)
        assert len(stats.parts(floor.shop.readings, 1)) > len(first)
        up = floor.house.rows()["film.mp4"]["hls"]

        ledger.release_worker(floor.shop.db, "other", now=floor.now, max_attempts=4, hint="")
        floor.now += ledger.IN_FLIGHT
        audience.clear_away()

        assert up is not None
        assert floor.house.rows()["film.mp4"]["hls"] == up
        floor.work_to_the_end()
        audience.clear_away()
        assert floor.video().status == "completed"
        assert [texts for texts in audience.texts.values() if not grew(texts)] == []
        assert len(audience.texts) == 3
        assert audience.gone == []
    assert floor.house.broken() == []


def _published_and_killed(floor: Floor, kind: str) -> None:
    claim = floor.claim(kind)
    assert ledger.publish(floor.shop.db, claim, outputs=[part_of(claim)], now=floor.now)
    ledger.release_worker(floor.shop.db, "other", now=floor.now, max_attempts=4, hint="")


def test_an_announcement_that_finds_nothing_to_announce_waits_and_costs_the_film_nothing(
    tmp_path: Path, b2: localb2.LocalB2
) -> None:
    with ExitStack() as stack:
        floor = copied_film(tmp_path, b2, stack, seconds=1)
        floor.work("inspect", "audio")
        _published_and_killed(floor, "copy")

        floor.work("announce")

        row = floor.house.rows()["film.mp4"]
        assert (row["hls"], row["playable_at"]) == (None, None)
        assert floor.step("announce").attempts == 1
        floor.work_to_the_end()
        assert floor.video().status == "completed"


def test_a_film_is_not_announced_without_the_sound_that_begins_anew(
    tmp_path: Path, b2: localb2.LocalB2
) -> None:
    with ExitStack() as stack:
        floor = copied_film(tmp_path, b2, stack, seconds=1)
        floor.work("inspect", "copy")
        _published_and_killed(floor, "audio")

        floor.work("announce")

        assert floor.house.rows()["film.mp4"]["hls"] is None
        floor.work_to_the_end()
        assert floor.video().status == "completed"


@pytest.mark.parametrize("ladder", ["720", "720,144"])
def test_keyframes_that_turn_out_to_lie_far_apart_change_nothing_that_players_were_told(
    tmp_path: Path, b2: localb2.LocalB2, monkeypatch: pytest.MonkeyPatch, ladder: str
) -> None:
    # An FLV has no index that tells: first each second, then after 9, 13 and 17.
    keys = ("-g", "9999", "-force_key_frames", "0,1,2,3,4,5,6,15,28", "-sc_threshold", "0")
    with ExitStack() as stack:
        floor = open_floor(tmp_path, b2, stack, LADDER=ladder)
        floor.house.upload(clip(tmp_path / "film.flv", *H264, *keys, "-an", seconds=45, rate="10"))
        floor.sweep()
        audience = Audience(floor, monkeypatch)

        floor.work_to_the_end()
        audience.clear_away()

        assert floor.video().status == "completed"
        assert [texts for texts in audience.texts.values() if not grew(texts)] == []
        assert {m3u8.loads(texts[-1]).target_duration for texts in audience.texts.values()} == {13}
        starts = {
            tuple(one.duration for one in m3u8.loads(texts[-1]).segments) for texts in audience.texts.values()
        }
        assert len(starts) == 1  # all rungs in step
        assert audience.gone == []
    assert floor.house.broken() == []


def test_keyframes_far_apart_but_not_too_far_are_copied_from_an_flv(
    tmp_path: Path, b2: localb2.LocalB2, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys = ("-g", "9999", "-force_key_frames", "0,1,2,3,4,5,6,18", "-sc_threshold", "0")
    with ExitStack() as stack:
        floor = open_floor(tmp_path, b2, stack, LADDER="720")
        floor.house.upload(clip(tmp_path / "film.flv", *H264, *keys, "-an", seconds=20, rate="10"))
        floor.sweep()
        audience = Audience(floor, monkeypatch)

        floor.work_to_the_end()

        [texts] = audience.texts.values()
        assert len(texts) > 1
        assert grew(texts)
        assert [one.duration for one in m3u8.loads(texts[-1]).segments] == [1, 1, 1, 1, 1, 1, 12, 2]


def test_a_copy_that_is_up_when_its_keyframes_turn_out_to_lie_too_far_apart_is_replaced(
    tmp_path: Path, b2: localb2.LocalB2, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(blocks, "BLOCK_BYTES", 16 * 1024)
    monkeypatch.setattr(blocks, "HEAD_BLOCKS", 0)
    keys = ("-g", "9999", "-force_key_frames", f"{','.join(map(str, range(15)))},30", "-sc_threshold", "0")
    with ExitStack() as stack:
        floor = open_floor(tmp_path, b2, stack, LADDER="720")
        source = clip(tmp_path / "film.flv", *H264, *keys, "-an", seconds=32, size="640x360", rate="10")
        floor.house.upload(source)
        floor.sweep()
        floor.work("inspect")
        floor.shop.forget_video(1)  # what inspect fetched
        audience = Audience(floor, monkeypatch)
        audience.hold_back(source.stat().st_size // (2 * blocks.BLOCK_BYTES))

        floor.work("copy")
        audience.clear_away()
        floor.work_to_the_end()
        audience.clear_away()

        assert floor.video().status == "completed"
        copied, encoded = audience.texts.items()
        assert {one.duration for one in m3u8.loads(copied[1][-1]).segments} == {1}
        assert {one.duration for one in m3u8.loads(encoded[1][-1]).segments} == {2}
        assert [texts for texts in (copied[1], encoded[1]) if not grew(texts)] == []
        assert audience.gone == []
        assert [name for name in audience.texts if name in floor.house.objects()] == [encoded[0]]
    assert floor.house.broken() == []


@pytest.mark.parametrize(("seconds", "target"), [(5, 8), (15, 3)])
def test_a_picture_that_stands_for_long_in_a_later_chunk_is_allowed_for_from_the_start_within_limits(
    tmp_path: Path, b2: localb2.LocalB2, monkeypatch: pytest.MonkeyPatch, seconds: int, target: int
) -> None:
    # As screens are recorded: from 5.9 s on nothing changes, and the second chunk begins at 4 s.
    still = ("-vf", f"select='not(between(t,5.95,{seconds + 5.85}))'", "-fps_mode", "vfr")
    with ExitStack() as stack:
        floor = open_floor(tmp_path, b2, stack, LADDER="720")
        encoding = ("-c:v", "mpeg4", "-g", "20", "-an", *still)
        floor.house.upload(clip(tmp_path / "film.mp4", *encoding, seconds=seconds + 11, rate="10"))
        floor.sweep()
        audience = Audience(floor, monkeypatch)

        floor.work_to_the_end()

        [texts] = audience.texts.values()
        first, *_, last = (m3u8.loads(text) for text in texts)
        assert first.target_duration == target
        assert max(one.duration for one in last.segments) >= seconds
        assert grew(texts) == (target > seconds)
