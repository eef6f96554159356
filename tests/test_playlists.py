"""Playlists and the storyboard: what they say of real files, and rules that hold for any."""

import dataclasses
import io
from fractions import Fraction
from pathlib import Path

import av
import m3u8
import pytest
import webvtt
from clips import H264, make, run
from hypothesis import given
from hypothesis import strategies as st

from watcher import fragments, playlists
from watcher.playlists import Part, Segment

FRAGMENTED = "+frag_keyframe+empty_moov+default_base_moof+negative_cts_offsets+frag_discont"
DIGEST, OTHER = "a" * 64, "b" * 64


def built(
    durations: list[list[float]], *, digests: list[str] | None = None, sizes: tuple[int, int] = (700, 1000)
) -> list[Part]:
    """Return parts with segments of these durations, as objects of their own would hold them."""
    parts, clock = [], 0.0
    for number, lengths in enumerate(durations):
        digest = digests[number] if digests else DIGEST
        init, size = sizes
        segments = tuple(Segment(init + index * size, size, seconds) for index, seconds in enumerate(lengths))
        parts.append(Part(f"parts/v-{number}.mp4", init, digest, clock, segments))
        clock += sum(lengths)
    return parts


def loaded(text: str) -> m3u8.M3U8:
    return m3u8.loads(text, custom_tags_parser=None)


PARTS = st.lists(
    st.lists(st.floats(0.02, 6.4), min_size=1, max_size=6),
    min_size=1,
    max_size=8,
)


@given(durations=PARTS)
def test_a_playlist_tells_every_segment_once_and_its_times_add_up(durations: list[list[float]]) -> None:
    parts = built(durations)
    found = loaded(playlists.media(parts, target_duration=6, is_final=True))

    told = [(segment.uri, segment.byterange, segment.duration) for segment in found.segments]
    assert told == [
        (one.uri, f"{segment.size}@{segment.offset}", pytest.approx(segment.duration_seconds, abs=1e-5))
        for one in parts
        for segment in one.segments
    ]
    assert sum(duration for *_, duration in told) == pytest.approx(
        sum(map(sum, durations)), abs=1e-6 * len(told)
    )
    assert found.target_duration == 6
    assert all(round(segment.duration) <= found.target_duration for segment in found.segments)
    assert [(found.is_endlist, found.playlist_type, found.is_independent_segments)] == [(True, "vod", True)]


@given(durations=PARTS, at=st.integers(1, 8), data=st.data())
def test_what_a_player_has_read_of_a_growing_playlist_stays(
    durations: list[list[float]], at: int, data: st.DataObject
) -> None:
    digests = data.draw(st.lists(st.sampled_from([DIGEST, OTHER]), min_size=8, max_size=8))
    parts = built(durations, digests=digests)
    earlier = playlists.media(parts[:at], target_duration=6, is_final=False)
    later = playlists.media(parts, target_duration=6, is_final=False)
    final = playlists.media(parts, target_duration=6, is_final=True)

    assert later.startswith(earlier)
    assert final == later.replace("TYPE:EVENT", "TYPE:VOD") + "#EXT-X-ENDLIST\n"
    found = loaded(later)
    assert not found.is_endlist
    assert found.playlist_type == "event"
    changes = [
        one for one, before in zip(digests[: len(parts)], ["", *digests], strict=False) if one != before
    ]
    assert len({segment.init_section.uri for segment in found.segments}) == len(changes)
    assert [segment.discontinuity for segment in found.segments].count(True) == len(changes) - 1


def test_players_begin_at_the_start_of_a_playlist_that_grows() -> None:
    # hls.js and Safari take it for a live one, and would begin three segments before its end.
    found = loaded(playlists.media(built([[4, 4]]), target_duration=4, is_final=False))

    assert found.start.time_offset == 0


def test_a_new_head_is_told_only_where_the_decoder_needs_one() -> None:
    parts = built([[2], [2], [2]], digests=[DIGEST, DIGEST, OTHER])
    lines = playlists.media(parts, target_duration=2, is_final=False).splitlines()

    heads = [index for index, line in enumerate(lines) if line.startswith("#EXT-X-MAP")]
    assert [lines[index] for index in heads] == [
        '#EXT-X-MAP:URI="parts/v-0.mp4",BYTERANGE="700@0"',
        '#EXT-X-MAP:URI="parts/v-2.mp4",BYTERANGE="700@0"',
    ]
    assert lines[heads[1] - 1] == "#EXT-X-DISCONTINUITY"
    assert lines.count("#EXT-X-DISCONTINUITY") == 1


