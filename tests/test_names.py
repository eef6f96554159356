"""Names of published objects: always acceptable to B2, never shared by two sources."""

import hashlib
import uuid

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from watcher import names

TOKEN = uuid.UUID(int=7).hex
PREFIXES = st.sampled_from(["", "transcoded/", "a b/ü/", "p" * 200 + "/"])
# Short alphabets make the awkward shapes (dots, slashes, tildes, hex) likely.
SOURCES = st.one_of(
    st.text(st.sampled_from("a./~0f😀\\ \x1f\x7f\ud800"), max_size=40),
    st.text(max_size=60),
    st.builds(lambda text, times: text * times, st.text(min_size=1, max_size=9), st.integers(1, 400)),
    st.builds(lambda stem, end: f"{stem}~{end:016x}", st.text(max_size=9), st.integers(0, 2**64 - 1)),
)


def _published(folder: str) -> list[str]:
    longest = names.part(folder, "k" * 16, 999_999, TOKEN)
    return [names.mp4(folder), names.poster(folder), names.part(folder, "video", 0, TOKEN), longest]


@given(PREFIXES, SOURCES)
@example("transcoded/", "é" * 512)
@example("transcoded/", "/".join(["😀" * 62] * 4))
def test_every_published_name_is_one_that_b2_accepts(prefix: str, source: str) -> None:
    for name in _published(names.folder(prefix, source)):
        assert len(name.encode()) <= 1024
        assert not any(ord(character) < 32 or character in "\x7f\\" for character in name)
        for segment in name.split("/"):
            assert segment not in {"", ".", ".."}
            assert len(segment.encode()) <= 250


@given(PREFIXES, SOURCES)
def test_a_folder_lies_below_its_prefix_and_ends_in_one_slash(prefix: str, source: str) -> None:
    folder = names.folder(prefix, source)

    assert folder.startswith(prefix)
    assert folder.endswith("/")
    assert "//" not in folder


@given(SOURCES, SOURCES)
@example("a/b", "a//b")
@example("x" * 1000, "x" * 1001)
@example("..", "_")
def test_two_sources_never_share_a_name(one: str, other: str) -> None:
    if one != other:
        assert not set(_published(names.folder("t/", one))) & set(_published(names.folder("t/", other)))


@pytest.mark.parametrize(
    "source",
    [
        "clip.mov",
        "a/b c/clip.mp4",
        "-rf",
        "$(id).mp4",
        'it\'s "so".mp4',
        "日本/😀.webm",
        "..mp4",
        "a/...",
        "a~b",
    ],
)
def test_an_ordinary_source_name_is_kept_as_it_is(source: str) -> None:
    assert names.folder("transcoded/", source) == f"transcoded/{source}/"


def test_a_source_name_that_looks_escaped_is_escaped_itself() -> None:
    escaped = names.folder("", "..").rstrip("/")

    assert names.folder("", escaped) != names.folder("", "..")


def test_an_escaped_name_ends_in_the_hash_of_the_whole_source_name() -> None:
    source = "long/" + "ö" * 500

    folder = names.folder("transcoded/", source)

    assert folder.startswith("transcoded/long/ööö")
    assert folder.endswith("~" + hashlib.sha256(source.encode()).hexdigest()[:16] + "/")


def test_the_parts_of_two_attempts_have_different_names() -> None:
    assert names.part("t/a/", "video", 3, TOKEN) == f"t/a/parts/video-0003-{TOKEN}.mp4"
    assert names.part("t/a/", "video", 3, TOKEN) != names.part("t/a/", "video", 3, uuid.UUID(int=8).hex)
    assert names.part("t/a/", "video", 3, TOKEN).startswith(names.parts("t/a/"))


@pytest.mark.parametrize(
    ("kind", "ordinal", "token"), [("../x", 0, TOKEN), ("video", -1, TOKEN), ("video", 0, "short")]
)
def test_a_part_with_an_odd_kind_ordinal_or_token_is_refused(kind: str, ordinal: int, token: str) -> None:
    with pytest.raises(ValueError, match="not a part"):
        names.part("t/a/", kind, ordinal, token)


def test_what_lies_below_the_output_prefix_is_ours_in_the_watched_bucket_only() -> None:
    assert names.is_ours("transcoded/a/video.mp4", {}, output_prefix="transcoded/")
    assert not names.is_ours("transcoded/a/video.mp4", {}, output_prefix=None)
    assert not names.is_ours("transcoded.mp4", {}, output_prefix="transcoded/")
    assert not names.is_ours("a.mp4", {}, output_prefix="")


def test_what_carries_our_mark_is_ours_wherever_it_lies() -> None:
    mark = names.info("4_z27c88f1d182b150646ff0b16_f200ec353a2184825_d20261122", TOKEN)

    assert names.is_ours("moved/video.mp4", mark, output_prefix="transcoded/")
    assert names.is_ours("moved/video.mp4", {"Watcher-Source": "x"}, output_prefix=None)
    assert not names.is_ours("a.mp4", {"src_last_modified_millis": "0"}, output_prefix="transcoded/")
