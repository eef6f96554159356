"""What may be believed of a source that was read and of an output that was made.

Pure: it compares what ffmpeg reported with what the prober measured, and raises Failure. A source is judged
before the output made from it, so that the blame falls where it belongs. One module for each output, and `tracks`
for what they share. An exit code of 0 proves nothing: ffmpeg ends so when its input is cut in half.

source (every step)   all bytes arrived; as many packets as its index promises, none missing; it ends no more than
                      1 s before its container says (muxers add a preroll, or count subtitles: 0.5 s was seen),
                      the last frame of an indexed track apart, which may be shorter than the others; no
                      picture that cannot be decoded or is corrupt; what is copied is decoded for that, here or for
                      a smaller rung, but for its keyframes alone where one size was asked for: between them it
                      shows only where the units of a packet do not fill it. Of sound one packet in a hundred
                      may fail: decoders stumble over half a frame where a recording was cut, and go on.
                      A clock that goes back by a quarter of a second is damage: what follows would not be shown.
                      So it is where one frame in twenty has the time of another one, or an earlier one.
                      Where a clock of all tracks jumps (TS), it is followed. Of an FLV, whose demuxer passes over
                      what it does not know, all bytes but 2 % must be accounted for.
picture, whole        a frame for each that was decoded, to the frame, less those that share their time with another
                      one (counted by ffmpeg). As long as the source's track to 0.1 s or a frame: two clocks that
                      round to milliseconds. Its first keyframe decodes alone, and of a copy every one, all in one
                      size: a player begins and seeks there. As many packets in the file as ffmpeg says it wrote.
picture, a chunk      all frames between its borders, to the frame; the first of them within 10 ms of the border, or
                      0.1 s where the frame rate was lowered, as the frame at the border may be one too many. All
                      rungs with the same frames and keyframes, to the microsecond: players switch there.
sound                 ends within 0.1 s of the source's: an AAC frame of 23 to 46 ms is kept whole or not. Copied, it
                      has no more than 320 kbit/s, which Matroska does not tell beforehand.
film                  both parts whole and unmoved: every packet, first and last times to 10 ms (copied times change
                      by rounding only), so sound and picture are in time at the end if they were at the start; all
                      frames of the source's index but those at the very start that need earlier ones, or one in a
                      thousand that shared their time; the index before the pictures, or it would not play while it
                      loads.
stills                decode, in the size that the table and the storyboard promise; exactly, for players cut tiles
                      out of them by pixels.
salvaged              (SALVAGE=yes) what is asked of the source is not: it need not be whole. What is asked of the
                      output holds all the same: it has what was read, begins on time, its rungs agree, it is unmoved.
playlists             are checked where they are made (`playlists`): no gap, every segment within the longest.
"""

from watcher.verify.film import package, stitched
from watcher.verify.picture import chunk_output, chunk_source, has_errors, video_output, video_source, without
from watcher.verify.sound import audio_output, audio_source, copied_audio, is_silent_track
from watcher.verify.stills import still
from watcher.verify.tracks import Found, gap_seconds, jump_seconds
from watcher.verify.tracks import check_arrived as arrived
from watcher.verify.tracks import read as tracks

__all__ = [
    "Found",
    "arrived",
    "audio_output",
    "audio_source",
    "chunk_output",
    "chunk_source",
    "copied_audio",
    "gap_seconds",
    "has_errors",
    "is_silent_track",
    "jump_seconds",
    "package",
    "still",
    "stitched",
    "tracks",
    "video_output",
    "video_source",
    "without",
]
