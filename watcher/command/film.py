"""The arguments that stitch parts into the film for viewers. Pure."""

from pathlib import Path

from watcher.command import fragmented, inputs

PACKAGE = "package.mp4"


def package(
    video: Path, audio: Path | None, *, video_shift: float, video_end: float, is_beginning: bool = False
) -> list[str]:
    """Return the arguments that stitch the parts into `PACKAGE` by copy, its index before its pictures.

    `video_shift` is in seconds: how much later than written libavformat shows the pictures of the video part.
    `video_end`, in seconds, is when its last picture is over. Of a film that `is_beginning`, there is no more sound
    than that, and the index comes last, as nobody plays it.
    """
    # Without -copyts each input would begin at zero, whatever their distance was.
    arguments = ["-copyts"]
    if video_shift:
        arguments += ["-itsoffset", f"{-video_shift:.6f}"]
    arguments += [*inputs.own(video)]
    if audio is not None:
        arguments += ["-t", f"{video_end:.6f}"] if is_beginning else []
        arguments += [*inputs.own(audio)]
    arguments += ["-map", "0:v:0"]
    if audio is not None:
        arguments += ["-map", "1:a:0"]
    # Durations lie between times of decoding. That of a picture which is decoded before a gap, and shown after it, may
    # reach beyond the end, and the muxer would take the film for so much longer.
    arguments += [
        "-bsf:v",
        f"setts=pts=PTS:dts=DTS:duration=min(DURATION\\,max(1\\,round({video_end:.6f}/TB)-PTS))",
    ]
    arguments += ["-c", "copy", "-video_track_timescale", str(fragmented.TIMESCALE), *fragmented.bare()]
    if not is_beginning:
        arguments += ["-movflags", "+faststart"]
    return [*arguments, "-f", "mp4", PACKAGE]