def test_a_part_without_a_head_plays_after_the_one_that_has_it() -> None:
    first, second = built([[2], [2]])
    second = dataclasses.replace(second, init_size=0, segments=(Segment(0, 500, 2),))
    text = playlists.media([first, second], target_duration=2, is_final=True)

    assert text.count("#EXT-X-MAP") == 1
    assert "#EXT-X-BYTERANGE:500@0\nparts/v-1.mp4" in text
    with pytest.raises(ValueError, match=r"v-1.mp4 needs a head"):
        playlists.media([second], target_duration=2, is_final=True)


def test_a_playlist_that_could_not_be_played_is_refused() -> None:
    one, two, three = built([[2, 2], [2], [2]])
    torn = dataclasses.replace(one, segments=(one.segments[0], Segment(1701, 10, 2)))
    inside = dataclasses.replace(one, segments=(Segment(699, 10, 2),))
    refused = {
        "without a segment": [],
        r"v-2.mp4 starts at 6.000 s, and is due at 4.000": [one, three],
        r"due at 6.000 s": [one, two, two],
        "does not follow at byte 1700": [torn],
        "does not follow at byte 700": [inside],
    }

    for reason, parts in refused.items():
        with pytest.raises(ValueError, match=reason):
            playlists.media(parts, target_duration=2, is_final=True)
    with pytest.raises(ValueError, match="longer than 1 s"):
        playlists.media([one], target_duration=1, is_final=True)


@pytest.mark.parametrize(("longest", "target"), [(0.04, 1), (2, 2), (2.002, 3), (8.34, 9)])
def test_a_target_duration_is_whole_and_covers_the_longest_segment(longest: float, target: int) -> None:
    assert playlists.target_duration(longest) == target


