"""What becomes of the sound: which track, how loud, and that nothing is called sound where there is none."""

import dataclasses
import sys
from pathlib import Path
from typing import Any

import av
import pytest
from clips import BINARY, H264, PROFILE, bench, inspect_file, make, run
from house import House
from test_plan import AUDIO, MEDIA

from watcher import encode, localb2, plan, stats, transcript
from watcher.beat import Beat
from watcher.errors import Failure

LEVELLED = dataclasses.replace(PROFILE, loudness=-14.0)


def sounding(
    path: Path, *sounds: str, options: tuple[str, ...] = (), codec: str = "aac", seconds: float = 4
) -> Path:
    """Make a small film with sound tracks of these lavfi graphs."""
    inputs = ["-f", "lavfi", "-i", f"testsrc2=size=64x64:rate=10:duration={seconds}"]
    maps = ["-map", "0:v"]
    for number, sound in enumerate(sounds, start=1):
        inputs += ["-f", "lavfi", "-i", sound]
        maps += ["-map", f"{number}:a"]
    run(*inputs, *maps, *H264, "-c:a", codec, *options, str(path))
    return path


def tone(decibels: float, *, seconds: float = 4, channels: str = "c0|c0") -> str:
    """Return a tone of 1 kHz whose peaks are so far below full scale."""
    one = f"{10 ** (decibels / 20):.6f}*sin(2*PI*1000*t)"
    return f"aevalsrc=exprs={channels.replace('c0', one)}:s=48000:d={seconds}"


def heard(source: Path, profile: plan.Profile = PROFILE) -> encode.Made:
    """Make the sound as the step does."""
    folder = source.parent
    found = inspect_file(source, folder)
    made = plan.make(found, profile).audio
    assert made is not None
    part = encode.audio(source, found, made, bench(folder))
    assert isinstance(part, encode.Made)
    return part


def measured(path: Path) -> tuple[float, float]:
    """Measure once more, with another filter: loudness in LUFS and true peak in dBFS."""
    log = path.with_suffix(".txt")
    filters = "loudnorm=print_format=json:dual_mono=true:stats_file=" + str(log)
    run("-i", str(path), "-af", filters, "-f", "null", "-")
    said = dict(
        line.strip().rstrip(",").replace('"', "").split(" : ")
        for line in log.read_text().splitlines()
        if ":" in line
    )
    return float(said["input_i"]), float(said["input_tp"])


@pytest.mark.parametrize(
    ("name", "codec", "is_copy"),
    [("film.mp4", "aac", True), ("film.mkv", "flac", False)],
    ids=["copied", "encoded"],
)
def test_sound_is_measured_in_the_run_that_makes_it(
    tmp_path: Path, name: str, codec: str, is_copy: bool
) -> None:
    part = heard(sounding(tmp_path / name, tone(-20), codec=codec))

    assert part.is_copy == is_copy
    assert part.loudness is not None
    assert part.gain_db == 0
    lufs, peak = measured(part.path)
    assert part.loudness.lufs == pytest.approx(lufs, abs=0.3)
    # AAC adds as much. Nobody can turn up what is copied.
    assert part.loudness.peak_dbfs == (None if is_copy else pytest.approx(peak, abs=1.0))


SAID = (
    "[Parsed_ebur128_0 @ 0x7f6ba8001cc0] [info] Summary:",
    "Integrated loudness:",
    "I:         -18.8 LUFS",
    "LRA high:    3.0 LUFS",
    "True peak:",
    "Peak:      -17.6 dBFS",
)
OTHERS = "[out#1/null @ 0x55de32f33dc0] [verbose] Terminating thread with return code 0 (success)"
AGAIN = "[Parsed_ebur128_0 @ 0x7f6ba8001cc0] [info]"


@pytest.mark.parametrize(
    "lines",
    [
        SAID,
        (*SAID[:3], f"{SAID[3]}All streams finished", OTHERS, AGAIN, *SAID[4:]),
        (*SAID[:5], f"{SAID[5]}All streams finished", OTHERS, AGAIN),
    ],
    ids=["alone", "between two calls", "after the last line"],
)
def test_loudness_is_understood_although_other_threads_of_ffmpeg_speak_meanwhile(
    lines: tuple[str, ...],
) -> None:
    listener = transcript.Listener(Beat(), None, None)

    for line in lines:
        listener.message(line)

    assert listener.report(1.0).loudness == transcript.Loudness(-18.8, -17.6)


def test_mono_counts_as_loud_as_both_loudspeakers_play_it(tmp_path: Path) -> None:
    stereo = heard(sounding(tmp_path / "stereo.mp4", tone(-20)))
    mono = heard(sounding(tmp_path / "mono.mp4", tone(-20, channels="c0")))

    assert stereo.loudness is not None
    assert mono.loudness is not None
    assert mono.loudness.lufs == pytest.approx(stereo.loudness.lufs, abs=0.2)


