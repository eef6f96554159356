"""The films of the benchmark: real footage from the PyPI package iscc-samples, enlarged, with the grain of a camera."""

import subprocess
from collections.abc import Sequence
from pathlib import Path

import iscc_samples
from house import FFMPEG

PIECE_SECONDS = 20
GRAIN = "noise=alls=4:allf=t"  # a picture that was only enlarged is too easy to encode
SOUND = ("-c:a", "aac", "-b:a", "128k", "-ar", "48000")


def phone(folder: Path, seconds: float, *, rate: str = "6M", size: str = "1920:1080") -> Path:
    """Return a film as phones make them, H.264 with its index at the end: too large to be copied."""
    return _film(folder, f"phone-{rate}", size, rate, seconds, ending="mov")


def web(folder: Path, seconds: float, *, rate: str = "2500k") -> Path:
    """Return a film that plays everywhere as it is: 720p H.264 and AAC."""
    return _film(folder, f"web-{rate}", "1280:720", rate, seconds, ending="mp4")


def _film(folder: Path, name: str, size: str, rate: str, seconds: float, *, ending: str) -> Path:
    path = folder / f"{name}-{seconds:g}.{ending}"
    if path.exists():
        return path
    piece = folder / f"{name}.{ending}"
    if not piece.exists():
        picture = f"scale={size}:flags=bicubic,{GRAIN},setsar=1,fps=30,format=yuv420p"
        encoding = ("-c:v", "libx264", "-preset", "veryfast", "-profile:v", "high", "-g", "60")
        encoding += ("-b:v", rate, "-maxrate", rate, "-bufsize", rate)
        ffmpeg(
            ["-t", str(PIECE_SECONDS), "-i", str(_sample()), "-vf", picture, *encoding, *SOUND, str(piece)]
        )
    # Repeated by copying: an hour takes seconds to make.
    ffmpeg(["-stream_loop", "-1", "-i", str(piece), "-t", str(seconds), "-c", "copy", str(path)])
    return path


def ffmpeg(arguments: Sequence[str]) -> None:
    """Run ffmpeg as anybody would."""
    subprocess.run([FFMPEG, "-nostdin", "-loglevel", "error", "-y", *arguments], check=True)


def _sample() -> Path:
    return next(path for path in iscc_samples.videos() if path.suffix == ".mp4")
