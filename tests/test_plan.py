"""What is planned for a source, from facts alone."""

import dataclasses
import itertools
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from watcher import media, plan

VIDEO = media.VideoTrack(
    index=0,
    codec="h264",
    profile="High",
    level=31,
    pixel_format="yuv420p",
    width=1280,
    height=720,
    sample_aspect=Fraction(1),
    rotation=0,
    frame_rate=Fraction(30),
    frames=300,
    start_seconds=0.0,
    duration_seconds=10.0,
    bit_rate=2_000_000,
    interlaced=False,
)
AUDIO = media.AudioTrack(
    index=1,
    codec="aac",
    profile="LC",
    sample_rate=48_000,
    channels=2,
    start_seconds=0.0,
    duration_seconds=10.0,
    bit_rate=128_000,
)
MEDIA = media.Media(
    container="mov",
    size_bytes=2_500_000,
    start_seconds=0.0,
    duration_seconds=10.0,
    is_duration_trusted=True,
    video=VIDEO,
    audio=AUDIO,
)


def planned(*, container: str = "mov", audio: media.AudioTrack | None = AUDIO, **video: Any) -> plan.Plan:
    facts = dataclasses.replace(
        MEDIA, container=container, audio=audio, video=dataclasses.replace(VIDEO, **video)
    )
    return plan.make(facts, plan.Profile())


def test_a_source_that_already_plays_is_copied() -> None:
    made = planned()

    assert made.video.mode == "copy"
    assert made.audio is not None
    assert made.audio.mode == "copy"


@pytest.mark.parametrize(
    "reason",
    [
        {"codec": "hevc"},
        {"profile": "High 10", "pixel_format": "yuv420p10le"},
        {"profile": "High 4:2:2"},
        {"pixel_format": "yuvj420p"},
        {"width": 1920, "height": 1080},
        {"rotation": 90},
        {"sample_aspect": Fraction(4, 3)},
        {"interlaced": True},
        {"level": 52},
        {"level": None},
        {"frame_rate": Fraction(120)},
        {"frame_rate": None},
        {"bit_rate": 12_000_000},
        {"hidden": 12},
        {"container": "avi"},
    ],
    ids=str,
)
def test_a_picture_that_some_player_refuses_is_encoded(reason: dict[str, Any]) -> None:
    assert planned(**reason).video.mode == "encode"


@pytest.mark.parametrize(
    "reason",
    [
        {"codec": "mp3", "profile": None},
        {"profile": "HE-AAC"},
        {"channels": 6},
        {"sample_rate": 96_000},
        {"bit_rate": 500_000},
        {"hidden": 40},
    ],
    ids=str,
)
def test_sound_that_some_player_refuses_is_encoded_beside_a_copied_picture(reason: dict[str, Any]) -> None:
    made = planned(audio=dataclasses.replace(AUDIO, **reason))

    assert made.video.mode == "copy"
    assert made.audio is not None
    assert made.audio.mode == "encode"
    assert made.audio.channels <= 2
    assert made.audio.sample_rate <= 48_000


@pytest.mark.parametrize(
    ("facts", "size"),
    [
        ({"width": 1920, "height": 1080}, (1280, 720)),
        ({"width": 1080, "height": 1920}, (720, 1280)),
        ({"width": 1920, "height": 1080, "rotation": 90}, (720, 1280)),
        ({"width": 1920, "height": 1080, "rotation": 180}, (1280, 720)),
        ({"width": 720, "height": 576, "sample_aspect": Fraction(16, 11)}, (1046, 576)),
        ({"width": 1440, "height": 1080, "sample_aspect": Fraction(4, 3)}, (1280, 720)),
        ({"width": 176, "height": 144}, (176, 144)),
        ({"width": 321, "height": 241}, (320, 240)),
        ({"width": 1, "height": 1}, (2, 2)),
        ({"width": 20_000, "height": 100}, (4096, 20)),
    ],
    ids=str,
)
def test_the_size_is_the_displayed_one_within_the_ladder(
    facts: dict[str, Any], size: tuple[int, int]
) -> None:
    made = planned(codec="hevc", **facts)

    assert (made.video.width, made.video.height) == size
    assert (made.stills.width, made.stills.height) == size


