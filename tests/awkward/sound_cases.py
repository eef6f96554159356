"""Awkward sound: channels, languages, codecs and rates, and sound that does not begin or end with the picture."""

import math
from array import array
from collections.abc import Callable
from pathlib import Path

import av
import scene
from case import Case, Film, Skipped
from clips import run
from scene import FAST, FILM

SURROUND = {
    "5.1": ("FL", "FR", "FC", "LFE", "BL", "BR"),
    "7.1": ("FL", "FR", "FC", "LFE", "BL", "BR", "SL", "SR"),
}
YUV = ("-vf", "scale=out_color_matrix=bt709,format=yuv420p")
DIALOGUE_HERTZ = 1000


def level(path: Path, hertz: float, *, channel: int = 0, start: float = 0.0, end: float = 9.0) -> float:
    """Return how loud a tone is in one channel of a file's sound, in dB below full scale (Goertzel)."""
    samples: list[float] = []
    rate = 48_000
    with av.open(str(path)) as container:
        for frame in container.decode(audio=0):
            time, rate = float(frame.time or 0.0), frame.sample_rate
            values = array("f", bytes(frame.planes[channel]))[: frame.samples]
            samples += [one for n, one in enumerate(values) if start <= time + n / rate < end]
    turn = 2 * math.pi * hertz / rate
    real = math.fsum(one * math.cos(turn * n) for n, one in enumerate(samples))
    imaginary = math.fsum(one * math.sin(turn * n) for n, one in enumerate(samples))
    return 20 * math.log10(2 * math.hypot(real, imaginary) / max(1, len(samples)) + 1e-9)


def surround(path: Path, layout: str, *encoding: str, others: float = 0.0) -> None:
    """Beep in the centre at -6 dB, as dialogue does, while the other channels hum at `others` of full scale."""
    beep = scene.beeps(seconds=2).partition("exprs=")[2].partition(":")[0]
    exprs = "|".join(
        beep if name == "FC" else f"{others}*sin(2*PI*{90 + 40 * number}*t)"
        for number, name in enumerate(SURROUND[layout])
    )
    sound = f"aevalsrc=exprs={exprs}:channel_layout={layout}:s=48000:d=2"
    picture = scene.picture(size="320x180", rate="25", seconds=2)
    run("-f", "lavfi", "-i", picture, "-f", "lavfi", "-i", sound, *YUV, *FAST, *encoding, str(path))


def dialogue_stays(path: Path) -> str:
    """Look for the beep in both channels: at -9 dB, each of two loudspeakers then gives half of its power."""
    levels = [level(path, DIALOGUE_HERTZ, channel=channel, start=0.42, end=0.58) for channel in (0, 1)]
    right = all(-10.5 < one < -7.5 for one in levels)
    return "" if right else f"the centre channel has {levels[0]:.1f} and {levels[1]:.1f} dB in left and right"


def apart(
    *encoding: str,
    picture_late: float = 0.0,
    sound_late: float = 0.0,
    picture_seconds: float = 2.0,
    sound_seconds: float = 2.0,
    flashes: tuple[float, ...] = scene.FLASHES,
) -> Callable[[Path], None]:
    """Return what makes a film whose tracks do not begin or end together; `flashes` on the film's own clock."""

    def make(path: Path) -> None:
        seen = [time - picture_late for time in flashes if time >= picture_late]
        heard = [time - sound_late for time in flashes if time >= sound_late]
        picture = scene.picture(size="320x180", rate="25", seconds=picture_seconds, flashes=seen)
        sound = scene.beeps(seconds=sound_seconds, flashes=heard)
        inputs = ["-itsoffset", str(picture_late), "-f", "lavfi", "-i", picture]
        inputs += ["-itsoffset", str(sound_late), "-f", "lavfi", "-i", sound]
        run(*inputs, *YUV, *(encoding or FILM), str(path))

    return make


def _languages(path: Path, *order: str, flags: dict[int, str]) -> None:
    """Put several sound tracks in one file; only the one that is to be chosen beeps, the others are silent."""
    picture = scene.picture(size="320x180", rate="25", seconds=2)
    inputs, maps = ["-f", "lavfi", "-i", picture], ["-map", "0:v"]
    tags: list[str] = []
    for number, language in enumerate(order):
        sound = scene.beeps(seconds=2, flashes=scene.FLASHES if language.isupper() else ())
        inputs += ["-f", "lavfi", "-i", sound]
        maps += ["-map", f"{number + 1}:a"]
        tags += [f"-metadata:s:a:{number}", f"language={language.lower()}"]
        tags += [f"-disposition:a:{number}", flags.get(number, "0")]
    run(*inputs, *maps, *YUV, *FILM, *tags, str(path))


