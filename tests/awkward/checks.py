"""Compares what was made of an awkward file with what it must be; each check returns what is wrong, in words."""

from collections.abc import Iterator
from pathlib import Path

import av
import measure
from case import Film, Rgb
from measure import Shown
from scene import COLOURS

HDR_TRANSFERS = (16, 18)  # AVCOL_TRC_*: PQ and HLG
BT709 = (1, 1, 1, 1)  # matrix, primaries, transfer, limited range


def film(path: Path, expect: Film, *, size: tuple[int, int] | None) -> list[str]:
    """Check an MP4.

    With `size` None its picture may have any size of the right shape and any frame rate that is high enough, and
    its sound more channels, in which no beep is looked for.
    """
    found = measure.shown(path, white=expect.white)
    wrong = [*_picture(found, expect, size), *_times(found, expect, is_capped=size is not None)]
    if size is None and (found.channels or 0) > (expect.channels or found.channels or 0):
        return wrong
    return [*wrong, *_sound(found, expect), *_also(path, expect)]


def rendition(name: str, found: Shown, mp4: Shown, *, size: tuple[int, int]) -> list[str]:
    """Check one size of the HLS ladder against the MP4: as many pictures, at the same times, all of them decode."""
    wrong = []
    if found.errors or len(found.times) != len(mp4.times):
        wrong.append(f"{name} has {len(found.times)} pictures, the MP4 {len(mp4.times)}")
    elif max(abs(a - b) for a, b in zip(_from_zero(found), _from_zero(mp4), strict=True)) > 0.01:
        wrong.append(f"{name} has its pictures at other times than the MP4")
    if (found.width, found.height) != size:
        wrong.append(f"{name} is {found.width}x{found.height}, its playlist says {size}")
    if found.first and any(_distance(a, b) > 14 for a, b in zip(found.first, mp4.first, strict=True)):
        wrong.append(f"{name} has colours {found.first}, the MP4 {mp4.first}")
    return wrong


def in_time(name: str, picture: Shown, sound: Shown, *, within: float) -> list[str]:
    """Check a picture and a sound of the ladder, which a player starts together, at both ends."""
    if not picture.flashes or len(picture.flashes) != len(sound.beeps):
        return []  # said elsewhere
    first = picture.times[0]
    offs = [beep - (flash - first) for beep, flash in zip(sound.beeps, picture.flashes, strict=True)]
    return [
        f"{name}: at the {where} the sound is {off * 1000:+.0f} ms off the picture"
        for where, off in (("start", offs[0]), ("end", offs[-1]))
        if abs(off) > within
    ]


def poster(path: Path, expect: Film, *, size: tuple[int, int] | None, colour_within: int) -> list[str]:
    """Check a JPEG, whose colours are always BT.601 in full range, whatever it says."""
    with av.open(str(path)) as container:
        frame = next(container.decode(video=0))
    wrong = []
    if size is not None and (frame.width, frame.height) != size:
        wrong.append(f"the poster is {frame.width}x{frame.height}")
    if not _has_shape(frame.width, frame.height, 1.0, expect):
        wrong.append(f"the poster is {frame.width}x{frame.height}, out of shape")
    if frame.format.name == "yuvj420p" and expect.corners:
        wrong += _quarters("the poster", measure.quarters(frame, space=6), colour_within, expect.corners)
    return wrong


def _picture(found: Shown, expect: Film, size: tuple[int, int] | None) -> Iterator[str]:
    if found.pixels not in measure.EIGHT_BITS:
        yield f"pixels are {found.pixels or 'none'}, which hardly any player shows"
    if size is not None and (found.width, found.height) != size:
        yield f"the picture is {found.width}x{found.height}, not {size[0]}x{size[1]}"
    elif not _has_shape(found.width, found.height, found.aspect, expect):
        yield f"the picture is {found.width}x{found.height}, out of shape"
    if found.rotation or (size is not None and found.aspect != 1):
        yield f"a player has to turn it by {found.rotation} or stretch it by {found.aspect}"
    if len(found.sizes) > 1:
        yield f"its pictures have sizes {sorted(found.sizes)}"
    if found.is_interlaced:
        yield "it is flagged interlaced"
    if found.tags[2] in HDR_TRANSFERS:
        yield "it is HDR, washed out where a player does not know it"
    if expect.tags == "bt709" and found.tags != BT709:
        yield f"its colour tags are {found.tags}, not those of BT.709"
    if found.errors or len(found.times) != found.packets:
        yield f"{len(found.times)} of {found.packets} pictures decode, {found.errors} errors"
    if expect.corners:
        yield from _quarters("the first picture", found.first, expect.colour_within, expect.corners)
        yield from _quarters(
            "the last picture", found.last, expect.colour_within, expect.last_corners or expect.corners
        )