def rung(
    name: str, height: int, size: int, *, rate: Fraction | None = Fraction(25)
) -> playlists.VideoRendition:
    parts = tuple(built([[2, 2], [2, 2]], sizes=(700, size)))
    return playlists.VideoRendition(f"{name}.m3u8", "avc1.64001f", parts, height * 16 // 9, height, rate)


SOUND = playlists.AudioRendition(
    "audio.m3u8", "mp4a.40.2", tuple(built([[2, 2, 2, 2]], sizes=(700, 32_000))), 2
)


def test_the_master_tells_what_was_measured_with_the_sound_in_it() -> None:
    found = loaded(playlists.master([rung("720p", 720, 500_000)], SOUND, target_duration=2))

    (told,) = found.playlists
    assert told.stream_info.bandwidth == told.stream_info.average_bandwidth == 4 * 532_000
    assert told.stream_info.codecs == "avc1.64001f,mp4a.40.2"
    assert told.stream_info.resolution == (1280, 720)
    assert told.stream_info.frame_rate == 25
    (audio,) = told.media
    assert (audio.uri, audio.type, audio.channels, audio.default) == ("audio.m3u8", "AUDIO", "2", "YES")
    assert found.is_independent_segments


def test_a_master_without_sound_or_frame_rate_does_not_tell_of_them() -> None:
    text = playlists.master([rung("720p", 720, 500_000, rate=None)], None, target_duration=2)

    assert 'CODECS="avc1.64001f",RESOLUTION=1280x720\n720p.m3u8\n' in text
    assert "AUDIO" not in text


def test_a_fractional_frame_rate_is_told_to_three_digits() -> None:
    video = rung("720p", 720, 500_000, rate=Fraction(30_000, 1001))

    assert "FRAME-RATE=29.970," in playlists.master([video], SOUND, target_duration=2)


def test_players_start_with_the_best_rung_for_most_lines_and_find_the_others_rising() -> None:
    rungs = [rung("1080p", 1080, 1_000_000), rung("480p", 480, 350_000), rung("360p", 360, 200_000)]
    rungs.append(rung("720p", 720, 600_000))
    found = loaded(playlists.master(rungs, SOUND, target_duration=2))

    assert [one.uri for one in found.playlists] == ["480p.m3u8", "360p.m3u8", "720p.m3u8", "1080p.m3u8"]


def test_the_lowest_rung_comes_first_when_all_are_heavy() -> None:
    found = loaded(
        playlists.master([rung("b", 1080, 2_000_000), rung("a", 720, 900_000)], None, target_duration=2)
    )

    assert [one.uri for one in found.playlists] == ["a.m3u8", "b.m3u8"]


def test_a_peak_is_that_of_a_stretch_and_not_of_a_lone_last_frame() -> None:
    segments = (
        Segment(700, 100_000, 2.0),
        Segment(100_700, 300_000, 2.0),
        Segment(400_700, 50_000, 2.0),
        Segment(450_700, 40_000, 0.04),
    )
    part = Part("v.mp4", 700, DIGEST, 0.0, segments)
    video = dataclasses.replace(rung("v", 720, 1), parts=(part,))
    (told,) = loaded(playlists.master([video], None, target_duration=2)).playlists

    assert told.stream_info.bandwidth == 1_200_000
    assert told.stream_info.average_bandwidth == pytest.approx(8 * 490_000 / 6.04, abs=1)


def test_a_clip_shorter_than_half_the_target_is_measured_whole() -> None:
    part = Part("v.mp4", 700, DIGEST, 0.0, (Segment(700, 50_000, 0.4),))
    video = dataclasses.replace(rung("v", 720, 1), parts=(part,))

    assert "BANDWIDTH=1000000,AVERAGE-BANDWIDTH=1000000" in playlists.master([video], None, target_duration=1)


def test_a_rung_is_not_promised_lighter_than_what_is_still_to_come_may_be() -> None:
    video = dataclasses.replace(rung("v", 720, 1000), least_bandwidth=4_500_000)

    assert "BANDWIDTH=4500000,AVERAGE-BANDWIDTH=4000," in playlists.master([video], None, target_duration=2)


def test_addresses_are_encoded_and_nothing_in_them_can_end_a_line_or_a_quote() -> None:
    part = dataclasses.replace(built([[2]])[0], uri='a b/"#?%\n:é.mp4')
    text = playlists.media([part], target_duration=2, is_final=True)

    assert text.count("a%20b/%22%23%3F%25%0A%3A%C3%A9.mp4") == 2
    assert '"#?' not in text


def test_a_ladder_made_by_ffmpeg_is_read_back_as_it_was_written(tmp_path: Path) -> None:
    made = make(
        tmp_path / "v.mp4", *H264, "-g", "50", "-bf", "2", "-movflags", FRAGMENTED, seconds=5, sound=False
    )
    encoding = ["-c:a", "aac", "-frag_duration", "2000000"]
    tone = ["-f", "lavfi", "-i", "sine=frequency=440:sample_rate=48000:duration=5"]
    run(*tone, *encoding, "-movflags", "+empty_moov+delay_moov+default_base_moof", str(tmp_path / "a.mp4"))
    video, sound = made.read_bytes(), (tmp_path / "a.mp4").read_bytes()
    picture_layout = fragments.read(io.BytesIO(video), end_seconds=5)
    sound_layout = fragments.read(io.BytesIO(sound))
    cuts = [(0, 1), (1, None)]
    objects = {
        f"a-{number}.mp4": sound[slice(*playlists.span(sound_layout, first=first, end=end))]
        for number, (first, end) in enumerate(cuts)
    }
    digest = fragments.init_digest(sound[: sound_layout.init_size])
    parts = [
        playlists.part(f"a-{number}.mp4", sound_layout, init_digest=digest, first=first, end=end)
        for number, (first, end) in enumerate(cuts)
    ]
    text = playlists.media(parts, target_duration=3, is_final=True)

    again = bytearray()
    for segment in loaded(text).segments:
        size, offset = map(int, segment.byterange.split("@"))
        again += objects[segment.uri][offset : offset + size]
    head = loaded(text).segments[0].init_section
    assert (head.uri, head.byterange) == ("a-0.mp4", f"{sound_layout.init_size}@0")
    assert sound.startswith(objects["a-0.mp4"][: sound_layout.init_size] + again)

    (picture,) = [playlists.part("v.mp4", picture_layout, init_digest=DIGEST)]
    told = loaded(playlists.media([picture], target_duration=2, is_final=True)).segments
    assert [segment.duration for segment in told] == [2, 2, 1]
    sizes = [int(segment.byterange.split("@")[0]) for segment in told]
    assert picture_layout.init_size + sum(sizes) <= len(video)


def test_libavformat_plays_a_master_with_sound_apart_through_a_new_head(tmp_path: Path) -> None:
    parts = []
    for number, (begin, level) in enumerate([(0, "3.0"), (2, "3.1")]):
        source = [
            "-f",
            "lavfi",
            "-i",
            "testsrc2=size=160x90:rate=25:duration=2",
            "-output_ts_offset",
            str(begin),
        ]
        into = tmp_path / f"v-{number}.mp4"
        run(
            *source,
            *H264,
            "-level",
            level,
            "-avoid_negative_ts",
            "disabled",
            "-movflags",
            FRAGMENTED,
            str(into),
        )
        data = into.read_bytes()
        layout = fragments.read(io.BytesIO(data), end_seconds=begin + 2)
        digest = fragments.init_digest(data[: layout.init_size])
        parts.append(playlists.part(into.name, layout, init_digest=digest))
    tone = ["-f", "lavfi", "-i", "sine=frequency=440:sample_rate=48000:duration=4"]
    flags = ["-movflags", "+empty_moov+delay_moov+default_base_moof", "-frag_duration", "2000000"]
    run(*tone, "-c:a", "aac", *flags, str(tmp_path / "a.mp4"))
    with (tmp_path / "a.mp4").open("rb") as file:
        sound = playlists.part("a.mp4", fragments.read(file), init_digest=DIGEST)
    video = playlists.VideoRendition("v.m3u8", "avc1.64001f", tuple(parts), 160, 90, Fraction(25))
    audio = playlists.AudioRendition("a.m3u8", "mp4a.40.2", (sound,), 1)
    for one in (video, audio):
        text = playlists.media(one.parts, target_duration=3, is_final=True)
        (tmp_path / one.uri).write_text(text)
    (tmp_path / "master.m3u8").write_text(playlists.master([video], audio, target_duration=3))

    assert parts[0].init_digest != parts[1].init_digest
    with av.open(str(tmp_path / "master.m3u8")) as container:
        times = [frame.time for frame in container.decode(video=0)]
    assert times == pytest.approx([times[0] + number / 25 for number in range(100)], abs=1e-3)
    with av.open(str(tmp_path / "master.m3u8")) as container:
        samples = sum(frame.samples for frame in container.decode(audio=0))
    assert samples / 48_000 == pytest.approx(4, abs=0.05)


@pytest.mark.parametrize(
    ("last", "end", "kept"),
    [
        ((2.0, 0.0107), 4.0, [1, 1]),  # its own part's second segment begins when the picture is over
        ((2.0, 0.4), 4.0, [1, 2]),  # nearly half a second of sound is heard
        ((2.0, 0.0107), 4.01, [1, 2]),  # the picture is still there
        ((0.0107,), 2.0, [1]),  # a part of its own goes as a whole
        ((0.0107,), None, [1, 1]),
    ],
)
def test_a_last_sliver_of_sound_after_the_picture_is_not_listed(
    last: tuple[float, ...], end: float | None, kept: list[int]
) -> None:
    first = Part("a.mp4", 700, DIGEST, 0.0, (Segment(700, 10, 2.0),))
    second = Part("b.mp4", 0, DIGEST, 2.0, tuple(Segment(10 * n, 10, one) for n, one in enumerate(last)))

    made = playlists.without_tail([first, second], end)

    assert [len(one.segments) for one in made] == kept
    assert made[0] == first


def test_nothing_is_made_a_part_of_where_there_is_no_fragment() -> None:
    layout = fragments.Layout(700, "mp4a.40.2", (), is_whole=False)

    with pytest.raises(ValueError, match="no fragments"):
        playlists.part("a.mp4", layout, init_digest=DIGEST)


def board(starts: list[float], *, sheets: int = 2, duration: float = 100.0) -> str:
    names = [f"storyboard-{number}.jpg" for number in range(sheets)]
    return playlists.storyboard(
        names, starts, columns=2, rows=2, width=160, height=90, duration_seconds=duration
    )


def test_a_storyboard_tells_which_tile_to_show_when() -> None:
    text = board([0.04, 2.0, 4.5, 3599.9996, 3700.0], duration=3720.25)

    assert text.startswith("WEBVTT\n\n00:00:00.000 --> 00:00:02.000\nstoryboard-0.jpg#xywh=0,0,160,90\n\n")
    cues = list(webvtt.from_string(text))
    assert [(cue.start, cue.end) for cue in cues[2:]] == [
        ("00:00:04.500", "01:00:00.000"),
        ("01:00:00.000", "01:01:40.000"),
        ("01:01:40.000", "01:02:00.250"),
    ]
    assert [cue.text for cue in cues[1:]] == [
        "storyboard-0.jpg#xywh=160,0,160,90",
        "storyboard-0.jpg#xywh=0,90,160,90",
        "storyboard-0.jpg#xywh=160,90,160,90",
        "storyboard-1.jpg#xywh=0,0,160,90",
    ]


@given(steps=st.lists(st.floats(0, 5), min_size=1, max_size=8))
def test_the_cues_of_a_storyboard_follow_each_other_without_a_gap(steps: list[float]) -> None:
    starts = [sum(steps[:index]) for index in range(len(steps))]
    cues = list(webvtt.from_string(board(starts, duration=sum(steps) + 1)))

    assert cues[0].start == "00:00:00.000"
    assert [cue.end for cue in cues[:-1]] == [cue.start for cue in cues[1:]]
    assert all(cue.start < cue.end for cue in cues)


def test_a_storyboard_that_makes_no_sense_is_refused() -> None:
    with pytest.raises(ValueError, match="9 tiles do not fit on 2 sheets of 4"):
        board([float(second) for second in range(9)])
    with pytest.raises(ValueError, match="not in order"):
        board([0.0, 4.0, 2.0])
