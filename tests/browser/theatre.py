"""A film that tells which picture it shows, and a real browser that plays it."""

import subprocess
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import m3u8
import urllib3
from house import FFMPEG, PATIENCE_SECONDS
from playwright import sync_api

RATE = 25  # pictures a second: twice that is still less than a browser draws
SECONDS = 44  # of four chunks
FILMS = {
    "encoded": ("-c:v", "mpeg4", "-q:v", "5", "-g", "50"),
    # Plays as it is; its smaller rung is encoded, with keyframes where this one has them.
    "copied": (
        *("-c:v", "libx264", "-preset", "superfast", "-pix_fmt", "yuv420p"),
        *("-g", "60", "-bf", "2"),
    ),
}
# What hls.js reports as errors and is none of a film's: a wait, of a busy machine or for what is not made yet;
# and a download of a head that it has dropped itself, for a seek or another rung.
HARMLESS = ("bufferStalledError", "aborted")


@dataclass(frozen=True)
class Numbers:
    """How a film's pictures show their numbers: black and white squares along the upper edge, lowest bit first."""

    width: int = 426  # pixels, of the source
    height: int = 240
    block: int = 16
    bits: int = 11


def film(path: Path, *encoding: str, seconds: float) -> Path:
    """Make a film with numbered pictures, and a tone."""
    shown = Numbers()
    number = f"geq=lum='if(mod(floor(N/pow(2,floor(X/{shown.block}))),2),235,16)'"
    squares = f"color=black:size={shown.bits * shown.block}x{shown.block}:rate={RATE}:duration={seconds}"
    picture = f"testsrc2=size={shown.width}x{shown.height}:rate={RATE}:duration={seconds}"
    subprocess.run(
        [
            *(FFMPEG, "-nostdin", "-loglevel", "error", "-y"),
            *("-f", "lavfi", "-i", f"sine=frequency=440:sample_rate=48000:duration={seconds}"),
            *("-filter_complex", f"{squares},format=gray,{number}[n];{picture}[p];[p][n]overlay=0:0[out]"),
            *("-map", "[out]", "-map", "0:a", "-c:a", "aac", *encoding, str(path)),
        ],
        check=True,
    )
    return path


@dataclass(frozen=True)
class Facts:
    """What a player has done so far; times in seconds."""

    time: float
    duration: float
    ended: bool
    height: int  # pixels, of the picture that is decoded
    decoded: int  # pictures
    dropped: int
    sound: int  # bytes that the sound's decoder has taken
    errors: list[tuple[str, bool]]
    playlists: list[tuple[int, str | None, bool, float]]
    frames: list[tuple[float, int, int]]

    @property
    def wrong(self) -> list[tuple[str, bool]]:
        """The errors that are errors."""
        return [error for error in self.errors if error[0] not in HARMLESS]

    @property
    def summary(self) -> str:
        return (
            f"{self.time:.2f} of {self.duration:.2f} s, {self.decoded} pictures decoded, {self.dropped} dropped, "
            f"{len(self.frames)} seen, {len(self.playlists)} playlists read, errors: {self.errors}"
        )

    @property
    def numbers(self) -> list[int]:
        """The numbers of the pictures that came onto the screen."""
        return [number for _, number, _ in self.frames]


class Player:
    """A page with a video element."""

    def __init__(self, page: sync_api.Page) -> None:
        self.page = page
        self.page.set_default_timeout(PATIENCE_SECONDS * 1000)

    def open(self, page: str, url: str, *, how: str) -> None:
        """Open a film on a page: with `hls.js`, or `plain`, as the browser plays it by itself."""
        self.page.goto(page)
        self.page.evaluate("([film, url, how]) => player.open(film, url, how)", [asdict(Numbers()), url, how])
        self.wait("player.frames.length > 0")

    def play(self, *, rate: float = 1) -> None:
        """Play on, `rate` times as fast as usual."""
        self.page.evaluate("(rate) => { video.playbackRate = rate; return video.play(); }", rate)

    def pause(self) -> None:
        self.page.evaluate("video.pause()")

    def seek(self, seconds: float) -> None:
        """Go to a time, and wait until the browser has arrived."""
        self.page.evaluate("(to) => { video.currentTime = to; }", seconds)
        self.wait("!video.seeking && video.readyState >= HTMLMediaElement.HAVE_CURRENT_DATA")

    def wait(self, condition: str) -> None:
        """Wait until `condition` holds, or playing has failed."""
        self.page.wait_for_function(f"({condition}) || player.errors.some(([, fatal]) => fatal)")
        assert self.page.evaluate(condition), self.facts()

    def run(self, script: str) -> Any:
        """Return what an expression gives."""
        return self.page.evaluate(script)

    def facts(self) -> Facts:
        """Return what happened so far."""
        found = self.page.evaluate("player.facts()")
        return Facts(**found)


def media(url: str) -> m3u8.M3U8:
    """Return the media playlist of the highest rung, over HTTP."""
    master = m3u8.loads(_get(url), uri=url)
    top = max(master.playlists, key=lambda one: one.stream_info.resolution)
    return m3u8.loads(_get(top.absolute_uri), uri=top.absolute_uri)


def joins(url: str) -> list[float]:
    """Return the times, in seconds, at which the highest rung goes on in another object."""
    found, now, before = [], 0.0, None
    for segment in media(url).segments:
        if before is not None and segment.uri != before:
            found.append(now)
        now, before = now + segment.duration, segment.uri
    return found


def _get(url: str) -> str:
    answer = urllib3.request("GET", url)
    assert answer.status == 200, f"{url}: {answer.status}"
    return answer.data.decode()