def test_silence_has_no_loudness(tmp_path: Path) -> None:
    part = heard(sounding(tmp_path / "silent.mp4", "anullsrc=r=48000:d=4"), LEVELLED)

    assert part.loudness is not None
    assert part.loudness.lufs is None
    assert part.gain_db == 0


@pytest.mark.parametrize("decibels", [-30, -4], ids=["quiet", "loud"])
@pytest.mark.parametrize("name", ["film.mp4", "film.mkv"])
def test_sound_is_levelled_when_that_is_asked_for(tmp_path: Path, name: str, decibels: float) -> None:
    part = heard(
        sounding(tmp_path / name, tone(decibels), codec="aac" if name == "film.mp4" else "flac"), LEVELLED
    )

    assert not part.is_copy
    assert part.gain_db * (1 if decibels == -30 else -1) > 8
    lufs, peak = measured(part.path)
    assert lufs == pytest.approx(-14, abs=0.5)
    assert peak < -1


def test_sound_whose_loudness_was_not_told_is_not_left_as_it_is_in_silence(tmp_path: Path) -> None:
    source = sounding(tmp_path / "quiet.mkv", tone(-40))
    found = inspect_file(source, tmp_path)
    made = plan.make(found, LEVELLED).audio
    assert made is not None
    speechless = tmp_path / "ffmpeg"
    speechless.write_text(
        f"#!{sys.executable} -IS\n"
        "import subprocess, sys\n"
        f"done = subprocess.run([{str(BINARY)!r}, *sys.argv[1:]], stderr=subprocess.PIPE)\n"
        "lines = done.stderr.decode().splitlines(keepends=True)\n"
        "print(*(line for line in lines if 'ebur128' not in line and 'I:' not in line), sep='', file=sys.stderr)\n"
        "sys.exit(done.returncode)\n"
    )
    speechless.chmod(0o755)
    table = bench(tmp_path)
    limits = dataclasses.replace(table.limits, is_confined=False)

    with pytest.raises(Failure) as caught:
        encode.audio(source, found, made, dataclasses.replace(table, binary=speechless, limits=limits))

    assert caught.value.code == "encode_failed"
    assert "loud" in caught.value.detail


def test_an_empty_track_is_nothing_to_level(tmp_path: Path) -> None:
    source = sounding(tmp_path / "silent.mkv", "anullsrc=r=48000:d=4,aselect=0")
    found = inspect_file(source, tmp_path)
    made = plan.make(found, LEVELLED).audio
    assert made is not None

    part = encode.audio(source, found, made, bench(tmp_path))

    assert isinstance(part, encode.Nothing)


@pytest.mark.parametrize(
    ("options", "is_copy"),
    [
        (("-b:a", "128k"), True),
        (("-q:a", "10", "-aac_pns", "0", "-aac_ms", "0", "-aac_is", "0", "-cutoff", "24000"), False),
    ],
    ids=["128-kbit", "520-kbit"],
)
def test_sound_whose_rate_is_not_told_is_copied_unless_it_turns_out_too_high(
    tmp_path: Path, options: tuple[str, ...], is_copy: bool
) -> None:
    noise = "aevalsrc=random(0)-0.5|random(1)-0.5:s=48000:d=4"
    source = sounding(tmp_path / "noise.mkv", noise, options=options)
    track = inspect_file(source, tmp_path).audio
    assert track is not None
    assert track.bit_rate is None

    assert heard(source).is_copy == is_copy


def test_sound_that_is_loud_enough_is_still_copied_when_levels_are_asked_for(tmp_path: Path) -> None:
    part = heard(sounding(tmp_path / "film.mp4", tone(-14)), LEVELLED)

    assert part.is_copy
    assert part.gain_db == 0


def test_quiet_sound_with_loud_peaks_is_turned_up_without_clipping(tmp_path: Path) -> None:
    """Speech with a door that slams: the peak leaves no room for a plain change of level."""
    slam = "if(between(t\\,2\\,2.005)\\,0.7\\,0.02)*sin(2*PI*1000*t)"
    part = heard(
        sounding(tmp_path / "film.mkv", f"aevalsrc=exprs={slam}:s=48000:d=4", codec="flac"), LEVELLED
    )

    assert 5 < part.gain_db < 10
    assert measured(part.path)[1] < -0.5


@pytest.mark.parametrize(
    ("lufs", "peak", "gain"),
    [
        (-20.0, -10.0, 6.0),
        (-14.3, -3.0, 0.0),
        (-8.0, 0.5, -6.0),
        (-23.0, -2.0, 6.5),  # 0.5 up to the ceiling, and 6 that the peaks are turned down again
        (-60.0, -45.0, 24.0),
        (-20.0, 9.0, 0.0),
        (None, None, 0.0),
    ],
)
def test_the_change_of_level_leaves_peaks_their_room(
    lufs: float | None, peak: float | None, gain: float
) -> None:
    assert plan.gain_db(lufs, peak, target_lufs=-14.0) == gain


