"""The layout of fragmented MP4, read from what ffmpeg really writes and checked against PyAV."""

import contextlib
import dataclasses
import io
import re
import subprocess
from fractions import Fraction
from pathlib import Path

import av
import pytest
from clips import BINARY, H264, PROFILE, inspect_file, make, run
from hypothesis import given
from hypothesis import strategies as st

from watcher import command, fragments, plan

FRAGMENTED = ("-movflags", command.FRAGMENTED)


def produce(arguments: list[str], folder: Path, name: str) -> bytes:
    """Run one of our commands where its output goes to; return what it made."""
    subprocess.run([str(BINARY), "-nostdin", "-loglevel", "error", "-y", *arguments], cwd=folder, check=True)
    return (folder / name).read_bytes()


def video(source: Path, *, mode: str = "encode") -> bytes:
    media = inspect_file(source, source.parent)
    made = dataclasses.replace(plan.make(media, PROFILE).video, mode=mode)
    return produce(command.video(source, media, made), source.parent, command.VIDEO)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("fragments")


@pytest.fixture(scope="module")
def source(folder: Path) -> Path:
    return make(folder / "source.mp4", *H264, "-g", "30", "-c:a", "aac", seconds=5)


@pytest.fixture(scope="module")
def encoded(source: Path) -> bytes:
    return video(source)


@pytest.fixture(scope="module")
def uneven(folder: Path) -> Path:
    """A source whose frames come at 20 to 140 ms, with B-frames in the output."""
    drop = "select='not(mod(n,7))+lt(mod(n,50),20)'"
    make(folder / "uneven.mkv", "-vf", drop, "-fps_mode", "vfr", *H264, seconds=5, rate=50, sound=False)
    return folder / "uneven.mkv"


@pytest.fixture(scope="module")
def sound(source: Path) -> bytes:
    # Encoded as `command.audio` does, in fragments.
    into = source.parent / "sound.mp4"
    encoding = ["-c:a", "aac", "-b:a", "64k", "-frag_duration", "1000000"]
    flags = ["-movflags", "+empty_moov+delay_moov+default_base_moof"]
    run("-i", str(source), "-map", "0:a", *encoding, *flags, str(into))
    return into.read_bytes()


def read(data: bytes, end_seconds: float | None = None) -> fragments.Layout:
    return fragments.read(io.BytesIO(data), end_seconds=end_seconds)


def shown(data: bytes) -> list[tuple[int, float]]:
    """Return place in the file and time of every packet, as libavformat sees them."""
    with av.open(io.BytesIO(data), options={"use_mfra_for": "0"}) as container:
        packets = [p for p in container.demux(container.streams[0]) if p.size]
        return [(p.pos, float(p.pts * p.time_base)) for p in packets if p.pts is not None]


def check(data: bytes, *, first: float = 0.0) -> fragments.Layout:
    """Compare a layout with libavformat's view; `first` is where the first packet is really shown."""
    layout, packets = read(data), shown(data)
    zero = min(time for _, time in packets) - first
    place = layout.init_size
    for one in layout.fragments:
        assert one.offset == place
        place += one.size
        inside = [time - zero for pos, time in packets if one.offset <= pos < place]
        assert one.start_seconds == pytest.approx(min(inside), abs=1e-6)
        assert one.start_seconds + one.duration_seconds > max(inside)
    assert len(packets) == len([pos for pos, _ in packets if layout.init_size <= pos < place])
    assert layout.is_whole
    return layout


def test_an_encoded_video_has_a_fragment_every_two_seconds(encoded: bytes) -> None:
    layout = check(encoded)

    assert re.fullmatch(r"avc1\.64000[bcd]", layout.codec)
    assert encoded[layout.init_size - 4 :].find(b"moof") == 8
    assert [(one.start_seconds, one.duration_seconds) for one in layout.fragments] == [(0, 2), (2, 2), (4, 1)]


def test_a_copied_video_keeps_the_keyframes_of_its_source(source: Path) -> None:
    layout = check(video(source, mode="copy"))

    assert layout.codec.startswith("avc1.")
    starts = [one.start_seconds for one in layout.fragments]
    assert starts == pytest.approx([index * 1.2 for index in range(5)])
    assert layout.fragments[-1].duration_seconds == pytest.approx(0.2)


def test_keyframes_are_found_where_they_are_shown_when_frames_are_uneven_and_reordered(uneven: Path) -> None:
    layout = check(video(uneven))

    assert [one.start_seconds for one in layout.fragments] == pytest.approx([0, 2, 4])
    assert [one.duration_seconds for one in layout.fragments] == pytest.approx([2, 2, 0.9], abs=0.03)


def test_sound_is_cut_into_fragments_that_lie_end_to_end(sound: bytes) -> None:
    layout = check(sound, first=-1024 / 48_000)

    assert layout.codec == "mp4a.40.2"
    assert len(layout.fragments) == 6
    for one, following in zip(layout.fragments, layout.fragments[1:], strict=False):
        assert one.start_seconds + one.duration_seconds == pytest.approx(following.start_seconds, abs=1e-9)
    last = layout.fragments[-1]
    assert last.start_seconds + last.duration_seconds == pytest.approx(5, abs=0.025)


