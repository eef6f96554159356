"""What Watcher makes of a film, made by one ffmpeg for each output, with the same settings: the usual way."""

from dataclasses import dataclass
from pathlib import Path

import ancestor
from clips import inspect_file
from house import FFMPEG

from watcher import plan

SPRITE = "scale=160:90,tile=10x10"


@dataclass(frozen=True)
class Apart:
    """CPU seconds by output."""

    each: dict[str, float]

    @property
    def total(self) -> float:
        return sum(self.each.values())


def cpu_seconds(film: Path, folder: Path, quality: plan.Quality) -> Apart:
    """Make the ladder, the poster, the storyboard, the sound and its loudness of a 1080p film, one after the other."""
    made = plan.make(inspect_file(film, folder), plan.Profile(quality=quality))
    spent: dict[str, float] = {}
    for rung in made.rungs:
        encoding = [
            "-c:v",
            "libx264",
            "-preset",
            made.video.preset,
            "-crf",
            str(rung.crf),
            "-profile:v",
            "high",
        ]
        encoding += ["-maxrate", str(rung.max_rate), "-bufsize", str(2 * rung.max_rate)]
        encoding += ["-force_key_frames", "expr:gte(t,n_forced*2)", "-sc_threshold", "0", "-flags", "+cgop"]
        picture = ["-an", "-vf", f"scale={rung.width}:{rung.height}:flags=bicubic,format=yuv420p", *encoding]
        spent[rung.name] = _run(film, *picture, str(folder / f"{rung.name}.mp4"))
    poster = ["-an", "-t", "30", "-vf", "scale=1280:720,thumbnail=12", "-frames:v", "1"]
    spent["poster"] = _run(film, *poster, str(folder / "poster.jpg"))
    sprites = ["-an", "-vf", f"fps=1/2,{SPRITE}", str(folder / "sprites-%d.jpg")]
    spent["storyboard"] = _run(film, *sprites)
    spent["loudness"] = _run(film, "-vn", "-af", "loudnorm=print_format=json", "-f", "null", "-")
    spent["sound"] = _run(film, "-vn", "-c:a", "aac", "-b:a", "128k", str(folder / "sound.m4a"))
    return Apart(spent)


def _run(film: Path, *arguments: str) -> float:
    return ancestor.spend([FFMPEG, "-nostdin", "-loglevel", "error", "-y", "-i", str(film), *arguments])
