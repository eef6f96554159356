"""Whether a transport stream (ISO/IEC 13818-1) has the same tracks at both ends: not so where it was joined."""

from collections.abc import Collection, Iterator

import keyframes

READ_BYTES = 1024 * 1024  # at each end; the tables come back every half second at least
# The second with a time stamp before each packet, as camcorders and Blu-ray write it.
PACKET_BYTES = (188, 192)
SYNC, TABLE_OF_PROGRAMMES = 0x47, 0
SURE = 8  # packets in a row that begin with the sync byte
_PROGRAMMES, _TRACKS = 0x00, 0x02  # kinds of tables


def are_throughout(numbers: Collection[int], target: str, size_bytes: int) -> bool:
    """Tell whether tracks with these numbers (PIDs) are told of by the first tables of a file, and by its last."""
    head = keyframes.read(target, 0, min(READ_BYTES, size_bytes))
    tail = head
    if size_bytes > READ_BYTES:
        tail = keyframes.read(target, size_bytes - READ_BYTES, READ_BYTES)
    ends = _told(head, is_first=True), _told(tail, is_first=False)
    return all(told.issuperset(numbers) for told in ends if told)


def _told(data: bytes, *, is_first: bool) -> set[int]:
    """Return the tracks that the first tables in `data` tell of, or the last; none where there are not all tables."""
    programmes = [set(_programmes(table)) for table in _sections(data, TABLE_OF_PROGRAMMES, _PROGRAMMES)]
    tracks: list[set[int]] = []
    for number in programmes[0 if is_first else -1] if programmes else ():
        found = [set(_tracks(table)) for table in _sections(data, number, _TRACKS)]
        tracks.append(found[0 if is_first else -1] if found else set())
    return set().union(*tracks) if all(tracks) else set()


def _programmes(table: bytes) -> Iterator[int]:
    for place in range(8, len(table) - 4, 4):
        if table[place : place + 2] != b"\x00\x00":  # the network's own table
            yield _pid(table, place + 2)


def _tracks(table: bytes) -> Iterator[int]:
    place = 12 + (int.from_bytes(table[10:12]) & 0xFFF)
    while place + 5 <= len(table) - 4:
        yield _pid(table, place + 1)
        place += 5 + (int.from_bytes(table[place + 3 : place + 5]) & 0xFFF)


def _sections(data: bytes, number: int, kind: int) -> Iterator[bytes]:
    """Give each whole section of a `kind` in the packets of a number."""
    section = b""
    for packet in _packets(data):
        if _pid(packet, 1) != number or not packet[3] & 0x10:
            continue
        payload = packet[5 + packet[4] if packet[3] & 0x20 else 4 :]
        if packet[1] & 0x40 and payload:  # one begins here
            section = payload[1 + payload[0] :]
        elif section:
            section += payload
        length = 3 + (int.from_bytes(section[1:3]) & 0xFFF)
        if len(section) >= max(length, 12):
            if section[0] == kind:
                yield section[:length]
            section = b""


def _packets(data: bytes) -> Iterator[bytes]:
    for size in PACKET_BYTES:
        for start in range(size):
            syncs = data[start : start + SURE * size : size]
            if len(syncs) == SURE and set(syncs) == {SYNC}:
                for place in range(start, len(data) - 187, size):
                    if data[place] == SYNC:
                        yield data[place : place + 188]
                return


def _pid(data: bytes, place: int) -> int:
    return int.from_bytes(data[place : place + 2]) & 0x1FFF
