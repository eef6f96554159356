"""A validator: reads every playlist back over HTTP, and every byte that they name, as players do."""

import io
import math
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urljoin

import av
import cdn
import m3u8
import pytest
import urllib3
from house import BUCKET, FFMPEG, House, clip

from watcher import localb2

B_FRAMES = ("-c:v", "libx264", "-preset", "veryfast", "-pix_fmt", "yuv420p", "-bf", "3")
UNEVEN = ("-vf", "select='lt(n,400)+not(mod(n,10))'", "-fps_mode", "vfr")
SOURCES: dict[str, tuple[tuple[str, ...], str]] = {
    "encoded.mov": (("-c:v", "mpeg4", "-q:v", "5", "-g", "60", "-c:a", "pcm_s16le"), "30000/1001"),
    "copied.mp4": ((*B_FRAMES, "-g", "60", "-c:a", "aac"), "25"),
    "keyframes at odd times.mkv": (
        (*B_FRAMES, "-g", "300", "-force_key_frames", "0,1.5,5,9,10.2,16", "-c:a", "aac"),
        "30",
    ),
    # x264 alone places one each 250 frames at least, which is four seconds here.
    "keyframes far apart.mp4": (
        (*B_FRAMES, "-g", "600", "-force_key_frames", "expr:gte(t,n_forced*6)", "-c:a", "aac"),
        "60",
    ),
    "silent #1, 100 %?é.mp4": (("-c:v", "mpeg4", "-q:v", "5", "-g", "48", "-an"), "24"),
    # As screens are recorded: towards its end pictures stand for longer than the others do on average.
    "uneven, copied.mp4": ((*B_FRAMES, "-g", "30", *UNEVEN, "-c:a", "aac"), "25"),
    "uneven, encoded.mov": (("-c:v", "mpeg4", "-q:v", "5", "-g", "30", *UNEVEN, "-an"), "25"),
    "without an index.ts": (("-c:v", "mpeg2video", "-c:a", "mp2"), "25"),
}
SECONDS = 20
TARGETS = 0.5, 1.5  # RFC 8216, 4.1: the peak is that of runs which take between these times the target


@dataclass(frozen=True)
class Segment:
    """What a segment turned out to hold; times in seconds."""

    listed_start: float
    listed_duration: float
    size: int  # bytes
    start: float  # of what is shown first
    end: float  # of what is shown last, its duration included
    packets: int
    is_key: bool  # the first one can be decoded by itself


@dataclass(frozen=True)
class Rendition:
    """A media playlist, and what it leads to."""

    playlist: m3u8.M3U8
    segments: tuple[Segment, ...]
    codec: str
    width: int  # pixels; 0 for sound
    height: int

    @property
    def starts(self) -> list[float]:
        return [segment.listed_start for segment in self.segments]

    @property
    def seconds(self) -> float:
        return math.fsum(segment.listed_duration for segment in self.segments)

    @property
    def mean(self) -> float:
        """Bits per second."""
        return 8 * sum(segment.size for segment in self.segments) / self.seconds

    @property
    def peak(self) -> float:
        """Bits per second, of the run of segments that needs most."""
        low, high = (share * self.playlist.target_duration for share in TARGETS)
        found = [self.mean]
        for first in range(len(self.segments)):
            for end in range(first + 1, len(self.segments) + 1):
                run = self.segments[first:end]
                seconds = math.fsum(segment.listed_duration for segment in run)
                if low <= seconds <= high:
                    found.append(8 * sum(segment.size for segment in run) / seconds)
        return max(found)


@dataclass(frozen=True)
class Film:
    """All that a viewer can reach."""

    master: m3u8.M3U8
    rungs: tuple[Rendition, ...]  # in the master's order
    sound: Rendition | None
    mp4: Path
    source: Path


@pytest.fixture(scope="module", params=SOURCES)
def film(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Film]:
    """Each of the sources, made by the daemon and read back over HTTP."""
    folder, (encoding, rate) = tmp_path_factory.mktemp("film"), SOURCES[request.param]
    with localb2.serve(folder / "b2") as b2, cdn.serve(b2, BUCKET) as server:
        house = House(folder, b2, LADDER="180,144")
        source = clip(folder / request.param, *encoding, seconds=SECONDS, rate=rate)
        house.upload(source)
        house.run_until_idle()
        row = house.rows()[request.param]
        assert row["status"] == "completed", row["error"]
        master = _playlist(server.url(row["hls"]))
        (folder / "video.mp4").write_bytes(_get(server.url(row["mp4"])))
        yield Film(
            master,
            tuple(_rendition(one.absolute_uri) for one in master.playlists),
            next((_rendition(one.absolute_uri) for one in master.media), None),
            folder / "video.mp4",
            source,
        )


def test_every_playlist_is_final_and_has_the_same_target(film: Film) -> None:
    for one in _all(film):
        assert one.playlist.playlist_type == "vod"
        assert one.playlist.is_endlist
        assert one.playlist.is_independent_segments
        assert one.playlist.media_sequence == 0
        assert one.playlist.target_duration == film.rungs[0].playlist.target_duration
        assert all(round(segment.listed_duration) <= one.playlist.target_duration for segment in one.segments)


