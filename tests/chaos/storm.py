"""`make chaos SEED=n MINUTES=m [KILLS=k]`: daemons that are killed, and a B2 that fails, over a stream of uploads.

Two daemons at a time work on one bucket; each dies, drains or freezes at a moment that the seed chooses, and another
takes its place. When the time is up all faults stop, one daemon ends the work, and every invariant has to hold.
The last lines say how many kills there were, what was lost, what was done twice, and how much was done again.
"""

import argparse
import collections
import contextlib
import os
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

from house import BUCKET, House, clip, processes

from watcher import localb2, stats
from watcher.localb2 import operations

SLOTS = 2
LEASE_SECONDS = 2.0
# The share of the uploads that are deleted again, and when at the latest: most are worked on by then.
DELETED, DELETED_SECONDS = 0.2, 10.0
WAITING = 3  # videos that are not over, at most: more would not be worked on before the end
DOOMED = Path(__file__).with_name("doomed.py")

# What a process meets, and how often.
FATES = {"SIGKILL": 8, "SIGTERM": 1, "SIGSTOP": 1}
OPERATIONS = (
    *("b2_list_file_names", "b2_list_file_versions", "b2_list_unfinished_large_files", "b2_get_upload_url"),
    *("b2_upload_file", "b2_start_large_file", "b2_get_upload_part_url", "b2_upload_part"),
    *("b2_finish_large_file", "b2_download_file_by_id", "b2_delete_file_version", "b2_cancel_large_file"),
)
FAULTS: dict[str, dict[str, object]] = {
    "500": {"status": 500},
    "503": {"status": 503},
    "429": {"status": 429, "headers": {"Retry-After": "1"}},
    "408": {"status": 408},
    "html": {"status": 200, "body": b"<html>sign in</html>"},
    "no answer": {"cut_after": 0},  # but the call took effect
    "half an answer": {"cut_after": 40},
}


@dataclass
class Tally:
    """What happened; shared by the threads."""

    ends: collections.Counter[str] = field(default_factory=collections.Counter)
    faults: int = 0
    uploads: dict[str, str] = field(default_factory=dict)  # name by file id
    is_over: threading.Event = field(default_factory=threading.Event)


def slot(house: House, tally: Tally, chance: random.Random) -> None:
    """Start one daemon after another, each with a fate of its own."""
    while not tally.is_over.is_set():
        name = chance.choices(list(FATES), list(FATES.values()))[0]
        # Some forty points make up a video. Half of the fates come at a point, half somewhere behind it.
        fate = [str(chance.randint(1, 25)), name]
        fate += [f"{chance.uniform(0.0, 0.5):.3f}"] if chance.random() < 0.5 else []
        frozen_seconds, wakes = chance.uniform(0.2, 2.5 * LEASE_SECONDS), chance.random() < 0.7
        more_seconds = chance.choice((0.0, chance.uniform(0.0, 3.0)))
        process = house.run_program(DOOMED, str(LEASE_SECONDS), *fate)
        while process.poll() is None and not tally.is_over.wait(0.02):
            if name == "SIGSTOP" and state(process) == "T":
                tally.is_over.wait(frozen_seconds)
                tally.ends[name] += 1
                name = "SIGKILL"
                if wakes:
                    process.send_signal(signal.SIGCONT)
                    tally.is_over.wait(more_seconds)
                process.send_signal(signal.SIGKILL)
        if process.poll() is None:
            process.send_signal(signal.SIGCONT)
            process.send_signal(signal.SIGTERM)
            process.wait()
        elif process.returncode == -signal.SIGKILL:
            tally.ends["SIGKILL"] += 1
        elif name == "SIGTERM":
            tally.ends[name] += 1


def trouble(b2: localb2.LocalB2, tally: Tally, chance: random.Random) -> None:
    """Let B2 fail now and then."""
    while not tally.is_over.wait(chance.uniform(0.1, 1.0)):
        if chance.random() < 0.05:
            b2.expire_tokens()
        else:
            kind = FAULTS[chance.choice(list(FAULTS))]
            fault = localb2.Fault(chance.choice(OPERATIONS), times=chance.choice((1, 1, 1, 2, 4)), **kind)  # type: ignore[arg-type]
            b2.faults.append(fault)
        tally.faults += 1


def stream(house: House, films: list[Path], tally: Tally, chance: random.Random) -> None:
    """Upload one film after another, some under the name of an earlier one; delete some while they are worked on."""
    number = 0
    doomed: dict[str, float] = {}  # when a source is to be deleted, on the monotonic clock
    while not tally.is_over.wait(0.2):
        for file_id in [file_id for file_id, at in doomed.items() if at < time.monotonic()]:
            with contextlib.suppress(Exception):  # a fault meant for the daemons: judged by what is there
                house.bucket.delete(file_id, tally.uploads[file_id])
            del doomed[file_id]
        if unfinished(house) >= WAITING:
            continue
        number += 1
        again = number > 3 and chance.random() < 0.1
        name = f"{chance.randint(1, number - 1) if again else number:04d}.mov"
        with contextlib.suppress(Exception):  # a fault that was meant for the daemons: no upload
            file_id = house.upload(chance.choice(films), name)
            tally.uploads[file_id] = name
            if chance.random() < DELETED:
                doomed[file_id] = time.monotonic() + chance.uniform(0, DELETED_SECONDS)


