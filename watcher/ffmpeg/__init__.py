"""The only door to other programs: runs ffmpeg and the prober, each confined, watched and always waited for.

Knows argument lists, not what they are for. A child runs in its own folder and process group, under limits,
without the environment, and is killed when the beat says so or when this process dies.
"""

from watcher.ffmpeg.child import LAUNCHER, Child, Kernel, Limits, children_in, kernel
from watcher.ffmpeg.prober import PROBER, probe
from watcher.ffmpeg.program import locate, run, version

__all__ = [
    "LAUNCHER",
    "PROBER",
    "Child",
    "Kernel",
    "Limits",
    "children_in",
    "kernel",
    "locate",
    "probe",
    "run",
    "version",
]