def _drifting(path: Path) -> None:
    """Tell sound times that run 0.8 % fast against the samples, as cheap cameras do: 80 ms after ten seconds."""
    flashes, fast = (0.4, 9.4), 1.008
    picture = scene.picture(size="320x180", rate="25", seconds=10, flashes=flashes)
    tone = scene.beeps(seconds=10 / fast, flashes=[flash / fast for flash in flashes])
    sound = f"{tone},asetpts=PTS*{fast}"
    run("-f", "lavfi", "-i", picture, "-f", "lavfi", "-i", sound, *YUV, *FAST, "-c:a", "pcm_s16le", str(path))


def _broken_now_and_then(path: Path) -> None:
    """Leave out 60 ms of sound, as a microphone on a busy bus does."""
    picture = scene.picture(size="320x180", rate="25", seconds=2)
    sound = f"{scene.beeps(seconds=2)},aselect=not(between(t\\,0.8\\,0.86))"
    run("-f", "lavfi", "-i", picture, "-f", "lavfi", "-i", sound, *YUV, *FAST, "-c:a", "pcm_s16le", str(path))


def _unmarked_channels(path: Path) -> None:
    """Write sixteen channels that nothing tells apart, the first two of which are the mix."""
    beep = scene.beeps(seconds=2).partition("exprs=")[2].partition(":")[0]
    exprs = "|".join([beep, beep, *["0"] * 14])
    picture = scene.picture(size="320x180", rate="25", seconds=2)
    sound = f"aevalsrc=exprs={exprs}:s=48000:d=2"
    run("-f", "lavfi", "-i", picture, "-f", "lavfi", "-i", sound, *YUV, *FAST, "-c:a", "pcm_s16le", str(path))


def _empty_track(path: Path) -> None:
    """Declare a sound track that never gets a sample, as screen recorders do without a microphone."""
    picture = scene.picture(size="320x180", rate="25", seconds=2)
    sound = "aevalsrc=0:s=48000:d=2,aselect=0"
    run("-f", "lavfi", "-i", picture, "-f", "lavfi", "-i", sound, *YUV, *FAST, "-c:a", "pcm_s16le", str(path))


def _sampled(rate: int, *encoding: str) -> Callable[[Path], None]:
    def make(path: Path) -> None:
        picture = scene.picture(size="320x180", rate="25", seconds=2)
        sound = scene.beeps(seconds=2, rate=rate)
        run("-f", "lavfi", "-i", picture, "-f", "lavfi", "-i", sound, *YUV, *FAST, *encoding, str(path))

    return make


def _sound_alone(path: Path) -> None:
    run("-f", "lavfi", "-i", scene.beeps(seconds=2), str(path))


def _picture_alone(path: Path) -> None:
    run("-f", "lavfi", "-i", "testsrc2=size=320x180", "-frames:v", "1", "-pix_fmt", "yuvj420p", str(path))