def test_the_rungs_have_the_same_segments_and_each_begins_with_a_keyframe(film: Film) -> None:
    assert len(film.rungs) >= 2
    for rung in film.rungs:
        assert rung.starts == pytest.approx(film.rungs[0].starts, abs=0.001)
        assert [one.start for one in rung.segments] == pytest.approx(
            [one.start for one in film.rungs[0].segments], abs=0.001
        )
        assert all(one.is_key for one in rung.segments)


def test_what_is_listed_is_what_the_segments_hold(film: Film) -> None:
    for one in _all(film):
        ends = [segment.start for segment in one.segments[1:]] + [one.segments[-1].end]
        for segment, end in zip(one.segments, ends, strict=True):
            assert segment.start == pytest.approx(segment.listed_start + one.segments[0].start, abs=0.002)
            assert end - segment.start == pytest.approx(segment.listed_duration, abs=0.002)


def test_each_frame_of_the_source_is_there_once_in_every_rung(film: Film) -> None:
    pictures, _, _ = _track(film.source, "video")
    for rung in film.rungs:
        assert sum(segment.packets for segment in rung.segments) == pictures
    assert _track(film.mp4, "video")[0] == pictures


def test_the_playlists_last_as_long_as_the_mp4(film: Film) -> None:
    _, seconds, frame = _track(film.mp4, "video")
    for rung in film.rungs:
        assert rung.seconds == pytest.approx(seconds, abs=frame)
        assert rung.seconds == pytest.approx(SECONDS, abs=2 * frame)
    if film.sound is not None:
        _, seconds, frame = _track(film.mp4, "audio")
        assert film.sound.seconds == pytest.approx(seconds, abs=frame)


def test_the_master_says_what_the_rungs_are(film: Film) -> None:
    rate = _rate(film.mp4)
    for rung, listed in zip(film.rungs, film.master.playlists, strict=True):
        said = listed.stream_info
        codecs = [rung.codec, *([film.sound.codec] if film.sound else [])]
        assert said.codecs.split(",") == codecs
        assert said.resolution == (rung.width, rung.height)
        # Of uneven ones it is a mean, and containers differ in what they take it of.
        assert said.frame_rate == pytest.approx(rate, abs=1 if "uneven" in film.source.name else 0.001)
        assert said.audio == (film.master.media[0].group_id if film.sound else None)


def test_the_master_promises_no_less_than_the_peak_and_not_much_more(film: Film) -> None:
    sound_peak, sound_mean = (film.sound.peak, film.sound.mean) if film.sound else (0, 0)
    for rung, listed in zip(film.rungs, film.master.playlists, strict=True):
        peak, mean = rung.peak + sound_peak, rung.mean + sound_mean
        assert peak <= listed.stream_info.bandwidth <= 1.1 * peak
        assert mean <= listed.stream_info.average_bandwidth <= 1.1 * mean


# Chromium's own player puts the first segments of all playlists at 0, whatever their times: lip sync is lost.


@pytest.mark.parametrize(
    ("source", "late"),
    [
        ("encoded.mov", "picture"),
        ("copied.mp4", "picture"),
        ("copied.mp4", "sound"),
        ("encoded.mov", "sound"),
    ],
)
def test_a_track_that_begins_late_is_there_from_the_start(tmp_path: Path, source: str, late: str) -> None:
    encoding, rate = SOURCES[source]
    whole, delayed = clip(tmp_path / source, *encoding, seconds=6, rate=rate), tmp_path / f"late-{source}"
    apart = (
        ("-itsoffset", "1.5") if late == "picture" else (),
        ("-itsoffset", "1.5") if late == "sound" else (),
    )
    subprocess.run(
        [
            *(FFMPEG, "-nostdin", "-loglevel", "error", *apart[0], "-i", str(whole)),
            *(*apart[1], "-i", str(whole), "-map", "0:v", "-map", "1:a", "-c", "copy", str(delayed)),
        ],
        check=True,
    )
    with localb2.serve(tmp_path / "b2") as b2, cdn.serve(b2, BUCKET) as server:
        house = House(tmp_path, b2, LADDER="180,144")
        house.upload(delayed)
        house.run_until_idle()
        master = _playlist(server.url(house.rows()[delayed.name]["hls"]))
        addresses = [one.absolute_uri for one in (*master.playlists, *master.media)]
        starts = [_rendition(address).segments[0].start for address in addresses]

    assert starts == pytest.approx([0.0] * 3, abs=0.05)


def _all(film: Film) -> Sequence[Rendition]:
    return (*film.rungs, *([film.sound] if film.sound else []))


def _get(url: str, wanted: tuple[int, int] | None = None) -> bytes:
    """Return an object, or its bytes from and to (exclusive) `wanted`."""
    headers = {"Range": f"bytes={wanted[0]}-{wanted[1] - 1}"} if wanted else {}
    answer = urllib3.request("GET", url, headers=headers)
    assert answer.status == (206 if wanted else 200), f"{url} {wanted}: {answer.status}"
    assert wanted is None or len(answer.data) == wanted[1] - wanted[0]
    return answer.data