def test_copied_sound_that_begins_before_zero_says_so(source: Path) -> None:
    # libavformat writes the priming's negative time as an unsigned number.
    into = source.parent / "copied.mp4"
    run("-i", str(source), "-map", "0:a", "-c", "copy", "-frag_duration", "1000000", *FRAGMENTED, str(into))

    assert read(into.read_bytes()).fragments[0].start_seconds == pytest.approx(-1024 / 48_000)


def test_pictures_that_an_edit_list_delays_are_shown_late(folder: Path) -> None:
    into = folder / "late.mp4"
    flags = ["-movflags", "+frag_keyframe+empty_moov+delay_moov+default_base_moof"]
    late = ["-f", "lavfi", "-i", "testsrc2=size=160x90:rate=25:duration=1", "-output_ts_offset", "1.5"]
    run(*late, *H264, *flags, str(into))

    assert read(into.read_bytes()).fragments[0].start_seconds == pytest.approx(1.5)


def test_chunks_on_the_videos_clock_follow_each_other(source: Path) -> None:
    chunks = []
    for begin, end in ((0, 2), (2, 5)):
        into = source.parent / f"chunk-{begin}.mp4"
        cut = f"trim=start={begin}:end={end},setpts=PTS-{begin}/TB"
        keys = ["-force_key_frames", "expr:gte(t,n_forced*2)", "-sc_threshold", "0", "-flags", "+cgop"]
        clock = ["-video_track_timescale", "90000", "-output_ts_offset", str(begin)]
        clock += ["-avoid_negative_ts", "disabled", "-map_metadata", "-1"]
        run("-i", str(source), "-map", "0:v", "-vf", cut, *H264, *keys, *clock, *FRAGMENTED, str(into))
        chunks.append(into.read_bytes())
    first, second = read(chunks[0], end_seconds=2), read(chunks[1], end_seconds=5)

    assert [one.start_seconds for one in (*first.fragments, *second.fragments)] == [0, 2, 4]
    assert [one.duration_seconds for one in (*first.fragments, *second.fragments)] == [2, 2, 1]
    assert fragments.is_same_init(chunks[0][: first.init_size], chunks[1][: second.init_size])


def borders(data: bytes) -> list[int]:
    found, place = [0], 0
    while place < len(data):
        place += int.from_bytes(data[place : place + 4], "big")
        found.append(place)
    return found


@pytest.mark.parametrize("name", ["encoded", "sound"])
def test_a_growing_file_shows_what_is_there_in_full(name: str, request: pytest.FixtureRequest) -> None:
    data: bytes = request.getfixturevalue(name)
    whole = read(data)
    ends = [one.offset + one.size for one in whole.fragments]
    lengths = {border + near for border in borders(data) for near in range(-20, 21)}
    lengths |= set(range(ends[0] if name == "sound" else 2_000))

    for length in sorted(length for length in lengths if 0 <= length <= len(data)):
        layout = read(data[:length])
        count = len([end for end in ends if end <= length])
        assert layout.init_size == (whole.init_size if length >= whole.init_size else 0)
        assert layout.codec == (whole.codec if length >= whole.init_size else "")
        assert len(layout.fragments) == count
        assert layout.fragments[: count - 1] == whole.fragments[: max(0, count - 1)]
        if count:
            assert layout.fragments[-1].duration_seconds == pytest.approx(
                whole.fragments[count - 1].duration_seconds
            )
        assert layout.is_whole == (length in (whole.init_size, *ends, len(data)))


def test_the_media_itself_is_not_read(encoded: bytes) -> None:
    class Counting(io.BytesIO):
        count = 0

        def read(self, size: int | None = -1, /) -> bytes:
            data = super().read(size)
            self.count += len(data)
            return data

    file = Counting(encoded)
    fragments.read(file)

    assert file.count < 4_000
    assert len(encoded) > 30_000


def box(kind: bytes, content: bytes = b"") -> bytes:
    return (8 + len(content)).to_bytes(4, "big") + kind + content


def test_indexes_and_segment_types_belong_to_the_fragment_that_follows(encoded: bytes) -> None:
    whole = read(encoded)
    extra = box(b"styp", b"msdh" + bytes(4)) + box(b"sidx", bytes(24))
    pieces = [encoded[one.offset : one.offset + one.size] for one in whole.fragments]
    layout = read(encoded[: whole.init_size] + b"".join(extra + piece for piece in pieces))

    assert [one.size for one in layout.fragments] == [len(extra) + len(piece) for piece in pieces]
    assert [one.start_seconds for one in layout.fragments] == [0, 2, 4]


