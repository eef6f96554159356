"""Ten thousand segments, with encoders that leave half files and uploads that arrive damaged: none is ever listed.

Heavy: minutes. .ci/run names this folder; `make test` leaves it out.
"""

import random
import re
import stat
import struct
import subprocess
import sys
import threading
import urllib.parse
from collections.abc import Iterable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from house import BUCKET, FFMPEG, House

from watcher import localb2, retry
from watcher.localb2 import operations, store

# One frame a second, and a segment of two seconds in each of five rungs: many segments for little work.
RUNGS = (360, 288, 216, 180, 144)
SECONDS = 4020
SHARE = 0.1  # of the uploads that are damaged; hundreds come
ENCODER_SHARE = 0.25  # of the encoder's runs; some ninety come

# Stands for a disk or an encoder that loses what was written, and says that all went well.
ENCODER = """\
#!PYTHON -IS
import pathlib, random, subprocess, sys
code = subprocess.call([FFMPEG, *sys.argv[1:]])
made = [path for path in map(pathlib.Path, sys.argv) if path.suffix == ".mp4" and path.is_file()]
if code == 0 and made and random.random() < SHARE:
    path = random.choice(made)
    data = path.read_bytes()
    start = random.randrange(len(data))
    # The end is missing, or a block in the middle.
    end = len(data) if random.random() < 0.5 else min(len(data), start + 4096)
    path.write_bytes(data[:start] + data[end:])
    with open(TOLD, "a") as told:
        told.write("damaged\\n")
sys.exit(code)
"""


class Damage:
    """What happens to uploads on their way, and what the playlists that arrive say."""

    def __init__(self) -> None:
        self.chance = random.Random(1)
        self.corrupted = 0
        self.broken_off = 0
        self.checked: set[tuple[str, int, int]] = (
            set()
        )  # object, offset and size of every segment that was listed
        self.wrong: list[str] = []
        self.lock = threading.Lock()

    def spoil(self, blocks: Iterable[bytes]) -> Iterator[bytes]:
        """Change a bit of a body, or end it in the middle; most arrive as they were sent."""
        with self.lock:
            fate = self.chance.random() if threading.current_thread().name == "localb2" else 1.0
        for number, block in enumerate(blocks):
            if number == 0 and fate < SHARE / 2:
                self.corrupted += 1
                yield bytes([block[0] ^ 1]) + block[1:]
            elif number == 0 and fate < SHARE:
                self.broken_off += 1
                yield block[: len(block) // 2]
                raise ConnectionResetError("broken off, as the trial wants it")
            else:
                yield block

    def read(self, files: store.Store, playlist: store.File) -> None:
        """Check every segment that a playlist names, as a player could fetch it at this moment."""
        text = b"".join(files.read(playlist.file_id, 0, playlist.size)).decode()
        folder = playlist.name.rpartition("/")[0]
        pattern = r"#EXT-X-BYTERANGE:(\d+)@(\d+)\n(\S+)"
        for size, offset, uri in re.findall(pattern, text):
            name = f"{folder}/{urllib.parse.unquote(uri)}"
            segment = name, int(offset), int(size)
            with self.lock:
                if segment in self.checked:
                    continue
                self.checked.add(segment)
            file = files.current(playlist.bucket_id, name)
            start, end = int(offset), int(offset) + int(size)
            if file is None or file.size < end:
                self.wrong.append(f"{name} has no bytes {start} to {end}")
            elif not is_whole(b"".join(files.read(file.file_id, start, end))):
                self.wrong.append(f"{name} from {start} to {end} is no whole fragment")


def is_whole(data: bytes) -> bool:
    """Whether bytes are one fragment: a moof box and an mdat box, to the last byte."""
    kinds, place = [], 0
    while place + 8 <= len(data):
        size, kind = struct.unpack_from(">I4s", data, place)
        if size < 8:
            return False
        kinds.append(kind)
        place += size
    return place == len(data) and kinds in ([b"moof", b"mdat"], [b"styp", b"moof", b"mdat"])


@pytest.mark.timeout(1500)
def test_no_playlist_ever_names_a_corrupt_segment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    damage = Damage()
    receive, upload = store.Store.receive, operations.Operations.upload

    def receive_spoilt(self: store.Store, blocks: Iterable[bytes], *rest: Any) -> store.Part:
        return receive(self, damage.spoil(blocks), *rest)

    def upload_and_read(self: operations.Operations, *arguments: Any, **named: Any) -> Any:
        answer = upload(self, *arguments, **named)
        if answer["fileName"].endswith(".m3u8"):
            damage.read(self.files, self.files.file(answer["fileId"]))
        return answer

    monkeypatch.setattr(store.Store, "receive", receive_spoilt)
    monkeypatch.setattr(operations.Operations, "upload", upload_and_read)
    monkeypatch.setattr(retry, "FIRST", timedelta(seconds=0.1))
    told = tmp_path / "told"
    encoder = tmp_path / "ffmpeg"
    facts = {
        "PYTHON": sys.executable,
        "FFMPEG": repr(FFMPEG),
        "SHARE": repr(ENCODER_SHARE),
        "TOLD": repr(str(told)),
    }
    encoder.write_text(re.sub("|".join(facts), lambda match: facts[match[0]], ENCODER))
    encoder.chmod(encoder.stat().st_mode | stat.S_IXUSR)
    source = tmp_path / "film.mov"
    picture = f"testsrc2=size=640x360:rate=1:duration={SECONDS}"
    subprocess.run(
        [
            *(FFMPEG, "-nostdin", "-loglevel", "error", "-f", "lavfi", "-i", picture),
            *("-c:v", "mpeg4", "-q:v", "20", "-g", "2", str(source)),
        ],
        check=True,
    )
    settings = {"LADDER": ",".join(map(str, RUNGS)), "QUALITY": "fast", "MAX_ATTEMPTS": "100"}
    with localb2.serve(tmp_path / "b2", buckets=[BUCKET]) as b2:
        house = House(tmp_path, b2, FFMPEG=str(encoder), CONFINE="no", **settings)
        house.upload(source)
        house.run_until_idle()

        assert house.rows()["film.mov"]["status"] == "completed"
        assert damage.wrong == []
        assert len(damage.checked) >= 10_000
        damaged = len(told.read_text().splitlines()) if told.exists() else 0
        print(f"{len(damage.checked)} segments; {damaged} half files, {damage.corrupted} corrupted uploads,")
        print(f"{damage.broken_off} broken off")
        assert min(damaged, damage.corrupted, damage.broken_off) >= 5
        assert house.broken() == []
