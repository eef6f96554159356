"""Awkward times: clocks that start anywhere, jump, wrap and lie, and clips of hardly any or very many seconds."""

import struct
from pathlib import Path

import scene
from case import Case, Film
from clips import run
from picture_cases import clip
from scene import FAST, FILM

TS = (*FAST, "-c:a", "mp2")
WRAP_SECONDS = 2**33 / 90_000  # where the clock of MPEG transport streams goes back to zero


def _again(path: Path, *options: str, flags: tuple[str, ...] = ()) -> None:
    """Write the scene again by copy, with `flags` before the input and `options` after it."""
    whole = scene.make(path.with_name(f"whole{path.suffix}"), *(TS if path.suffix == ".ts" else FILM))
    run(*flags, "-i", str(whole), "-c", "copy", *options, str(path))


def _trimmed(path: Path) -> None:
    """Keep what follows 0.3 s: the pictures from the keyframe before on are there, and an edit list hides them."""
    whole = scene.make(path.with_name("whole.mov"), *FILM, "-g", "250")
    run("-ss", "0.28", "-i", str(whole), "-c", "copy", str(path))


def _shown_early(path: Path) -> None:
    """Write fragments that show some pictures before they are decoded, and have no edit list."""
    whole = scene.make(path.with_name("whole.mp4"), *FILM, "-bf", "3", "-g", "25")
    flags = "negative_cts_offsets+frag_keyframe+empty_moov+default_base_moof"
    run("-i", str(whole), "-c", "copy", "-movflags", flags, str(path))


def _gap(path: Path, *, seconds: float = 3, picture: bool = True, sound: bool = True) -> None:
    """Leave out so many seconds of picture and sound, or of one of them, from 1 s on."""
    keep = f"not(between(t\\,1\\,{1 + seconds}))"
    flashes = (0.4, seconds + 2.4)
    graph = scene.picture(size="320x180", rate="25", seconds=seconds + 3, flashes=flashes)
    tone = scene.beeps(seconds=seconds + 3, flashes=flashes)
    filters = [f"select={keep if picture else 1},scale=out_color_matrix=bt709,format=yuv420p"]
    filters += ["-af", f"aselect={keep if sound else 1}"]
    inputs = ("-f", "lavfi", "-i", graph, "-f", "lavfi", "-i", tone)
    encoding = TS if path.suffix == ".ts" else FILM
    run(*inputs, "-vf", *filters, "-fps_mode", "vfr", *encoding, str(path))


def _lying_matroska(path: Path, seconds: float) -> None:
    whole = scene.make(path.with_name("whole.mkv"))
    data = bytearray(whole.read_bytes())
    place = data.index(b"\x44\x89\x88") + 3  # Duration, a double, in milliseconds
    data[place : place + 8] = struct.pack(">d", seconds * 1000)
    path.write_bytes(data)


def _lying_mp4(path: Path) -> None:
    """Say ten hours in the header of the movie; the tracks know better."""
    whole = scene.make(path.with_name("whole.mp4"))
    data = bytearray(whole.read_bytes())
    place = data.index(b"mvhd") + 4 + 4 + 8
    timescale = struct.unpack_from(">I", data, place)[0]
    struct.pack_into(">I", data, place + 4, timescale * 36_000)
    path.write_bytes(data)


def _lying_flv(path: Path, seconds: float) -> None:
    whole = scene.make(path.with_name("whole.flv"), *FAST, "-c:a", "libmp3lame", "-ar", "44100")
    data = bytearray(whole.read_bytes())
    place = data.index(b"duration\x00") + 9
    struct.pack_into(">d", data, place, seconds)
    path.write_bytes(data)


def _lying_avi(path: Path) -> None:
    """Count ten times the frames in the headers."""
    whole = scene.make(
        path.with_name("whole.avi"), "-c:v", "mpeg4", "-q:v", "3", "-c:a", "libmp3lame", matrix="smpte170m"
    )
    data = bytearray(whole.read_bytes())
    struct.pack_into("<I", data, data.index(b"avih") + 8 + 16, 500)
    struct.pack_into("<I", data, data.index(b"vids") + 32, 500)
    path.write_bytes(data)


