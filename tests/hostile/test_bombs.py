"""Small files that ask for enormous work are refused at little cost, while an ordinary upload beside them completes."""

import os
import struct
import subprocess
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest
import traps
from clips import BINARY
from house import House, clip

from watcher import command, ffmpeg, localb2
from watcher.beat import Beat

# What the daemon, the ordinary video and the bombs may take. Not told by the clock: the machine may be busy.
MOST_MEMORY_KB = 300_000  # of the largest process
MOST_CPU_SECONDS = 60  # of all together

pytestmark = pytest.mark.timeout(900)


def test_bombs_cost_little_and_keep_nobody_waiting(b2: localb2.LocalB2, tmp_path: Path) -> None:
    house = House(tmp_path, b2, MAX_ATTEMPTS="1")
    expected = _bombs(tmp_path)
    for name in expected:
        assert (tmp_path / name).stat().st_size < 1_000_000
        house.upload(tmp_path / name)
    house.upload(clip(tmp_path / "ordinary.mp4", seconds=1))

    daemon = house.start("run", "--until-idle")
    _, status, used = os.wait4(daemon.pid, 0)
    daemon.returncode = os.waitstatus_to_exitcode(status)

    rows = house.rows()
    assert {name: rows[name]["error_code"] for name in expected} == expected
    assert rows["ordinary.mp4"]["status"] == "completed"
    assert used.ru_maxrss < MOST_MEMORY_KB
    assert used.ru_utime + used.ru_stime < MOST_CPU_SECONDS


def test_an_index_of_empty_runs_takes_no_more_memory_than_its_bytes(tmp_path: Path) -> None:
    plain = traps.film(tmp_path / "plain.mp4", traps.GREEN).read_bytes()
    path, room = tmp_path / "runs.mp4", tmp_path / "room"
    path.write_bytes(_edited(plain, _with_empty_runs))
    room.mkdir()

    [found] = ffmpeg.probe(
        [path],
        folder=room,
        beat=Beat(),
        limits=ffmpeg.Limits(memory_bytes=512 * 1024**2),
        container=None,
        scan="none",
        formats=command.VIDEO_FORMATS,
        protocols=command.protocols(path),
        size_bytes=path.stat().st_size,
    )

    assert found["video"]["keyframes"]["span"][0] == 10


def _bombs(folder: Path) -> dict[str, str]:
    """Make them; return what is to become of each."""
    large = "color=size=16384x8192:rate=25:duration=0.2"
    _ffmpeg(folder / "frames.mp4", large, "-c:v", "libx264", "-preset", "ultrafast", "-threads", "1")
    _ffmpeg(folder / "frames.ts", str(folder / "frames.mp4"), "-c", "copy", kind="mp4")
    tracks = ["-map", "0:v"] * 1000
    for name in ("streams.mkv", "streams.mp4"):
        _ffmpeg(folder / name, "color=size=16x16:rate=5:duration=0.2", *tracks, "-c:v", "mpeg4")
    slow = ("-vf", "setpts=N*20000/TB", "-fps_mode", "passthrough", "-video_track_timescale", "10")
    _ffmpeg(folder / "ages.mp4", "color=size=64x64:rate=25:duration=0.4", *slow, "-c:v", "mpeg4")
    plain = traps.film(folder / "plain.mp4", traps.GREEN).read_bytes()
    (folder / "samples.mp4").write_bytes(_edited(plain, _with_samples))
    _ffmpeg(folder / "minute.mp4", "color=size=64x64:rate=1:duration=60", "-c:v", "mpeg4")
    (folder / "edits.mp4").write_bytes(_edited((folder / "minute.mp4").read_bytes(), _with_edits))
    _ffmpeg(folder / "one.gif", "color=size=64x64:rate=1:duration=1", "-frames:v", "1")
    (folder / "endless.gif").write_bytes(_endless((folder / "one.gif").read_bytes()))
    zeros = zlib.compress(b"\x08\0\0\x0a\x01\0" + bytes(20_000_000), 9)
    (folder / "zeros.swf").write_bytes(b"CWS\x06" + struct.pack("<I", 0x7FFF_FFFF) + zeros)
    return {
        "frames.mp4": "source_too_large",
        "frames.ts": "source_too_large",
        "streams.mkv": "source_too_large",
        "streams.mp4": "source_too_large",
        "ages.mp4": "source_too_long",
        "endless.gif": "source_too_long",
        "samples.mp4": "no_picture",
        "edits.mp4": "source_too_long",
        "zeros.swf": "unreadable",
    }


def _ffmpeg(path: Path, source: str, *options: str, kind: str = "lavfi") -> None:
    command = [str(BINARY), "-nostdin", "-loglevel", "error", "-y", "-f", kind, "-i", source]
    subprocess.run([*command, *options, str(path)], check=True)


def _edited(data: bytes, edit: Callable[[bytes, bytes], bytes]) -> bytes:
    """Return an MP4 with the content of its boxes changed."""
    out, place = b"", 0
    while place + 8 <= len(data):
        size, name = struct.unpack(">I4s", data[place : place + 8])
        body = data[place + 8 : place + size]
        if name in (b"moov", b"trak", b"mdia", b"minf", b"stbl", b"edts"):
            body = _edited(body, edit)
        body = edit(name, body)
        out += struct.pack(">I4s", len(body) + 8, name) + body
        place += size
    return out


def _with_samples(name: bytes, body: bytes) -> bytes:
    """Two thousand million samples of one byte each."""
    count = 0x7FFF_FFF0
    tables = {
        b"stsz": struct.pack(">III", 0, 1, count),
        b"stts": struct.pack(">IIII", 0, 1, count, 1),
        b"stsc": struct.pack(">IIIII", 0, 1, 1, count, 1),
    }
    return tables.get(name, body)


def _with_empty_runs(name: bytes, body: bytes) -> bytes:
    """One run of shifts for the ten frames, and four million for none."""
    count = 4_000_000
    if name != b"stbl":
        return body
    return body + struct.pack(">I4sIIII", 24 + 8 * count, b"ctts", 0, 1, 10, 0) + bytes(8 * count)


def _with_edits(name: bytes, body: bytes) -> bytes:
    """The same minute, two thousand times."""
    edit = struct.pack(">IiI", 60_000, 0, 0x1_0000)
    return struct.pack(">II", 0, 2000) + edit * 2000 if name == b"elst" else body


def _endless(gif: bytes) -> bytes:
    """A picture that stays for eleven minutes, three thousand times, in a loop."""
    picture = b"\x21\xf9\x04\x04\xff\xff\0\0" + gif[gif.index(b"\x2c") : -1]
    loop = b"\x21\xff\x0bNETSCAPE2.0\x03\x01\0\0\0"
    return gif[: gif.index(b"\x21")] + loop + picture * 3000 + b";"
