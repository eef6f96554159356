"""Films with encrypted tracks, one or all: made by hand, for ffmpeg encrypts all of an MP4 and no Matroska file."""

from pathlib import Path

import av
from clips import run

KEY, KEY_ID = "76a6c65c5ea762046bd749a2e632ccbb", "a7e61c373e219033c21091fa607bf3b8"
TRACKS, TRACK, CLUSTER = b"\x16\x54\xae\x6b", b"\xae", b"\x1f\x43\xb6\x75"  # Matroska's
KIND = b"\x83\x81"  # before 1 for a picture, 2 for sound
# One layer of encryption with AES.
CONTENT_ENCODINGS = bytes.fromhex(f"6d80a9 6240a6 50318100 50328101 50338101 5035 97 47e18105 47e290{KEY_ID}")


def mp4(clear: Path, path: Path) -> Path:
    """Encrypt all tracks of an MP4 (Common Encryption)."""
    scheme = ("-encryption_scheme", "cenc-aes-ctr", "-encryption_key", KEY, "-encryption_kid", KEY_ID)
    run("-i", str(clear), "-c", "copy", *scheme, str(path))
    return path


def mp4_sound(clear: Path, path: Path) -> Path:
    """Encrypt the sound of an H.264 film in MP4, and leave the picture clear."""
    data = bytearray(mp4(clear, path).read_bytes())
    with av.open(str(clear)) as plain, av.open(str(path)) as encrypted:
        for one, other in zip(plain.demux(video=0), encrypted.demux(video=0), strict=True):
            if one.size and other.pos is not None:
                data[other.pos : other.pos + other.size] = bytes(one)
    start = data.index(b"trak", data.index(b"moov"))
    end = data.find(b"trak", start + 4)
    track = bytes(data[start:end]).replace(b"encv", b"avc1")
    for box in (b"sinf", b"senc", b"saio", b"saiz"):
        track = track.replace(box, b"free")
    data[start:end] = track
    path.write_bytes(data)
    return path


def mkv(clear: Path, path: Path, *, kind: int) -> Path:
    """Say that the tracks of a `kind` in a Matroska file are encrypted, and make noise of them."""
    live = path.with_name("live.mkv")
    run("-i", str(clear), "-c", "copy", "-live", "1", "-f", "matroska", str(live))
    data = bytearray(live.read_bytes())
    with av.open(str(live)) as container:
        for packet in container.demux():
            if packet.size and packet.pos is not None and packet.stream.type == ("video", "audio")[kind - 1]:
                place = data.index(bytes(packet), packet.pos)
                data[place : place + packet.size] = bytes(byte ^ 0x5A for byte in bytes(packet))
    start = data.rindex(TRACKS, 0, data.index(CLUSTER))  # an index of the head names it too
    size, place = _size(data, start + len(TRACKS))
    end, tracks = place + size, b""
    while place < end:
        length, inner = _size(data, place + 1)
        entry = bytes(data[inner : inner + length])
        if data[place : place + 1] == TRACK:
            extra = CONTENT_ENCODINGS if KIND + bytes([kind]) in entry else b""
            tracks += TRACK + _sized(entry + extra)
        else:
            tracks += bytes(data[place : inner + length])
        place = inner + length
    path.write_bytes(bytes(data[:start]) + TRACKS + _sized(tracks) + bytes(data[end:]))
    return path


def _size(data: bytes | bytearray, place: int) -> tuple[int, int]:
    """Return the number that EBML writes at a place, and the place after it."""
    length = 9 - data[place].bit_length()
    return int.from_bytes(data[place : place + length]) & ((1 << 7 * length) - 1), place + length


def _sized(content: bytes) -> bytes:
    return b"\x01" + len(content).to_bytes(7) + content
