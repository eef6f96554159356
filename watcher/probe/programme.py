"""Which tracks a transport stream (ISO/IEC 13818-1) has at its end: others than at its start, where it was joined."""

from collections.abc import Iterator

import keyframes

TAIL_BYTES = 1024 * 1024  # the table of tracks comes back every half second at least
PACKET_BYTES = (
    188,
    192,
)  # the second with a time stamp before each packet, as camcorders and Blu-ray write it
SYNC, TABLE_OF_PROGRAMMES = 0x47, 0
SURE = 8  # packets in a row that begin with the sync byte
_PROGRAMMES, _TRACKS = 0x00, 0x02  # kinds of tables


def last_tracks(target: str, size_bytes: int) -> set[int]:
    """Return the numbers (PIDs) of all tracks that the last tables in a file tell of; none where they tell no more."""
    start = max(0, size_bytes - TAIL_BYTES)
    data = keyframes.read(target, start, size_bytes - start)
    tables: dict[int, set[int]] = {}
    for table in _sections(data, TABLE_OF_PROGRAMMES, _PROGRAMMES):
        places = range(8, len(table) - 4, 4)
        numbers = {_pid(table, at + 2) for at in places if table[at : at + 2] != b"\x00\x00"}
        tables = {number: tables.get(number, set()) for number in numbers}
    for number in tables:
        for table in _sections(data, number, _TRACKS):
            tables[number] = set(_tracks(table))  # the last one counts
    return set().union(*tables.values()) if all(tables.values()) else set()


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
