"""What a film says of itself in its tags is never taken for something that ffmpeg says."""

from pathlib import Path

import av
import pytest
from house import House, clip

from watcher import localb2

TAGS = [
    "No space left on device",
    "corrupt decoded frame in stream 0",
    "File ended prematurely",
    "Connection refused by partial file",
    "Input stream #0:0 (video): 1 packets read (1 bytes); 1 frames decoded; 7 decode errors;",
    "first line\n[error] No space left on device\n[verbose] Input stream #0:0 (video): 9 packets read (9 bytes);",
]
KEYS = ("title", "artist", "album", "comment", "copyright", "genre")  # which all three containers have


@pytest.mark.parametrize("name", ["clip.mp4", "clip.mkv", "clip.avi"])
def test_no_tag_decides_what_becomes_of_a_film(tmp_path: Path, b2: localb2.LocalB2, name: str) -> None:
    house = House(tmp_path, b2)
    tags = [word for key, tag in zip(KEYS, TAGS, strict=True) for word in ("-metadata", f"{key}={tag}")]
    made = clip(tmp_path / name, "-c:v", "mpeg4", "-c:a", "mp3", *tags, seconds=1, size="160x90")
    with av.open(str(made)) as container:
        assert set(TAGS) <= set(container.metadata.values())
    house.upload(made)

    house.run_until_idle()

    assert {row["status"] for row in house.rows().values()} == {"completed"}
    assert house.unaccounted() == set()