def _late_sound(path: Path) -> None:
    """Begin the sound with its first beep."""
    graph = scene.picture(size="320x180", rate="25", seconds=2)
    tone = ("-itsoffset", "0.3", "-f", "lavfi", "-i", scene.beeps(seconds=1.7, flashes=(0.1, 1.1)))
    filters = ("-vf", "scale=out_color_matrix=bt709,format=yuv420p")
    run("-f", "lavfi", "-i", graph, *tone, *filters, *FAST, "-c:a", "libmp3lame", str(path))


def _late_picture(path: Path) -> None:
    """Begin the sound half a second before the picture."""
    picture = scene.picture(size="320x180", rate="25", seconds=2)
    tone = scene.beeps(seconds=2.5, flashes=(0.88, 1.88))
    filters = ("-vf", "scale=out_color_matrix=bt709,format=yuv420p")
    late = ("-itsoffset", "0.48", "-f", "lavfi", "-i", picture)
    run(*late, "-f", "lavfi", "-i", tone, *filters, *FILM, str(path))


def _jump(path: Path, before: str, after: str, *, lost: int = 0) -> None:
    """Put two recordings one after the other, whose clocks begin at `before` and `after`.

    Each lacks `lost` bytes at its end.
    """
    whole = scene.make(path.with_name("whole.ts"), *TS)
    for number, start in enumerate((before, after)):
        part = path.with_name(f"part{number}.ts")
        run("-i", str(whole), "-c", "copy", "-output_ts_offset", start, str(part))
        with path.open("ab") as file:
            data = part.read_bytes()
            file.write(data[: len(data) - lost])


