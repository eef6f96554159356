"""From the bucket to a film that plays: the real daemon, the local B2 over HTTP, real ffmpeg, real SQLite."""

import signal
from collections.abc import Callable
from pathlib import Path

import av
import iscc_samples
import pytest
from house import House, clip, processes, wait_for

from watcher import localb2

# What the samples cannot give, and why: FFmpeg's own Theora decoder refuses three frames in four of this clip.
UNDECODABLE = {"demo.ogg": "source_damaged", "demo.ogv": "source_damaged"}


@pytest.fixture
def house(tmp_path: Path, b2: localb2.LocalB2) -> House:
    return House(tmp_path, b2)


def packet_times(path: Path) -> tuple[float, float, int]:
    """Return length in seconds from the packets alone, the length of one frame, and the number of pictures."""
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        spans = [
            (float(p.pts * p.time_base), float((p.duration or 0) * p.time_base))
            for p in container.demux(stream)
            if p.pts is not None
        ]
    frame = sorted(length for _, length in spans)[len(spans) // 2]
    starts = [start for start, _ in spans]
    return max(starts) - min(starts) + frame, frame, len(spans)


def picture_seconds(path: Path) -> tuple[float, float]:
    """Return how long the picture of a source lasts, and how long one frame does, by decoding all of it."""
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        rate = stream.average_rate or stream.guessed_rate
        times = []
        for packet in container.demux(stream):
            try:
                times += [frame.time for frame in packet.decode()]
            except av.error.FFmpegError:
                continue
    known = [time for time in times if time is not None]
    frame = 1 / float(rate)
    if len(known) < len(times):
        return len(times) * frame, frame
    return max(known) - min(known) + frame, frame


def test_every_usual_format_comes_out_whole_or_is_refused_with_a_reason(
    house: House, record_property: Callable[[str, object], None]
) -> None:
    samples = iscc_samples.videos()
    assert len(samples) == 21
    for sample in samples:
        house.upload(sample)

    house.run_until_idle()

    rows = house.rows()
    lines, wrong = [], []
    for sample in samples:
        row = rows[sample.name]
        line = f"{sample.name:10} {row['status']:10}"
        if row["status"] == "completed":
            expected, frame = picture_seconds(sample)
            made, _, frames = packet_times(
                house.download(row["mp4"], house.folder / f"{sample.name}.out.mp4")
            )
            difference = abs(made - expected)
            line += f" source {expected:7.3f} s, output {made:7.3f} s, {frames:4} frames"
            if difference > max(0.1, frame) or sample.name in UNDECODABLE:
                wrong.append(line)
        else:
            line += f" {row['error_code'] or row['reason']}: {row['error'] or ''}"[:110]
            if row["error_code"] != UNDECODABLE.get(sample.name, "none expected"):
                wrong.append(line)
        lines.append(line)
    record_property("table", "\n".join(lines))
    assert not wrong


def test_an_mp4_source_is_never_overwritten_and_nothing_of_ours_is_discovered(house: House) -> None:
    names = ["clip.mp4", "video.mp4", "transcoded.mp4", "dir/transcoded/clip.mp4"]
    source = clip(house.folder / "clip.mp4")
    ids = {name: house.upload(source, name) for name in names}

    house.run_until_idle()
    house.run_until_idle()

    objects = house.objects()
    assert {name: objects[name] for name in names} == {name: [file_id] for name, file_id in ids.items()}
    assert set(house.rows()) == set(names)
    assert house.unaccounted() == set()
    for name in names:
        for output in ("video.mp4", "poster.jpg", "master.m3u8"):
            assert len(objects[f"transcoded/{name}/{output}"]) == 1
        for output in ("180p-", "audio-"):
            [playlist] = [one for one in objects if one.startswith(f"transcoded/{name}/{output}")]
            assert len(objects[playlist]) == 1


def test_a_second_poll_of_an_unchanged_bucket_writes_nothing(house: House) -> None:
    house.upload(clip(house.folder / "clip.mov"))
    house.run_until_idle()
    before, objects = house.dump(), house.objects()
    assert before["videos"]

    assert house.cli("scan").returncode == 0
    house.run_until_idle()

    assert house.dump() == before
    assert house.objects() == objects


def test_a_source_that_plays_is_copied_packet_for_packet(house: House) -> None:
    encoding = ("-c:v", "libx264", "-b:v", "300k", "-pix_fmt", "yuv420p", "-c:a", "aac")
    source = clip(house.folder / "clip.mov", *encoding, seconds=5)
    house.upload(source)

    house.run_until_idle()

    made = house.download("transcoded/clip.mov/video.mp4", house.folder / "out.mp4")
    contents = []
    for path in (source, made):
        with av.open(str(path)) as container:
            streams = (container.streams.video[0], container.streams.audio[0])
            contents.append(
                {
                    s.type: [bytes(p) for p in container.demux(s) if p.size]
                    for s in streams
                    if not container.seek(0)
                }
            )
    assert contents[0] == contents[1]


def test_a_copied_top_and_its_encoded_lower_rungs_are_in_step(tmp_path: Path, b2: localb2.LocalB2) -> None:
    house = House(tmp_path, b2, LADDER="1080,720,480,360")
    encoding = ("-c:v", "libx264", "-preset", "ultrafast", "-b:v", "2M", "-g", "50", "-pix_fmt", "yuv420p")
    source = clip(tmp_path / "film.mp4", *encoding, "-c:a", "aac", seconds=14, size="1280x720", rate="25")
    house.upload(source)

    house.run_until_idle()

    assert house.rows()["film.mp4"]["status"] == "completed"
    assert {step for step, _ in house.events()} >= {"copy", "video", "video:1"}
    for rung in (720, 480, 360):
        assert any(name.startswith(f"transcoded/film.mp4/{rung}p-") for name in house.objects())
    assert house.unaccounted() == set()


def test_a_new_version_of_a_name_is_a_new_video_and_replaces_the_outputs(house: House) -> None:
    house.upload(clip(house.folder / "a.mov", seconds=1), "clip.mov")
    house.run_until_idle()
    house.upload(clip(house.folder / "b.mov", seconds=3), "clip.mov")
    house.run_until_idle()

    objects = house.objects()
    assert len(objects["transcoded/clip.mov/video.mp4"]) == 1
    made = house.download("transcoded/clip.mov/video.mp4", house.folder / "out.mp4")
    assert packet_times(made)[0] == pytest.approx(3, abs=0.1)
    db = house.readings()
    with db.begin() as connection:
        rows = connection.exec_driver_sql("SELECT status, reason, mp4 FROM video_status ORDER BY id").all()
    db.dispose()
    assert [tuple(row) for row in rows] == [
        ("completed", "superseded", None),
        ("completed", None, "transcoded/clip.mov/video.mp4"),
    ]


def test_killed_in_the_middle_of_an_encode_it_goes_on_and_leaves_nothing_behind(house: House) -> None:
    # Long enough for several chunks, the last of which is caught at work: it is encoded more slowly than its sound is.
    encoding = ("-c:v", "mpeg4", "-q:v", "5", "-g", "30", "-c:a", "pcm_s16le")
    house.upload(clip(house.folder / "long.mov", *encoding, seconds=24, size="1280x720"))
    scratch = str(house.folder / "scratch")
    first = house.start("run")
    wait_for(lambda: ("audio", "finished") in _events(house), "the sound to be made")
    wait_for(lambda: ("video:1", "finished") in _events(house), "a chunk to be made")
    wait_for(lambda: len(processes(scratch)) > 0, "the next chunk to be under way")

    first.send_signal(signal.SIGKILL)
    first.wait()
    wait_for(lambda: not processes(scratch), "ffmpeg to die with its parent")
    before = house.events()
    assert ("package", "started") not in before
    second = house.start("run", "--until-idle")
    assert second.wait(timeout=200) == 0

    after = house.events()[len(before) :]
    assert house.rows()["long.mov"]["status"] == "completed"
    finished = {step for step, what in before if what == "finished"} - {"announce"}
    assert {"inspect", "audio", "video", "video:1"} <= finished
    assert not [step for step, what in after if what == "started" and step in finished]
    rescued = [step for step, what in after if what == "rescued"]
    assert 1 <= len(rescued) <= 5  # of two seats, as many that uploaded, and one that overtook
    assert not list((house.folder / "scratch").iterdir())
    assert not processes(scratch)
    assert not list(house.bucket.list_unfinished(""))
    assert house.unaccounted() == set()


def test_killed_at_four_fifths_of_an_encode_one_chunk_at_most_is_made_again(
    tmp_path: Path, b2: localb2.LocalB2
) -> None:
    house = House(tmp_path, b2, SEATS="1")
    encoding = ("-c:v", "mpeg4", "-q:v", "5", "-g", "30", "-c:a", "pcm_s16le")
    house.upload(clip(tmp_path / "long.mov", *encoding, seconds=60, size="480x270"))
    first = house.start("run", LEASE_SECONDS="5")  # a short lease is renewed often, and progress with it
    wait_for(lambda: _progress(house) >= 0.8, "four fifths to be done")

    first.send_signal(signal.SIGKILL)
    first.wait()
    before = house.events()
    assert house.start("run", "--until-idle").wait(timeout=200) == 0

    assert house.rows()["long.mov"]["status"] == "completed"
    chunks = {step for step, what in before if what == "finished" and str(step).startswith("video")}
    assert len(chunks) >= 3  # of four
    again = [step for step, what in house.events()[len(before) :] if what == "started"]
    assert sum(str(step).startswith("video") for step in again) <= 1
    assert not chunks & set(again)


@pytest.mark.parametrize("which", [signal.SIGTERM, signal.SIGHUP])
def test_terminated_it_hands_its_steps_back_and_the_next_one_goes_on(
    house: House, which: signal.Signals
) -> None:
    encoding = ("-c:v", "mpeg4", "-q:v", "5", "-c:a", "pcm_s16le")
    house.upload(clip(house.folder / "long.mov", *encoding, seconds=8, size="1280x720"))
    first = house.start("run")
    wait_for(lambda: ("video", "started") in _events(house), "the encode to begin")

    first.send_signal(which)
    assert first.wait(timeout=60) == 0
    assert not list((house.folder / "scratch").iterdir())
    assert not processes(str(house.folder))
    assert ("video", "handed_back") in house.events()
    assert house.start("run", "--until-idle").wait(timeout=200) == 0

    db = house.readings()
    with db.begin() as connection:
        attempts = connection.exec_driver_sql("SELECT max(attempts) FROM steps").scalar()
    db.dispose()
    assert attempts == 1  # what was handed back does not count
    assert house.rows()["long.mov"]["status"] == "completed"


def test_two_daemons_on_one_database_never_run_a_step_twice_at_a_time(house: House) -> None:
    source = clip(house.folder / "clip.mov", "-c:v", "mpeg4", "-c:a", "aac", seconds=1)
    for number in range(8):
        house.upload(source, f"clip {number}.mov")
    house.cli("db", "upgrade")

    both = [house.start("run", "--until-idle") for _ in range(2)]

    assert [process.wait(timeout=200) for process in both] == [0, 0]
    db = house.readings()
    with db.begin() as connection:
        rows = connection.exec_driver_sql(
            "SELECT video_id, step, what, json_extract(detail, '$.worker') FROM events"
            " WHERE step IS NOT NULL ORDER BY id"
        ).all()
    db.dispose()
    running: dict[tuple[int, str], bool] = {}
    for video_id, step, what, _ in rows:
        assert running.get((video_id, step), False) == (what != "started")
        running[video_id, step] = what == "started"
    assert len({worker for *_, worker in rows if worker}) == 2  # both did work
    assert [row["status"] for row in house.rows().values()] == ["completed"] * 8
    assert sum(what == "started" for _, step, what, _ in rows if step != "announce") == 8 * 6


ODD_NAMES = [
    "with spaces.mov",
    'quote\'s "double".mov',
    "$(touch pwned)`touch pwned`.mov",
    "-i.mov",
    "--version",
    "-",
    "émoji 🎬 видео.mov",
    "../../etc/passwd.mov",
    "a/../b/./c.mov",
    "..",
    "percent %2F %s %d.mov",
    "new+plus&amp;?query#hash.mov",
    "[red]markup[/red].mov",
    "/".join(["n" * 249] * 4),  # 999 bytes
    "é" * 124 + "/" + "x" * 247 + "/" + "y" * 248 + "/" + "z" * 254,
]


def test_odd_names_round_trip_and_never_reach_a_shell_an_option_or_a_path(house: House) -> None:
    source = clip(house.folder / "clip.mov", seconds=1)
    names = [name for name in ODD_NAMES if all(len(part.encode()) <= 250 for part in name.split("/"))]
    names.append("/".join(["w" * 250] * 3) + "/" + "v" * 247)
    assert max(len(name.encode()) for name in names) == 1000
    for name in names:
        house.upload(source, name)
    before = sorted(path.name for path in house.folder.iterdir())

    house.run_until_idle()

    rows = house.rows()
    objects = house.objects()
    assert {name: rows[name]["status"] for name in names} == dict.fromkeys(names, "completed")
    for name in names:
        assert len(objects[name]) == 1
        assert len(objects[rows[name]["mp4"]]) == 1
        assert ".." not in rows[name]["mp4"].split("/")
    assert len({row["mp4"] for row in rows.values()}) == len(names)
    assert {path.name for path in house.folder.iterdir()} - set(before) <= {
        "watcher.db", "watcher.db-shm", "watcher.db-wal", "scratch",
    }  # fmt: skip
    for name in ("--version", "$(touch pwned)`touch pwned`.mov"):
        shown = house.cli("show", "--", name)
        assert (shown.returncode, "completed" in shown.stdout) == (0, True)
    assert house.cli("status").returncode == 0


def _events(house: House) -> list[tuple[str | None, str]]:
    """Return the first video's story, empty while there is no table yet."""
    return house.events() if _has_table(house) else []


def _progress(house: House) -> float:
    return max((row["progress"] for row in house.rows().values()), default=0.0) if _has_table(house) else 0.0


def _has_table(house: House) -> bool:
    if not (house.folder / "watcher.db").exists():
        return False
    db = house.readings()
    try:
        with db.begin() as connection:
            return bool(
                connection.exec_driver_sql("SELECT 1 FROM sqlite_master WHERE name = 'video_status'").scalar()
            )
    finally:
        db.dispose()