@pytest.mark.parametrize(
    ("change", "mode"), [({}, "copy"), ({"start_seconds": 0.02}, "copy"), ({"start_seconds": 0.5}, "encode")]
)
def test_late_sound_is_not_copied_for_silence_must_go_before_it(change: dict[str, Any], mode: str) -> None:
    made = plan.make(dataclasses.replace(MEDIA, audio=dataclasses.replace(AUDIO, **change)), plan.Profile())

    assert made.audio is not None
    assert made.audio.mode == mode


@pytest.mark.parametrize(
    ("flags", "number"),
    [
        (("default", "0", "0"), 1),
        (("0", "default", "0"), 2),
        (("0", "0", "0"), 1),
        (("comment+default", "0", "0"), 2),
        (("visual_impaired", "hearing_impaired", "default"), 3),
        (("comment", "comment", "comment"), 1),
    ],
)
def test_the_main_sound_is_the_default_one_or_the_first_that_is_for_everybody(
    tmp_path: Path, flags: tuple[str, ...], number: int
) -> None:
    languages = ("deu", "eng", "fra")
    options: list[str] = []
    for place, (flag, language) in enumerate(zip(flags, languages, strict=True)):
        options += [f"-disposition:a:{place}", flag, f"-metadata:s:a:{place}", f"language={language}"]
    source = sounding(
        tmp_path / "film.mkv",
        *[tone(-20, seconds=1)] * 3,
        options=tuple(options),
        codec="libmp3lame",
        seconds=1,
    )

    audio = inspect_file(source, tmp_path).audio

    assert audio is not None
    assert (audio.number, audio.tracks, audio.language) == (number, 3, languages[number - 1])


def test_a_language_that_is_no_language_is_not_told(tmp_path: Path) -> None:
    source = sounding(
        tmp_path / "film.mkv",
        tone(-20, seconds=1),
        options=("-metadata:s:a:0", "language=Klingon \x1b[31m"),
        seconds=1,
    )

    audio = inspect_file(source, tmp_path).audio

    assert audio is not None
    assert audio.language is None


def test_a_track_that_was_never_filled_is_no_sound(tmp_path: Path) -> None:
    source = sounding(tmp_path / "film.mkv", "aevalsrc=0:s=48000:d=1,aselect=0", codec="pcm_s16le", seconds=1)
    found = inspect_file(source, tmp_path)
    made = plan.make(found, PROFILE).audio
    assert made is not None

    assert encode.audio(source, found, made, bench(tmp_path)) == encode.Nothing(None)


def test_damage_in_copied_sound_is_noticed(tmp_path: Path) -> None:
    source = make(tmp_path / "film.mp4", *H264, "-c:a", "aac", seconds=4)
    data = bytearray(source.read_bytes())
    with av.open(str(source)) as container:
        for packet in container.demux(audio=0):
            if (
                packet.size
                and packet.pos is not None
                and 1 <= float((packet.pts or 0) * packet.time_base) < 2
            ):
                data[packet.pos : packet.pos + packet.size] = b"\x55" * packet.size
    source.write_bytes(data)

    with pytest.raises(Failure) as caught:
        heard(source)

    assert caught.value.code == "source_damaged"
    assert "readable: " in caught.value.detail


def test_the_table_and_show_say_which_sound_it_is_and_how_loud(tmp_path: Path, b2: localb2.LocalB2) -> None:
    options = ("-metadata:s:a:0", "language=deu", "-metadata:s:a:1", "language=eng", "-disposition:a:0", "0")
    source = sounding(
        tmp_path / "film.mkv",
        *[tone(-30, seconds=2)] * 2,
        options=(*options, "-disposition:a:1", "default"),
        codec="libmp3lame",
        seconds=2,
    )
    house = House(tmp_path, b2, LADDER="144", LOUDNESS="-14", QUALITY="fast")
    house.upload(source)
    house.run_until_idle()

    row = house.rows()["film.mkv"]
    shown = " ".join(house.cli("show", "1").stdout.split())
    db = house.readings()
    whole = stats.video(db, 1)
    db.dispose()

    assert (row["status"], row["audio_language"]) == ("completed", "eng")
    assert row["loudness_lufs"] == pytest.approx(-14, abs=0.5)
    assert whole is not None
    assert whole.gain_db > 10
    assert "sound mp3, stereo, 48000 Hz, track 2 of 2 (eng), " in shown
    assert f"{row['loudness_lufs']:.1f} LUFS, true peak" in shown
    assert f"turned up by {whole.gain_db:.1f} dB" in shown