CLOCKS = [
    Case(
        "starts-below-zero.mkv",
        lambda path: _again(path, "-output_ts_offset", "-0.5", "-avoid_negative_ts", "disabled"),
        Film((320, 180)),
    ),
    Case(
        "starts-below-zero.mp4",
        lambda path: _again(path, "-output_ts_offset", "-0.3", "-avoid_negative_ts", "disabled"),
        Film((320, 180), 1.68, 42, flashes=(0.08, 1.08)),
    ),
    Case(
        "starts-at-a-day.ts",
        lambda path: _again(path, "-output_ts_offset", "86400"),
        Film((320, 180), frames=50),
    ),
    Case(
        "starts-at-a-day.mkv",
        lambda path: _again(path, "-output_ts_offset", "86400"),
        Film((320, 180), frames=50),
    ),
    Case(
        "starts-at-a-year.mov",
        lambda path: _again(path, "-output_ts_offset", "31536000"),
        Film((320, 180), frames=50),
    ),
    Case(
        "wraps.ts",
        lambda path: _again(
            path, "-output_ts_offset", str(WRAP_SECONDS - 1), "-muxdelay", "0", "-muxpreload", "0"
        ),
        Film((320, 180), frames=50),
        "a receiver that is on for a day",
    ),
    Case("trimmed.mov", _trimmed, Film((320, 180), 1.72, 43, flashes=(0.12, 1.12)), "cut on the phone"),
    Case("sound-late.mkv", _late_sound, Film((320, 180), frames=50)),
    Case(
        "picture-late.mp4",
        _late_picture,
        Film((320, 180), seconds=2.52, frames=50, flashes=(0.92, 1.92)),
        "the first picture stands until the second is due",
    ),
]
JUMPS = [
    Case("gap.ts", _gap, Film((320, 180), 6.0, flashes=(0.4, 5.4), has_gap=True)),
    Case("gap.mkv", _gap, Film((320, 180), 6.0, flashes=(0.4, 5.4), has_gap=True)),
    Case(
        "picture-pauses.ts",
        lambda path: _gap(path, seconds=12, sound=False),
        Film((320, 180), 15.0, flashes=(0.4, 14.4), has_gap=True, within=0.2),
        "ffmpeg takes ten seconds for a jump of the clock",
    ),
    Case(
        "sound-pauses.ts",
        lambda path: _gap(path, seconds=12, picture=False),
        Film((320, 180), 15.0, flashes=(0.4, 14.4)),
    ),
    Case(
        "jumps-forward.ts",
        lambda path: _jump(path, "0", "1000"),
        Film((320, 180), 4.0, 100, flashes=(0.4, 1.4, 2.4, 3.4)),
    ),
    Case(
        "jumps-back.ts",
        lambda path: _jump(path, "1000", "0"),
        Film((320, 180), 4.0, 100, flashes=(0.4, 1.4, 2.4, 3.4)),
    ),
    Case(
        "jumps-back-a-little.ts",
        lambda path: _jump(path, "20", "19"),
        Film((320, 180), 4.0, 100, flashes=(0.4, 1.4, 2.4, 3.4)),
        "less than what ffmpeg takes for a jump forward",
    ),
    Case(
        "jumps-in-mid-sound.ts",
        lambda path: _jump(path, "0", "1000", lost=188),
        Film((320, 180), 4.0, 100, flashes=(0.4, 1.4, 2.4, 3.4)),
        "a receiver stops wherever it is",
    ),
]
LENGTHS = [
    Case(
        "one-frame.mp4",
        clip(*FAST, "-frames:v", "1", seconds=0.04, sound=False, flashes=()),
        Film((320, 180), 0.04, 1, flashes=(), channels=None),
    ),
    Case(
        "one-frame.mkv",
        clip(*FAST, "-frames:v", "1", seconds=0.04, sound=False, flashes=()),
        Film((320, 180), None, 1, flashes=(), channels=None),
    ),
    Case("a-fifth-of-a-second.mov", clip(seconds=0.2, flashes=()), Film((320, 180), 0.2, 5, flashes=())),
    Case(
        "ten-hours.mkv",
        clip(*FAST, rate="1/60", seconds=36_000, sound=False, flashes=(), size="64x36"),
        Film((64, 36), 36_000.0, 600, flashes=(), channels=None, has_gap=True),
        "a camera on a building site",
    ),
    Case(
        "three-hours.mp4",
        clip(
            "-c:v",
            "mpeg4",
            "-q:v",
            "3",
            rate="1/20",
            seconds=10_800,
            sound=False,
            flashes=(),
            size="64x36",
            matrix="smpte170m",
        ),
        Film((64, 36), 10_800.0, 540, flashes=(), channels=None, has_gap=True),
    ),
]
LIES = [
    Case("says-ten-hours.mkv", lambda path: _lying_matroska(path, 36_000), Film((320, 180), frames=50)),
    Case("says-half-a-second.mkv", lambda path: _lying_matroska(path, 0.5), Film((320, 180), frames=50)),
    Case("says-ten-hours.mp4", _lying_mp4, Film((320, 180), frames=50)),
    Case(
        "says-nothing.flv", lambda path: _lying_flv(path, 0.0), Film((320, 180), frames=50), "recorded live"
    ),
    Case("says-half-a-second.flv", lambda path: _lying_flv(path, 0.5), Film((320, 180), frames=50)),
    Case("says-ten-times-as-much.avi", _lying_avi, Film((320, 180), frames=50)),
    Case(
        "streamed.mkv",
        clip(*FILM, "-live", "1", "-f", "matroska"),
        Film((320, 180), frames=50),
        "no duration, no index",
    ),
    Case(
        "fragmented.mp4",
        clip(*FILM, "-movflags", "frag_keyframe+empty_moov+default_base_moof", "-g", "25"),
        Film((320, 180), frames=50),
    ),
    Case(
        "fragmented-shown-early.mp4",
        _shown_early,
        Film((320, 180), frames=50),
        "CMAF, whose pictures libavformat shows too late",
    ),
]

CASES = (*CLOCKS, *JUMPS, *LENGTHS, *LIES)
