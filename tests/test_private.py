"""What a film says of its owner stays behind: tags, the place, names of tracks, chapters, timecode, attachments."""

import dataclasses
from pathlib import Path
from typing import Literal

import av
import pytest
from clips import H264, PROFILE, bench, inspect_file, run

from watcher import encode, plan
from watcher.encode import Made

TAGS = """;FFMETADATA1
title=PRIVATE title
artist=PRIVATE artist
location=+48.2000+016.3000/
location-eng=+48.2000+016.3000/
com.apple.quicktime.location.ISO6709=+48.2000+016.3000/
[CHAPTER]
TIMEBASE=1/1000
START=0
END=900
title=PRIVATE chapter
"""
PRIVATE = (b"PRIVATE", b"48.2000", b"tmcd", b"Exif")


@pytest.mark.parametrize("name", ["phone.mp4", "phone.mov", "film.mkv"])
@pytest.mark.parametrize("mode", ["copy", "encode"])
def test_no_output_tells_who_made_it_or_where(
    tmp_path: Path, name: str, mode: Literal["copy", "encode"]
) -> None:
    source = _film(tmp_path, name)
    facts = inspect_file(source, tmp_path)
    planned = plan.make(facts, PROFILE)
    assert planned.audio is not None
    assert PRIVATE[0] in source.read_bytes()
    table = bench(tmp_path)

    video = encode.video(source, facts, dataclasses.replace(planned.video, mode=mode), table)
    audio = encode.audio(source, facts, dataclasses.replace(planned.audio, mode=mode), table)
    film = encode.package([video.path], audio.path, facts, planned.video, table)
    poster = encode.poster(source, facts, planned.stills, table)
    sheets = encode.storyboard(source, facts, planned.storyboard, table)

    for made in (video, audio, film, poster, *sheets):
        assert _told(made) == [], made.path.name
    with av.open(str(film.path)) as container:
        assert [stream.type for stream in container.streams] == ["video", "audio"]
        assert container.chapters() == []
        assert not {"location", "title", "creation_time"} & set(container.metadata)


def _film(folder: Path, name: str) -> Path:
    tags = folder / "tags.txt"
    tags.write_text(TAGS)
    tracks = ("-metadata:s:v", "title=PRIVATE picture", "-metadata:s:v", "handler_name=PRIVATE camera")
    tracks += ("-metadata:s:a", "title=PRIVATE sound", "-timecode", "01:02:03:04")
    own = {".mov": ("-movflags", "use_metadata_tags"), ".mkv": ("-attach", str(tags))}
    extra = own.get(Path(name).suffix, ())
    extra += ("-metadata:s:t", "mimetype=text/plain") if name.endswith("mkv") else ()
    picture = ("-f", "lavfi", "-i", "testsrc2=size=320x180:rate=25:duration=1")
    sound = ("-f", "lavfi", "-i", "sine=sample_rate=48000:duration=1")
    mapped = ("-map", "0", "-map", "1", "-map_metadata", "2", "-map_chapters", "2")
    run(*picture, *sound, "-i", str(tags), *mapped, *H264, "-c:a", "aac", *tracks, *extra, str(folder / name))
    return folder / name


def _told(made: Made) -> list[bytes]:
    data = made.path.read_bytes()
    return [word for word in PRIVATE if word in data]