def test_sizes_of_64_bits_are_understood(encoded: bytes) -> None:
    first = read(encoded).fragments[0]
    at = encoded.index(b"mdat", first.offset) - 4
    size = int.from_bytes(encoded[at : at + 4], "big")
    wide = encoded[:at] + (1).to_bytes(4, "big") + b"mdat" + (size + 8).to_bytes(8, "big") + encoded[at + 8 :]
    layout = read(wide)

    assert layout.fragments[0] == dataclasses.replace(first, size=first.size + 8)
    assert len(layout.fragments) == 3
    assert read(wide[: at + 12]).fragments == ()


def test_an_end_that_is_known_is_the_last_fragments_end_once_the_file_is_whole(encoded: bytes) -> None:
    assert read(encoded, end_seconds=5.25).fragments[-1].duration_seconds == pytest.approx(1.25)
    assert read(encoded[:-1], end_seconds=5.25).fragments[-1].duration_seconds == pytest.approx(1)
    with pytest.raises(ValueError, match=r"starts at 4.000 s, and is to end at 4.000 s"):
        read(encoded, end_seconds=4.0)


def test_a_file_that_is_none_of_ours_is_refused_with_a_reason(source: Path, folder: Path) -> None:
    both = folder / "both.mp4"
    run("-i", str(source), "-c", "copy", *FRAGMENTED, str(both))
    hevc = make(folder / "hevc.mp4", "-c:v", "libx265", *FRAGMENTED, seconds=0.5, sound=False)
    picture = make(folder / "a.jpg", "-frames:v", "1", seconds=0.1, sound=False)
    refused = {source: "before a header", both: "2 tracks", hevc: "none of ours", picture: "not an MP4"}

    for path, reason in refused.items():
        with pytest.raises(ValueError, match=reason):
            read(path.read_bytes())


def test_an_mp4_with_its_index_first_is_still_not_fragmented(source: Path, folder: Path) -> None:
    run("-i", str(source), "-map", "0:v", "-c", "copy", "-movflags", "+faststart", str(folder / "fast.mp4"))

    with pytest.raises(ValueError, match="no mvex"):
        read((folder / "fast.mp4").read_bytes())


def test_damaged_boxes_are_refused_with_a_reason(encoded: bytes) -> None:
    layout = read(encoded)
    init, first = encoded[: layout.init_size], layout.fragments[0]
    fragment = encoded[first.offset : first.offset + first.size]
    moof, mdat = fragment[: (at := fragment.index(b"mdat") - 4)], fragment[at:]
    count = moof.index(b"trun") + 8
    damaged = {
        "size of the mdat .* is 0": init + moof + bytes(4) + mdat[4:],
        "size of the mdat .* is 7": init + moof + b"\0\0\0\7" + mdat[4:],
        "claims 2147483647 bytes": init + b"\x7f\xff\xff\xff" + moof[4:],
        "b?'.*' at byte": encoded + b"no box at all",
        "no media": init + moof + moof + mdat,
        "belongs to no fragment": init + mdat,
        "second header": init + fragment + init[24:],
        "starts no later": init + fragment + fragment,
        "does not list them": init + moof[:count] + b"\xff\xff\xff\xff" + moof[count + 4 :] + mdat,
        "without samples": init + moof[:count] + bytes(4) + moof[count + 4 :] + mdat,
        "does not begin with a keyframe": init + moof[: count + 8] + b"\0\1\0\0" + moof[count + 12 :] + mdat,
    }

    for reason, data in damaged.items():
        with pytest.raises(ValueError, match=reason):
            read(data)


@given(place=st.floats(0, 1, exclude_max=True), patch=st.binary(min_size=1, max_size=8))
def test_whatever_is_damaged_is_read_or_refused_and_nothing_else(
    encoded: bytes, place: float, patch: bytes
) -> None:
    at = int(place * 2_000)
    data = encoded[:at] + patch + encoded[at + len(patch) :]

    with contextlib.suppress(ValueError):
        layout = read(data)
        assert all(one.duration_seconds > 0 for one in layout.fragments)


def test_heads_are_the_same_when_only_tags_differ_and_not_when_the_picture_does(
    source: Path, encoded: bytes
) -> None:
    head = encoded[: read(encoded).init_size]
    at = head.index(b"udta") - 4
    tagged = head[:-1] + bytes([head[-1] ^ 1])
    smaller = make(source.parent / "smaller.mp4", *H264, *FRAGMENTED, size="160x90", sound=False).read_bytes()

    assert at > 0
    assert tagged != head
    assert fragments.is_same_init(head, tagged)
    assert not fragments.is_same_init(head, smaller[: read(smaller).init_size])
    assert fragments.init_digest(head) != fragments.init_digest(
        head.replace(b"avcC\x01\x64", b"avcC\x01\x4d")
    )


def test_times_are_exact_for_rates_that_are_no_whole_number(folder: Path) -> None:
    source = folder / "ntsc.mp4"
    tone = ["-f", "lavfi", "-i", "testsrc2=size=160x90:rate=30000/1001:duration=5"]
    run(*tone, *H264, str(source))
    layout = check(video(source))

    assert layout.fragments[1].start_seconds == pytest.approx(float(Fraction(60 * 1001, 30_000)), abs=1e-4)
