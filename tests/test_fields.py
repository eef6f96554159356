"""Whether pictures show two moments in every other line, found out where nothing says so."""

import dataclasses
from pathlib import Path

import pytest
from clips import PROFILE, inspect_file, run

from watcher import plan

COMBED = "testsrc2=size=720x576:rate=50:duration=2,interlace=lowpass=0,setfield=prog"
# It begins with a dark title, which lasts for longer than is looked at.
LATE = (
    "color=black:size=720x576:rate=50:duration=5,format=yuv420p[a];"
    "testsrc2=size=720x576:rate=50:duration=3,format=yuv420p[b];[a][b]concat,interlace=lowpass=0,setfield=prog"
)


@pytest.mark.parametrize(
    ("graph", "encoding"),
    [
        (COMBED, ("libx264", "-qp", "30")),
        (COMBED, ("libx265", "-x265-params", "log-level=none")),
        (COMBED.replace("lowpass=0", "lowpass=0:scan=bff"), ("libx264",)),
        (LATE, ("libx264", "-g", "25")),
    ],
    ids=["h264", "hevc", "bottom field first", "after a dark title"],
)
def test_a_combed_film_that_says_it_is_progressive_is_found_out(
    tmp_path: Path, graph: str, encoding: tuple[str, ...]
) -> None:
    path = _film(tmp_path / "combed.mp4", graph, "-c:v", *encoding)

    found = inspect_file(path, tmp_path)

    assert found.video is not None
    assert found.video.interlaced
    assert found.video.bottom_first == ("bff" in graph)


def test_a_combed_film_that_plays_everywhere_is_not_copied(tmp_path: Path) -> None:
    path = _film(tmp_path / "combed.mp4", COMBED, "-c:v", "libx264", "-b:v", "2M")
    found = inspect_file(path, tmp_path)
    assert found.video is not None
    whole = dataclasses.replace(found, video=dataclasses.replace(found.video, interlaced=False))

    assert plan.make(found, PROFILE).video.mode == "encode"
    assert plan.make(whole, PROFILE).video.mode == "copy"


@pytest.mark.parametrize(
    "graph",
    [
        "testsrc2=size=720x576:rate=25:duration=4",
        "testsrc2=size=720x480:rate=30000/1001:duration=4,noise=alls=40:allf=t,rotate=t",
        "testsrc2=size=720x1152:rate=25:duration=4,crop=720:576:0:5*n",
        "testsrc2=size=720x576:rate=25:duration=4,eq=eval=frame:brightness='if(mod(n\\,2)\\,0.4\\,-0.4)'",
        "nullsrc=size=720x576:rate=25:duration=4,format=yuv420p,noise=alls=60:allf=t",
    ],
    ids=["sharp", "noisy and turning", "panning down", "flashing", "snow"],
)
def test_a_progressive_film_is_not_taken_for_a_combed_one(tmp_path: Path, graph: str) -> None:
    path = _film(tmp_path / "whole.mp4", graph, "-c:v", "libx264")

    video = inspect_file(path, tmp_path).video

    assert video is not None
    assert not video.interlaced


def _film(path: Path, graph: str, *encoding: str) -> Path:
    run("-f", "lavfi", "-i", graph, *encoding, "-preset", "ultrafast", "-pix_fmt", "yuv420p", str(path))
    return path
