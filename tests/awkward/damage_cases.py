"""Damaged files: each is refused with the reason, and with how much of it could be read. Never a short film."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import av
import encrypted
import scene
from case import Case, Film, Refused
from clips import cut, run, set_back
from scene import FAST, FILM

SIX_SECONDS = {"seconds": 6.0, "flashes": (0.4, 5.4)}


def cut_short(share: float, *encoding: str) -> Callable[[Path], None]:
    """Return what makes an upload that broke off."""

    def make(path: Path) -> None:
        whole = scene.make(path.with_name(f"whole{path.suffix}"), *(encoding or FILM), **SIX_SECONDS)
        cut(whole, path, share=share)

    return make


def _overwritten(
    path: Path, *encoding: str, kind: str = "video", start: float = 2.0, end: float = 3.0
) -> None:
    """Turn the packets between two times into noise, which looks like nothing that a decoder knows."""
    whole = scene.make(path.with_name(f"whole{path.suffix}"), *encoding, **SIX_SECONDS)
    data = bytearray(whole.read_bytes())
    with av.open(str(whole)) as container:
        stream = container.streams.best(kind)
        for packet in container.demux(stream):
            if packet.size and packet.pos is not None and start <= float(packet.pts * packet.time_base) < end:
                data[packet.pos : packet.pos + packet.size] = b"\x55" * packet.size
    path.write_bytes(data)


def _encrypted(encrypt: Callable[[Path, Path], Path]) -> Callable[[Path], object]:
    return lambda path: encrypt(scene.make(path.with_name(f"whole{path.suffix}")), path)


def _header_only(path: Path) -> None:
    """Keep the boxes before the media, and drop what they are about."""
    whole = scene.make(path.with_name("whole.mp4"), *FILM, "-movflags", "+faststart")
    data = whole.read_bytes()
    path.write_bytes(data[: data.index(b"mdat") + 4])


def _first_bytes(count: int) -> Callable[[Path], None]:
    def make(path: Path) -> None:
        whole = scene.make(path.with_name(f"whole{path.suffix}"))
        path.write_bytes(whole.read_bytes()[:count])

    return make


def _written(data: bytes) -> Callable[[Path], object]:
    return lambda path: path.write_bytes(data)


def _noise_at_the_end(path: Path) -> None:
    """Append what a disk had behind the file."""
    whole = scene.make(path.with_name("whole.mp4"))
    path.write_bytes(whole.read_bytes() + b"\x00" * 50_000)


def _twice(*encoding: str, **options: Any) -> Callable[[Path], None]:
    """Put a recording behind itself, as web pages do whose recorder was stopped and started again."""

    def make(path: Path) -> None:
        whole = scene.make(path.with_name(f"whole{path.suffix}"), *(encoding or FILM), **options)
        path.write_bytes(whole.read_bytes() * 2)

    return make


def _other_tracks(path: Path) -> None:
    """Put another recording behind it whose tracks have other numbers."""
    one = scene.make(path.with_name("one.ts"), *FAST, "-c:a", "mp2")
    other = path.with_name("other.ts")
    run("-i", str(one), "-c", "copy", "-streamid", "0:500", "-streamid", "1:501", str(other))
    path.write_bytes(one.read_bytes() + other.read_bytes())


FASTSTART = (*FILM, "-movflags", "+faststart")
CUT = [
    Case("cut-index-last.mp4", cut_short(0.6), Refused("source_truncated", says="readable: nothing")),
    Case("cut-index-first.mp4", cut_short(0.6, *FASTSTART), Refused("source_truncated", says="of 6.0 s")),
    Case(
        "cut-at-the-very-end.mp4", cut_short(0.97, *FASTSTART), Refused("source_truncated", says="of 6.0 s")
    ),
    Case(
        "cut-fragments.mp4",
        cut_short(0.6, *FILM, "-g", "25", "-movflags", "+frag_keyframe+empty_moov"),
        Refused("source_truncated", says="readable:"),
        "recorders that write as they go",
    ),
    Case("cut.mkv", cut_short(0.6), Refused("source_truncated", says="of 6.0 s")),
    Case(
        "cut.avi",
        cut_short(0.6, "-c:v", "mpeg4", "-c:a", "libmp3lame"),
        Refused("source_truncated", says="readable:"),
    ),
    Case(
        "cut.flv",
        cut_short(0.6, *FAST, "-c:a", "libmp3lame", "-ar", "44100"),
        Refused("source_truncated", says="of 6.0 s"),
    ),
    Case(
        "cut.webm",
        cut_short(0.6, "-c:v", "libvpx", "-c:a", "libopus"),
        Refused("source_truncated", says="of 6.0 s"),
    ),
    Case("header-only.mp4", _header_only, Refused("source_truncated", says="readable: nothing")),
    Case("first-kilobyte.mp4", _first_bytes(1000), Refused("source_truncated", says="readable: nothing")),
    Case("first-kilobyte.mkv", _first_bytes(1000), Refused("no_picture")),
]
DAMAGED = [
    Case(
        "noise-in-the-middle.mp4",
        lambda path: _overwritten(path, *FAST, "-g", "25", "-c:a", "aac"),
        Refused("source_damaged", says="readable:"),
    ),
    Case(
        "noise-in-the-middle.avi",
        lambda path: _overwritten(path, "-c:v", "mjpeg", "-pix_fmt", "yuvj420p", "-c:a", "pcm_s16le"),
        Refused("source_damaged", says="readable:"),
    ),
    Case(
        "noise-in-the-sound.mp4",
        lambda path: _overwritten(path, *FAST, "-c:a", "aac", kind="audio"),
        Refused("source_damaged", says="packets"),
    ),
    Case("twice.mkv", _twice(), Refused("source_damaged", says="readable: 2.0 of 4.0 s")),
    Case(
        "twice.webm",
        _twice("-c:v", "libvpx", "-c:a", "libopus"),
        Refused("source_damaged", says="readable: 2.0 of 4.0 s"),
        "players show the first half, or both at once",
    ),
    Case(
        "twice-in-chunks.mkv",
        _twice(*FILM, "-g", "25", seconds=14),
        Refused("source_damaged", says="readable: 14.0 of 28.0 s"),
    ),
    Case(
        "twice-and-fast.mkv",
        _twice(*FILM, rate="120"),
        Refused("source_damaged", says="readable: 2.0 of 4.0 s"),
        "its frames are not counted against the source's",
    ),
    Case(
        "twice.flv", _twice(), Refused("source_damaged", says="readable: 2.0 s"), "its demuxer skips the rest"
    ),
    Case("twice.mp4", _twice(), Refused("source_damaged", says="behind it")),
    Case(
        "twice-fragments.mp4",
        _twice(*FILM, "-g", "25", "-movflags", "frag_keyframe+empty_moov+default_base_moof"),
        Refused("source_damaged", says="its clock goes back"),
    ),
    Case(
        "clock-set-back.mkv",
        lambda path: set_back(scene.make(path.with_name("whole.mkv"), seconds=14), path, at=9, by=1),
        Refused("source_damaged", says="its clock goes back by 1.0 s"),
        "a recorder whose clock is set",
    ),
    Case("goes-on-in-other-tracks.ts", _other_tracks, Refused("source_damaged", says="other tracks")),
    Case("noise-behind.mp4", _noise_at_the_end, Film((320, 180)), "nothing is missing"),
]
NONE = [
    Case("zero-bytes.mp4", _written(b""), Refused("unreadable")),
    Case("encrypted.mp4", _encrypted(encrypted.mp4), Refused("source_encrypted"), "bought films"),
    Case("encrypted-sound.mp4", _encrypted(encrypted.mp4_sound), Refused("source_encrypted", says="sound")),
    Case("encrypted.mkv", _encrypted(partial(encrypted.mkv, kind=1)), Refused("source_encrypted")),
    Case(
        "encrypted-sound.mkv",
        _encrypted(partial(encrypted.mkv, kind=2)),
        Refused("source_encrypted", says="sound"),
    ),
    Case("text.mp4", _written(b"Buy milk.\n" * 5000), Refused("unreadable")),
    Case("zeros.mov", _written(bytes(100_000)), Refused("unreadable")),
    Case(
        "web-page.mp4",
        _written(b"<!doctype html><title>404</title>" * 50),
        Refused("unreadable"),
        "a failed download",
    ),
    Case("archive.mkv", _written(b"PK\x03\x04" + bytes(range(256)) * 100), Refused("unreadable")),
]
CASES = [*CUT, *DAMAGED, *NONE]