@given(
    width=st.integers(1, 9000),
    height=st.integers(1, 9000),
    rotation=st.sampled_from([0, 90, 180, 270]),
    top=st.sampled_from([240, 360, 480, 720, 1080, 2160]),
)
def test_no_source_is_enlarged_or_given_odd_sides(width: int, height: int, rotation: int, top: int) -> None:
    track = dataclasses.replace(VIDEO, width=width, height=height, rotation=rotation)

    made = plan.make(dataclasses.replace(MEDIA, video=track), plan.Profile(ladder=(top,))).video

    shown = plan.displayed(track)
    assert made.width % 2 == made.height % 2 == 0
    assert min(made.width, made.height) <= top
    assert max(made.width, made.height) <= plan.LONG_SIDE
    assert made.width <= max(2, shown[0])
    assert made.height <= max(2, shown[1])


def test_only_a_frame_rate_above_the_cap_is_changed() -> None:
    assert planned(frame_rate=Fraction(60)).video.frame_rate is None
    assert planned(frame_rate=Fraction(6005, 100)).video.frame_rate is None  # a phone's: uneven, about 60
    assert planned(frame_rate=Fraction(240)).video.frame_rate == 60


def test_a_plan_survives_json() -> None:
    made = planned(frame_rate=Fraction(120))

    assert plan.load(plan.dump(made)) == made
    assert media.load(media.dump(MEDIA)) == MEDIA


def test_a_silent_source_has_no_plan_for_sound() -> None:
    assert planned(audio=None).audio is None


def keyframes(step: float, count: int) -> tuple[media.Keyframe, ...]:
    return tuple(media.Keyframe(number * step, round(number * step * 30)) for number in range(count))


def long_film(seconds: float, step: float) -> media.Media:
    frames = round(seconds * 30)
    places = keyframes(step, int(seconds / step))
    video = dataclasses.replace(
        VIDEO, duration_seconds=seconds, frames=frames, keyframes=places, codec="hevc"
    )
    return dataclasses.replace(MEDIA, duration_seconds=seconds, video=video)


@pytest.mark.parametrize(
    ("size", "ladder", "names"),
    [
        ((1280, 720), (720, 480, 360), ["720p", "480p", "360p"]),
        ((1080, 1920), (720, 480, 360), ["720p", "480p", "360p"]),
        ((900, 500), (720, 480, 360), ["500p", "360p"]),
        ((640, 360), (720, 480, 360), ["360p"]),
        ((176, 144), (720, 480, 360), ["144p"]),
        ((1920, 1080), (1080, 1000), ["1080p", "1000p"]),
    ],
    ids=str,
)
def test_no_rung_is_above_the_source_or_next_to_the_top(
    size: tuple[int, int], ladder: tuple[int, ...], names: list[str]
) -> None:
    video = dataclasses.replace(VIDEO, width=size[0], height=size[1])

    made = plan.make(dataclasses.replace(MEDIA, video=video), plan.Profile(ladder=ladder))

    assert [rung.name for rung in made.rungs] == names
    assert made.rungs[0] == plan.top(made.video)
    assert all(before.max_rate >= after.max_rate for before, after in itertools.pairwise(made.rungs))


def test_chunks_grow_from_one_a_viewer_waits_for_to_a_minute_and_shrink_at_the_end() -> None:
    made = plan.chunks(long_film(300, 2))

    starts = [0, 4, 10, 18, 30, 50, 80, 124, 184, 242, 270, 284, 292, 296]
    assert [chunk.start_seconds for chunk in made] == starts
    assert [chunk.end_seconds for chunk in made] == [*starts[1:], None]
    assert sum(chunk.frames or 0 for chunk in made) == 9000


@pytest.mark.parametrize(
    ("seconds", "side", "count"),
    [(10, 720, None), (25, 720, None), (60, 720, 6), (600, 720, 13), (60, 360, None), (200, 360, 8)],
)
def test_the_mp4_is_begun_early_where_that_can_gain_something(
    seconds: float, side: int, count: int | None
) -> None:
    facts = long_film(seconds, 1)
    made = plan.make(facts, plan.Profile(ladder=(side,)))

    assert plan.chunks_ahead(facts, made) == count
    if count is not None:
        assert 0.75 * seconds < made.chunks[count].start_seconds <= 0.9 * seconds


def test_the_mp4_of_a_copied_picture_is_begun_before_its_smaller_sizes_are_made() -> None:
    facts = long_film(60, 1)
    assert facts.video is not None
    facts = dataclasses.replace(facts, video=dataclasses.replace(facts.video, codec="h264", keyframe_gap=1.0))

    made = plan.make(facts, plan.Profile(ladder=(720, 360)))
    alone = plan.make(facts, plan.Profile(ladder=(720,)))

    assert (made.video.mode, alone.video.mode) == ("copy", "copy")
    assert (plan.chunks_ahead(facts, made), plan.chunks_ahead(facts, alone)) == (0, None)