def unfinished(house: House) -> int:
    db = house.readings()
    try:
        return stats.count_unfinished(db)
    finally:
        db.dispose()


def state(process: "subprocess.Popen[str]") -> str:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()[0]
    return "X"


def judge(house: House, tally: Tally) -> tuple[list[str], dict[str, str]]:
    """Return what is wrong, and the report, by heading."""
    wrong = [f"{one.invariant}: {one.what} (video {one.video_id})" for one in house.broken()]
    twice = sum(line.startswith("twice") for line in wrong)
    db = house.readings()
    try:
        stories = list(stats.stories(db))
    finally:
        db.dispose()
    ended = {story.video.file_id: story.video for story in stories}
    there = house.objects()
    current = {ids[0] for ids in there.values()}
    left = {file_id for ids in there.values() for file_id in ids}
    lost = 0
    ends: collections.Counter[str] = collections.Counter()
    for file_id, name in tally.uploads.items():
        video = ended.get(file_id)
        if video is None and file_id not in current:
            continue  # another upload took its name, or it was deleted, before anybody could see it
        end = f"{video.status}{f': {video.reason}' if video.reason else ''}" if video else "unknown"
        ends[end] += 1
        allowed = ["completed", "completed: superseded", "cancelled: superseded"]
        if file_id not in left:
            allowed.append("cancelled: source_deleted")
        if end not in allowed:
            lost += 1
            wrong.append(f"lost: {name} ({file_id}) is {end} {video and video.error}")
    by_worker = done_again(stories)
    again, most = sum(by_worker.values()), max(by_worker.values(), default=0)
    kills = tally.ends["SIGKILL"]
    if processes_left := processes(str(house.folder)):
        wrong.append(f"leftover: processes {processes_left}")
    return wrong, {
        "kills": f"{kills}, and {tally.ends['SIGSTOP']} freezes, {tally.ends['SIGTERM']} drains",
        "B2 faults": str(tally.faults),
        "uploads": f"{len(tally.uploads)}, of which {len(tally.uploads.keys() - left)} were deleted",
        "they ended": ", ".join(f"{count} {end}" for end, count in sorted(ends.items())),
        "lost": str(lost),
        "twice": str(twice),
        "done again": f"{again / max(kills, 1):.2f} chunks per kill (mean), {most} at most",
        "broken": f"{len(wrong)} invariants",
    }


def done_again(stories: list[stats.Story]) -> collections.Counter[str]:
    """Return how many chunks each worker that died had under way, which were begun again."""
    by_worker: collections.Counter[str] = collections.Counter()
    for story in stories:
        worker: dict[str, str] = {}
        for event in story.events:
            if event.step is None or event.step.partition(":")[0] not in ("video", "copy"):
                continue
            if event.what == "started":
                worker[event.step] = event.detail["worker"]
            elif event.what == "rescued":
                by_worker[worker[event.step]] += 1
    return by_worker


def main() -> int:
    """Run the storm; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--minutes", type=float, default=1.0)
    parser.add_argument("--kills", type=int, help="be content with so many before the time is up")
    options = parser.parse_args()
    operations.SMALLEST_PART_BYTES = 1
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="watcher-chaos-") as name:
        folder = Path(name)
        films = [
            clip(folder / "short.mov", "-c:v", "mpeg4", "-c:a", "aac", seconds=1, size="160x90"),
            clip(folder / "long.mov", "-c:v", "mpeg4", "-g", "30", "-c:a", "pcm_s16le", seconds=14, size="160x90"),
            clip(folder / "copied.mov", seconds=6, size="160x90"),
        ]  # fmt: skip
        with localb2.serve(folder / "b2", buckets=[BUCKET], part_bytes=30_000) as b2:
            house = House(folder, b2, POLL_SECONDS="0.3", QUALITY="fast", LADDER="144", MAX_ATTEMPTS="100")
            house.cli("db", "upgrade")
            tally = Tally()
            parts: list[tuple[str, Callable[[random.Random], None]]] = [
                ("uploads", lambda chance: stream(house, films, tally, chance)),
                ("faults", lambda chance: trouble(b2, tally, chance)),
                *((f"slot {n}", lambda chance: slot(house, tally, chance)) for n in range(SLOTS)),
            ]
            threads = [
                threading.Thread(target=run, args=(random.Random(f"{options.seed} {what}"),), name=what)
                for what, run in parts
            ]
            for thread in threads:
                thread.start()
            while time.monotonic() - began < options.minutes * 60 and (
                options.kills is None or tally.ends["SIGKILL"] < options.kills
            ):
                time.sleep(0.5)
            tally.is_over.set()
            for thread in threads:
                thread.join()
            b2.faults.clear()
            code = house.run_program(DOOMED, str(LEASE_SECONDS)).wait()
            wrong, report = judge(house, tally)
        if code != 0:
            wrong.append(f"the last daemon ended with exit code {code}")
        if wrong:
            print(*wrong, sep="\n")
            log = Path(tempfile.gettempdir(), f"watcher-chaos-{os.getpid()}.log")
            log.write_text((folder / "log.txt").read_text())
            print(f"the daemons' log: {log}")
        minutes = (time.monotonic() - began) / 60
        print(f"seed {options.seed}, {minutes:.1f} minutes")
        for heading, text in report.items():
            print(f"  {heading:<10}  {text}")
    return bool(wrong)


if __name__ == "__main__":
    sys.exit(main())
