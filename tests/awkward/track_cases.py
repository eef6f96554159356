"""Several pictures in one file: sizes that change, covers, thumbnails, several tracks and programmes."""

from pathlib import Path

import av
import scene
from case import Case, Film, Skipped
from clips import run
from scene import FAST


def _bars(path: Path) -> str:
    """Look for black on the left and on the right of the last picture."""
    with av.open(str(path)) as container:
        *_, frame = container.decode(video=0)
    luma, stride = memoryview(frame.planes[0]), frame.planes[0].line_size
    row = [luma[frame.height // 4 * stride + x] for x in (10, frame.width // 4, frame.width - 10)]
    return "" if row[0] < 20 < row[1] and row[2] < 20 else f"no bars at the sides: {row}"


def _changing(path: Path, size: str) -> None:
    """Go on with pictures of another size after a second, on the same clock."""
    bare = path.with_name("bare.h264")
    with bare.open("wb") as whole:
        for part in ("320x180", size):
            piece = path.with_name(f"{part}.h264")
            scene.make(piece, *FAST, sound=False, size=part, seconds=1, flashes=(0.4,))
            whole.write(piece.read_bytes())
    tone = ("-f", "lavfi", "-i", scene.beeps(seconds=2))
    run("-framerate", "25", "-i", str(bare), *tone, "-c:v", "copy", "-c:a", "mp2", str(path))


def _cover(path: Path) -> Path:
    cover = path.with_name("cover.jpg")
    run("-f", "lavfi", "-i", "color=white:size=600x600,format=yuvj420p", "-frames:v", "1", str(cover))
    return cover


def _film_with_cover(path: Path) -> None:
    bare = scene.make(path.with_name(f"bare{path.suffix}"))
    order = (
        "-map",
        "1:v",
        "-map",
        "0:v",
        "-map",
        "0:a",
        "-disposition:v:0",
        "attached_pic",
        "-disposition:v:1",
        "default",
    )
    run("-i", str(bare), "-i", str(_cover(path)), *order, "-c", "copy", str(path))


def _film_with_attachment(path: Path) -> None:
    bare = scene.make(path.with_name("bare.mkv"))
    attached = (
        "-attach",
        str(_cover(path)),
        "-metadata:s:t",
        "mimetype=image/jpeg",
        "-metadata:s:t",
        "filename=cover.jpg",
    )
    run("-i", str(bare), *attached, "-c", "copy", str(path))


def _song_with_cover(path: Path) -> None:
    codec = "libmp3lame" if path.suffix == ".mp3" else "aac"
    tone = ("-f", "lavfi", "-i", scene.beeps(seconds=2))
    run(
        *tone,
        "-i",
        str(_cover(path)),
        "-map",
        "0",
        "-map",
        "1",
        "-c:a",
        codec,
        "-c:v",
        "copy",
        "-disposition:v",
        "attached_pic",
        str(path),
    )


def _two_tracks(path: Path, *dispositions: str) -> None:
    main = scene.make(path.with_name("main.mkv"))
    other = ("-f", "lavfi", "-i", "color=0xffffff:size=480x270:rate=25:duration=2,format=yuv420p")
    run(
        *other,
        "-i",
        str(main),
        "-map",
        "0:v",
        "-map",
        "1:v",
        "-map",
        "1:a",
        *dispositions,
        *FAST,
        "-c:a",
        "copy",
        str(path),
    )


def _two_programmes(path: Path) -> None:
    main = scene.make(path.with_name("main.ts"), *FAST, "-c:a", "mp2")
    other = (
        "-f",
        "lavfi",
        "-i",
        "color=white:size=160x90:rate=25:duration=2,format=yuv420p",
        "-f",
        "lavfi",
        "-i",
        "sine=300:duration=2",
    )
    maps = ("-map", "0:v", "-map", "1:a", "-map", "2:v", "-map", "2:a")
    programmes = ("-program", "program_num=1:st=0:st=1", "-program", "program_num=2:st=2:st=3")
    run(*other, "-i", str(main), *maps, *programmes, *FAST, "-c:a", "mp2", str(path))


def _radio_first(path: Path) -> None:
    """A radio programme, of sound alone, before the film's."""
    main = scene.make(path.with_name("main.ts"), *FAST, "-c:a", "mp2")
    radio = ("-f", "lavfi", "-i", "sine=300:duration=2")
    maps = ("-map", "0:a", "-map", "1:v", "-map", "1:a")
    programmes = ("-program", "program_num=1:st=0", "-program", "program_num=2:st=1:st=2")
    run(*radio, "-i", str(main), *maps, *programmes, "-c:v", "copy", "-c:a", "mp2", str(path))


def _thumbnail_track(path: Path) -> None:
    """A track of still pictures beside the film, larger than it, as video services and cameras add."""
    main = scene.make(path.with_name("main.mp4"))
    stills = ("-f", "lavfi", "-i", "color=white:size=640x360:rate=1:duration=2,format=yuvj420p")
    run(
        *stills,
        "-i",
        str(main),
        "-map",
        "1:v",
        "-map",
        "1:a",
        "-map",
        "0:v",
        "-c",
        "copy",
        "-c:v:1",
        "mjpeg",
        "-disposition:v:1",
        "0",
        str(path),
    )


CHANGES = [
    Case(
        "grows.ts",
        lambda path: _changing(path, "640x360"),
        Film((320, 180), frames=50),
        "a broadcast between two programmes",
    ),
    Case(
        "becomes-narrow.mkv",
        lambda path: _changing(path, "240x180"),
        Film((320, 180), frames=50, also=_bars),
        "4:3 after 16:9: bars, not a stretched picture",
    ),
]
CHOICES = [
    Case("cover-first.mp4", _film_with_cover, Film((320, 180)), "bought films"),
    Case("cover-attached.mkv", _film_with_attachment, Film((320, 180))),
    Case("song-with-cover.mp3", _song_with_cover, Skipped("audio_only")),
    Case("song-with-cover.m4a", _song_with_cover, Skipped("audio_only")),
    Case(
        "default-is-second.mkv",
        lambda path: _two_tracks(path, "-disposition:v:0", "0", "-disposition:v:1", "default"),
        Film((320, 180)),
    ),
    Case("thumbnail-track.mp4", _thumbnail_track, Film((320, 180))),
    Case("two-programmes.ts", _two_programmes, Film((320, 180)), "recorded off the air"),
    Case("radio-first.ts", _radio_first, Film((320, 180)), "a whole transponder"),
]

CASES = (*CHANGES, *CHOICES)