FILM_SIZE = (320, 180)
CHANNELS = [
    Case("silent.mp4", scene.clip(sound=False), Film(FILM_SIZE, channels=None)),
    Case("stereo.mp4", scene.clip(*FILM, "-ac", "2"), Film(FILM_SIZE, channels=2)),
    Case(
        "surround-5.1.mp4",
        lambda path: surround(path, "5.1", "-c:a", "aac"),
        Film(FILM_SIZE, channels=2, also=dialogue_stays),
        "players without six loudspeakers",
    ),
    Case(
        "surround-5.1-loud.mkv",
        lambda path: surround(path, "5.1", "-c:a", "flac", others=0.05),
        Film(FILM_SIZE, channels=2, also=dialogue_stays),
        "a mix in whole numbers turns dialogue down by 8 dB",
    ),
    Case(
        "surround-7.1.mov",
        lambda path: surround(path, "7.1", "-c:a", "pcm_s16le"),
        Film(FILM_SIZE, channels=2, also=dialogue_stays),
    ),
    Case("sixteen-channels.mov", _unmarked_channels, Film(FILM_SIZE, channels=2), "field recorders"),
    Case("empty-sound.mkv", _empty_track, Film(FILM_SIZE, channels=None), "screen recorders"),
]
LANGUAGES = [
    Case(
        "second-is-default.mkv",
        lambda path: _languages(path, "deu", "ENG", flags={1: "default"}),
        Film(FILM_SIZE),
        "the default track is the one to play",
    ),
    Case(
        "none-is-default.mkv",
        lambda path: _languages(path, "FRA", "eng", "deu", flags={}),
        Film(FILM_SIZE),
        "then the first",
    ),
    Case(
        "commentary-first.mkv",
        lambda path: _languages(path, "eng", "ENG", flags={0: "comment+default"}),
        Film(FILM_SIZE),
        "a director's commentary is not the film's sound",
    ),
    Case(
        "described-first.mkv",
        lambda path: _languages(
            path, "eng", "deu", "ENG", flags={0: "visual_impaired", 1: "hearing_impaired"}
        ),
        Film(FILM_SIZE),
    ),
]
CODECS = [
    Case("sound-8k.avi", _sampled(8000, "-c:a", "pcm_u8"), Film(FILM_SIZE), "old cameras"),
    Case("sound-11k.mov", _sampled(11_025, "-c:a", "pcm_s16be"), Film(FILM_SIZE)),
    Case("sound-96k-24-bit.mov", _sampled(96_000, "-c:a", "pcm_s24le"), Film(FILM_SIZE), "field recorders"),
    Case("sound-192k-float.mkv", _sampled(192_000, "-c:a", "pcm_f32le"), Film(FILM_SIZE)),
    Case(
        "sound-opus.webm",
        lambda path: scene.make(path, "-c:v", "libvpx", "-c:a", "libopus", matrix="smpte170m"),
        Film(FILM_SIZE),
    ),
    Case("sound-ac3.ts", _sampled(48_000, "-c:a", "ac3"), Film(FILM_SIZE), "television"),
    Case("sound-alac.mov", _sampled(44_100, "-c:a", "alac"), Film(FILM_SIZE)),
    Case("sound-adpcm.avi", _sampled(22_050, "-c:a", "adpcm_ima_wav"), Film(FILM_SIZE)),
    Case("sound-vorbis.mkv", _sampled(48_000, "-c:a", "libvorbis"), Film(FILM_SIZE)),
    Case(
        "sound-wma.wmv",
        lambda path: scene.make(path, "-c:v", "wmv2", "-c:a", "wmav2", matrix="smpte170m"),
        Film(FILM_SIZE),
    ),
]
TIMES = [
    Case(
        "sound-goes-on.mp4",
        apart(sound_seconds=6, flashes=scene.FLASHES),
        Film(FILM_SIZE, sound_seconds=6.0),
        "music over a black end that was cut",
    ),
    Case("sound-stops-early.mp4", apart(sound_seconds=1.8), Film(FILM_SIZE, sound_seconds=1.8)),
    Case(
        "sound-late.mp4",
        apart(sound_late=0.72, flashes=(0.92, 1.4)),
        Film(FILM_SIZE, flashes=(0.92, 1.4), sound_seconds=2.72),
        "players that begin each track with what there is",
    ),
    Case(
        "sound-late.mov",
        apart(*FAST, "-c:a", "pcm_s16le", sound_late=0.72, flashes=(0.92, 1.4)),
        Film(FILM_SIZE, flashes=(0.92, 1.4), sound_seconds=2.72),
    ),
    Case(
        "picture-late.mov",
        apart(*FAST, "-c:a", "pcm_s16le", picture_late=0.72, sound_seconds=2.72, flashes=(0.92, 2.32)),
        Film(FILM_SIZE, seconds=2.72, frames=50, flashes=(0.92, 2.32), sound_seconds=2.72),
        "the first picture stands until the second is due",
    ),
    Case(
        "picture-late-copied.mp4",
        apart(*FILM, "-profile:v", "high", picture_late=0.72, sound_seconds=2.72, flashes=(0.92, 2.32)),
        Film(FILM_SIZE, seconds=2.72, frames=50, flashes=(0.92, 2.32), sound_seconds=2.72),
    ),
    Case(
        "sound-drifts.mkv",
        _drifting,
        Film(FILM_SIZE, seconds=10.0, flashes=(0.4, 9.4), sound_seconds=10.0),
        "cameras whose two clocks differ",
    ),
    Case("sound-with-a-hole.mkv", _broken_now_and_then, Film(FILM_SIZE, sound_seconds=2.0)),
]
NOT_FILMS = [
    *(
        Case(f"song.{ending}", _sound_alone, Skipped("audio_only"))
        for ending in ("mp3", "flac", "ogg", "wav", "mp4")
    ),
    *(
        Case(f"photo.{ending}", _picture_alone, Skipped("image"))
        for ending in ("jpg", "png", "webp", "gif", "bmp")
    ),
]
CASES = [*CHANNELS, *LANGUAGES, *CODECS, *TIMES, *NOT_FILMS]