def _times(found: Shown, expect: Film, *, is_capped: bool) -> Iterator[str]:
    frames, due = len(found.times), expect.frames
    if due is not None and (frames != due if is_capped else frames < due):
        yield f"it has {frames} pictures, not {due}"
    if expect.seconds is not None and abs(found.seconds - expect.seconds) > expect.within:
        yield f"the picture lasts {found.seconds:.3f} s, not {expect.seconds:.3f} s"
    if not expect.has_gap and found.times:
        gaps = [after - before for before, after in zip(found.times, found.times[1:], strict=False)]
        if max(gaps, default=0.0) > 1.1:
            yield f"nothing is shown for {max(gaps):.1f} s"
    first = found.times[0] if found.times else 0.0
    if abs(first) > 0.1 and not (found.beeps and found.beeps[0] < first):
        yield f"it begins after {first:.3f} s of nothing"
    shown = [flash - first for flash in found.flashes]
    if not _agree(shown, expect.flashes, expect.within):
        yield f"the white square appears at {_seconds(shown)}, not at {_seconds(expect.flashes)}"


def _sound(found: Shown, expect: Film) -> Iterator[str]:
    if found.channels != expect.channels:
        yield f"the sound has {found.channels} channels, not {expect.channels}"
    if expect.channels is None or found.channels is None:
        return
    if (
        expect.sound_seconds is not None
        and abs((found.sound_end or 0.0) - expect.sound_seconds) > expect.within
    ):
        yield f"the sound ends at {found.sound_end or 0.0:.3f} s, not at {expect.sound_seconds:.3f} s"
    if len(found.beeps) != len(expect.flashes):
        yield f"it beeps at {_seconds(found.beeps)}, {len(expect.flashes)} times are due"
    elif found.flashes and len(found.flashes) == len(found.beeps):
        for where, number in (("start", 0), ("end", -1)):
            off = found.beeps[number] - found.flashes[number]
            if abs(off) > expect.sync_within:
                yield f"at the {where} the sound is {off * 1000:+.0f} ms off the picture"


def _also(path: Path, expect: Film) -> Iterator[str]:
    if expect.also is not None and (wrong := expect.also(path)):
        yield wrong


def _quarters(what: str, found: list[Rgb], within: int, letters: str) -> Iterator[str]:
    for place, colour, letter in zip(
        ("top left", "top right", "bottom left", "bottom right"), found, letters, strict=False
    ):
        if _distance(colour, COLOURS[letter]) > within:
            yield f"{what} is {colour} at the {place}, not {COLOURS[letter]}"
            return


def _has_shape(width: int, height: int, aspect: float, expect: Film) -> bool:
    """Tell whether it is as wide for its height as expected, but for the rounding to even numbers."""
    due_width, due_height = expect.size
    shape = width * aspect / height
    return abs(shape * due_height - due_width) <= 2.5 or abs(due_width / shape - due_height) <= 2.5


def _agree(found: list[float], due: tuple[float, ...], within: float) -> bool:
    return len(found) == len(due) and all(abs(a - b) <= within for a, b in zip(found, due, strict=True))


def _from_zero(found: Shown) -> list[float]:
    return [time - found.times[0] for time in found.times]


def _distance(a: Rgb, b: Rgb) -> int:
    return max(abs(one - other) for one, other in zip(a, b, strict=True))


def _seconds(times: list[float] | tuple[float, ...]) -> str:
    return ", ".join(f"{time:.2f}" for time in times) or "no time"