def _playlist(url: str) -> m3u8.M3U8:
    answer = urllib3.request("GET", url)
    assert answer.status == 200, f"{url}: {answer.status}"
    assert answer.headers["Content-Type"] == "application/vnd.apple.mpegurl"
    return m3u8.loads(answer.data.decode(), uri=url)


def _rendition(url: str) -> Rendition:
    """Follow a media playlist; its ranges must fill their objects from the first byte to the last."""
    playlist = _playlist(url)
    [head_of] = {segment.init_section.uri for segment in playlist.segments}
    size, start = _range(playlist.segments[0].init_section.byterange)
    head = _get(urljoin(url, head_of), (start, start + size))
    assert [kind for kind, _ in _boxes(head)] == ["ftyp", "moov"]
    reached: dict[str, int] = {urljoin(url, head_of): size}
    segments, now, facts = [], 0.0, ("", 0, 0)
    for listed in playlist.segments:
        address = listed.absolute_uri
        size, start = _range(listed.byterange)
        if address not in reached:  # a head of its own, or none
            reached[address] = 0 if _get(address, (4, 8)) in (b"moof", b"styp") else _head_size(address)
        assert start == reached[address], f"{address}: a gap, or an overlap, before byte {start}"
        reached[address] = start + size
        segment, facts = _segment(head, _get(address, (start, start + size)), now, listed.duration)
        segments.append(segment)
        now += listed.duration
    for address, end in reached.items():
        # What ffmpeg closes a file with, for readers that seek without a playlist: it is not played.
        assert [kind for kind, _ in _boxes(_get(address)[end:])] in ([], ["mfra"])
    return Rendition(playlist, tuple(segments), *facts)


def _segment(
    head: bytes, data: bytes, listed_start: float, listed_duration: float
) -> tuple[Segment, tuple[str, int, int]]:
    kinds = [kind for kind, _ in _boxes(data)]
    assert kinds == ["moof", "mdat"]
    with av.open(io.BytesIO(head + data)) as container:
        [stream] = container.streams
        packets = [packet for packet in container.demux(stream) if packet.size]
        # PyAV puts off the pictures of a segment that it reads alone by as much as these are out of order.
        shift = packets[0].pts - _first_shown(data)
        times = [
            (float((one.pts - shift) * one.time_base), float(one.duration * one.time_base)) for one in packets
        ]
        codec = stream.codec_context
        if stream.type == "video":
            place = head.index(b"avcC") + 5
            facts = (f"avc1.{head[place : place + 3].hex()}", codec.width, codec.height)
        else:
            facts = ("mp4a.40.2", 0, 0)
            assert (codec.name, codec.profile) == ("aac", "LC")
    last = max(times)
    segment = Segment(
        listed_start,
        listed_duration,
        len(data),
        min(times)[0],
        sum(last),
        len(packets),
        packets[0].is_keyframe,
    )
    return segment, facts


def _first_shown(segment: bytes) -> int:
    """Return when the first sample is shown, in ticks: when it is decoded (tfdt), and what is added (trun)."""
    at = segment.index(b"tfdt") + 4
    decoded = int.from_bytes(segment[at + 4 : at + (12 if segment[at] else 8)], signed=True)
    at = segment.index(b"trun") + 4
    flags = int.from_bytes(segment[at + 1 : at + 4])
    if not flags & 0x800:
        return decoded
    at += 8 + 4 * (flags & 0x005).bit_count() + 4 * (flags & 0x700).bit_count()
    return decoded + int.from_bytes(segment[at : at + 4], signed=True)


def _range(text: str) -> tuple[int, int]:
    size, _, start = text.partition("@")
    return int(size), int(start)


def _head_size(address: str) -> int:
    end = 0
    for kind, size in _boxes(_get(address)):
        if kind == "moof":
            return end
        end += size
    raise AssertionError(f"{address}: no fragment")


def _boxes(data: bytes) -> Iterator[tuple[str, int]]:
    """Yield kind and size of the boxes, which must fill `data`."""
    at = 0
    while at < len(data):
        size = int.from_bytes(data[at : at + 4])
        assert 8 <= size <= len(data) - at, f"a box of {size} bytes where {len(data) - at} are left"
        yield data[at + 4 : at + 8].decode("latin-1"), size
        at += size


def _track(path: Path, kind: str) -> tuple[int, float, float]:
    """Return the number of a track's packets, from when to when they are shown, and how long one is."""
    with av.open(str(path)) as container:
        stream = container.streams.best(kind)
        spans = [
            (float(packet.pts * packet.time_base), float((packet.duration or 0) * packet.time_base))
            for packet in container.demux(stream)
            if packet.size and packet.pts is not None
        ]
    frame = sorted(length for _, length in spans)[len(spans) // 2]
    return len(spans), sum(max(spans)) - min(spans)[0], frame


def _rate(path: Path) -> float:
    with av.open(str(path)) as container:
        rate = container.streams.video[0].average_rate
        assert rate is not None
        return float(rate)
