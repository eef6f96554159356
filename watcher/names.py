"""Names of the objects that Watcher publishes, and how to tell them from sources.

Pure: knows the rules that B2 has for names, nothing of buckets or of what is in the objects.
"""

import hashlib
import re
from collections.abc import Mapping

# What B2 documents for file names: at most 1,024 bytes of UTF-8, 250 between two slashes, no codes below 32,
# no DEL, no backslash, no slash at either end or beside another.
_NAME_BYTES = 1024
_SEGMENT_BYTES = 250
_FORBIDDEN = re.compile(r"[\x00-\x1f\x7f\\\ud800-\udfff]")  # lone surrogates: they have no UTF-8

_ROOM_BYTES = 128  # kept free below a folder; the longest name of today, a part, takes 70

_HASH_DIGITS = 16  # 64 bits: a collision would need about four billion sources with escaped names
_FIRST_DIGITS = 8  # tells apart the few beginnings of one rung
_ESCAPED = re.compile(rf"~[0-9a-f]{{{_HASH_DIGITS}}}\Z")

_KIND = re.compile(r"[a-z0-9]{1,16}\Z")  # video720, audio, stills
_TOKEN = re.compile(r"[0-9a-f]{32}\Z")
_ORDINALS = 1_000_000

# B2 keeps the keys of fileInfo in lower case, whatever it is given.
SOURCE_KEY = "watcher-source"
TOKEN_KEY = "watcher-token"  # noqa: S105 (the name of a key, not a secret)


def folder(prefix: str, source_name: str) -> str:
    """Return where the outputs of the source `source_name` go, below `prefix`; it ends in a slash.

    It reads `<prefix><source name>/` wherever that is a safe name. Any other source name is shortened, has
    its unsafe characters replaced, and gets `~` and a hash of the whole name: no two sources share a folder.
    """
    limit = _NAME_BYTES - _ROOM_BYTES - len(prefix.encode())
    if _is_plain(source_name, limit):
        return f"{prefix}{source_name}/"
    digest = hashlib.sha256(source_name.encode(errors="surrogatepass")).hexdigest()[:_HASH_DIGITS]
    return f"{prefix}{_legible(source_name, limit - 1 - _HASH_DIGITS)}~{digest}/"


def mp4(folder: str) -> str:
    """Return the name of the MP4 in `folder`: stable, so that links to it live on."""
    return f"{folder}video.mp4"


def poster(folder: str) -> str:
    """Return the name of the poster in `folder`: stable, so that links to it live on."""
    return f"{folder}poster.jpg"


def storyboard(folder: str) -> str:
    """Return the name of the storyboard's WebVTT in `folder`: stable, so that links to it live on."""
    return f"{folder}storyboard.vtt"


def parts(folder: str) -> str:
    """Return the prefix that every name from `part` in `folder` has.

    A source may be called `<this source>/parts/x`, and then its folder is below this prefix too: whoever
    deletes by prefix must look at `SOURCE_KEY` as well.
    """
    return f"{folder}parts/"


def master(folder: str) -> str:
    """Return the name of the HLS master playlist in `folder`: stable, so that links to it live on."""
    return f"{folder}master.m3u8"


def manifest(folder: str) -> str:
    """Return the name of the list of all that is published in `folder`."""
    return f"{folder}watcher.json"


def playlist(folder: str, rung: int | None, *, first: str) -> str:
    """Return the name of the media playlist of a rung (its height), or of the sound, that begins with `first`.

    `first` is the name of a part. A playlist may only grow (RFC 8216, 6.2.1), and hls.js gives up one that names
    another segment than before: where a film begins anew, its playlists are others.
    """
    digest = hashlib.sha256(first.encode()).hexdigest()[:_FIRST_DIGITS]
    return f"{folder}{'audio' if rung is None else f'{rung}p'}-{digest}.m3u8"


def part(folder: str, kind: str, ordinal: int, token: str, *, ending: str = "mp4") -> str:
    """Return the name of a part, which only the attempt with this `token` uses."""
    if not _KIND.match(kind) or not _TOKEN.match(token) or not 0 <= ordinal < _ORDINALS:
        raise ValueError(f"not a part: kind {kind!r}, ordinal {ordinal!r}, token of {len(token)} characters")
    return f"{parts(folder)}{kind}-{ordinal:04d}-{token}.{ending}"


def info(source_file_id: str, token: str) -> dict[str, str]:
    """Return the fileInfo that every object of ours carries: the source it was made from and the attempt."""
    return {SOURCE_KEY: source_file_id, TOKEN_KEY: token}


def is_ours(name: str, info: Mapping[str, str], *, output_prefix: str | None) -> bool:
    """Tell whether an object was published by Watcher and so is no source.

    `output_prefix` is given where outputs go to the bucket that is watched: everything below it is ours.
    """
    if output_prefix and name.startswith(output_prefix):
        return True
    return any(key.lower() == SOURCE_KEY for key in info)


def _is_plain(source_name: str, limit: int) -> bool:
    if _FORBIDDEN.search(source_name) or _ESCAPED.search(source_name):
        return False
    if len(source_name.encode()) > limit:
        return False
    return all(
        segment not in {"", ".", ".."} and len(segment.encode()) <= _SEGMENT_BYTES
        for segment in source_name.split("/")
    )


def _legible(source_name: str, limit: int) -> str:
    """Return as much of `source_name` as is safe, in at most `limit` bytes."""
    segments = [segment for segment in _FORBIDDEN.sub("_", source_name).split("/") if segment]
    shortened = [
        "_" if segment in {".", ".."} else _cut(segment, _SEGMENT_BYTES - 1 - _HASH_DIGITS)
        for segment in segments
    ]
    return _cut("/".join(shortened), limit).rstrip("/")


def _cut(text: str, limit: int) -> str:
    """Return the longest start of `text` that takes at most `limit` bytes and ends between two characters."""
    return text.encode()[: max(limit, 0)].decode(errors="ignore")