def test_the_mp4_of_a_film_whose_end_is_not_known_is_not_begun_early() -> None:
    facts = dataclasses.replace(long_film(600, 1), is_duration_trusted=False)
    assert plan.chunks_ahead(facts, plan.make(facts, plan.Profile())) is None


def test_times_of_chunks_begin_where_the_video_begins() -> None:
    late = dataclasses.replace(long_film(300, 2), start_seconds=1.5)

    assert plan.chunks(late)[0].end_seconds == 4.5


@pytest.mark.parametrize("begins", [3, 5, 40])
def test_a_picture_that_begins_late_is_in_the_first_chunk(begins: float) -> None:
    film = long_film(300, 2)
    assert film.video is not None
    places = tuple(media.Keyframe(key.seconds + begins, key.frames_before) for key in keyframes(2, 150))
    late = dataclasses.replace(film.video, start_seconds=begins, keyframes=places)

    made = plan.chunks(dataclasses.replace(film, video=late))

    assert made[0].end_seconds is not None
    assert made[0].end_seconds > begins
    assert made[0].frames
    assert sum(chunk.frames or 0 for chunk in made) == 9000


@settings(deadline=None)
@given(seconds=st.floats(0.1, 8000), step=st.floats(0.5, 400))
def test_chunks_leave_nothing_out_and_none_is_a_scrap(seconds: float, step: float) -> None:
    made = plan.chunks(long_film(seconds, step))

    assert [chunk.ordinal for chunk in made] == list(range(len(made)))
    assert made[0].start_seconds == 0
    assert made[-1].end_seconds is None
    for before, after in itertools.pairwise(made):
        assert before.end_seconds == after.start_seconds
        assert after.start_seconds - before.start_seconds >= 2
    assert len(made) == 1 or seconds - made[-1].start_seconds >= 2
    assert sum(chunk.frames or 0 for chunk in made) == round(seconds * 30)


@pytest.mark.parametrize(
    "facts",
    [
        dataclasses.replace(MEDIA, video=dataclasses.replace(VIDEO, codec="hevc")),
        dataclasses.replace(long_film(300, 2), is_duration_trusted=False),
        long_film(6, 1),
        long_film(100, 99),
    ],
    ids=["no index", "no duration", "short", "no keyframes"],
)
def test_what_cannot_be_cut_or_need_not_is_one_chunk(facts: media.Media) -> None:
    [chunk] = plan.make(facts, plan.Profile()).chunks

    assert chunk.is_whole


def test_a_copied_film_has_chunks_for_the_rungs_below_only() -> None:
    alone = plan.make(MEDIA, plan.Profile(ladder=(720,)))
    above = plan.make(MEDIA, plan.Profile())

    assert (alone.chunks, alone.chunked_rungs) == ((), ())
    assert [rung.name for rung in above.chunked_rungs] == ["480p", "360p"]
    assert above.video.has_source_keyframes
    assert above.chunks


def test_a_copy_is_decoded_for_damage_unless_something_else_does_it_or_speed_was_asked_for() -> None:
    assert MEDIA.video is not None
    small = dataclasses.replace(
        MEDIA, video=dataclasses.replace(MEDIA.video, width=320, height=180, bit_rate=300_000)
    )

    assert plan.make(small, plan.Profile()).video.is_decoded  # no smaller size is made of it
    assert not plan.make(MEDIA, plan.Profile()).video.is_decoded
    assert not plan.make(small, plan.Profile(ladder=(720,))).video.is_decoded


def test_a_picture_with_hardly_any_keyframes_is_encoded() -> None:
    assert planned(keyframe_gap=10.4).video.mode == "copy"
    assert planned(keyframe_gap=60.0).video.mode == "encode"


def test_facts_that_an_earlier_version_recorded_are_still_understood() -> None:
    recorded = media.dump(MEDIA)
    for track in (recorded["video"], recorded["audio"]):
        kind = media.VideoTrack if track is recorded["video"] else media.AudioTrack
        for field in dataclasses.fields(kind):
            if field.default is not dataclasses.MISSING:
                del track[field.name]

    assert media.load(recorded) == MEDIA
