"""Everything that can go wrong, named: the error codes and the exceptions.

Each exception is named for the caller's next move. Whatever is raised otherwise is a bug.
Knows nothing of where an error came from: each door translates foreign errors into these.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta


@dataclass(frozen=True, slots=True)
class Code:
    """What one error code means, whether trying again can help, and what the operator can do."""

    meaning: str
    permanent: bool
    hint: str


CODES: dict[str, Code] = {
    # The source itself: trying again gives the same answer.
    "unreadable": Code(
        "no allowed demuxer can open the source",
        True,
        "Upload the file again; if it plays elsewhere, convert it to MP4 or MKV first.",
    ),
    "no_picture": Code(
        "the source has a video track, but no frame of it can be decoded",
        True,
        "Upload the file again; if it plays elsewhere, convert it to MP4 or MKV first.",
    ),
    "source_truncated": Code(
        "the source ends before the duration or the frames that its container declares",
        True,
        "Probably the upload was cut short: upload it again, or set SALVAGE=yes and `watcher requeue ID`.",
    ),
    "source_damaged": Code(
        "parts of the source cannot be decoded",
        True,
        "Export or upload it again, or set SALVAGE=yes and `watcher requeue ID` to get what can be read.",
    ),
    "source_encrypted": Code(
        "the source is encrypted or copy-protected",
        True,
        "Upload a version without protection (DRM).",
    ),
    "source_dolby_vision": Code(
        "the source is Dolby Vision without a base layer (profile 5), whose colours FFmpeg would get wrong",
        True,
        "Export it as HDR10, HLG or SDR, or as Dolby Vision with a base layer (profile 8.1 or 8.4), and upload that.",
    ),
    "source_too_large": Code(
        "the source is beyond a limit on picture size, streams, memory or output",
        True,
        "Upload a smaller version, or raise what it names: MAX_PIXELS, MAX_STREAMS, MAX_MEMORY_MB or MAX_OUTPUT_MB.",
    ),
    "source_too_long": Code(
        "the source plays longer than MAX_DURATION_SECONDS",
        True,
        "Upload it in pieces, or raise MAX_DURATION_SECONDS and `watcher requeue ID`.",
    ),
    "source_too_costly": Code(
        "a step took more processor time or longer than a source of this length may",
        True,
        "Convert the file to MP4 first, or raise MAX_CPU_PER_SECOND or MAX_STEP_SECONDS and `watcher requeue ID`.",
    ),
    # Our own work: may succeed at the next attempt.
    "encode_failed": Code(
        "ffmpeg ended with an error",
        False,
        "See the error text; `watcher requeue ID` tries again.",
    ),
    "stalled": Code(
        "a step made no progress for STALL_SECONDS and was stopped",
        False,
        "Check the machine's load and the network; raise STALL_SECONDS if sources are very slow.",
    ),
    "output_invalid": Code(
        "what ffmpeg made did not pass verification and was not published",
        False,
        "`watcher requeue ID` tries again; report it with the source if it comes back.",
    ),
    "worker_lost": Code(
        "the process that worked on the step died or lost its lease",
        False,
        "If it keeps happening, the source may exhaust memory: check the machine's log.",
    ),
    "bug": Code(
        "an unexpected error inside Watcher",
        False,
        "Please report it with the log lines of this video.",
    ),
    "part_lost": Code(
        "an intermediate object was deleted, or OUTPUT_PREFIX or OUTPUT_BUCKET_NAME changed, before it was used",
        True,
        "`watcher requeue ID --from-scratch` makes it again; keep lifecycle rules off OUTPUT_PREFIX.",
    ),
    # The world: never the fault of one video; the attempt is handed back.
    "b2_unavailable": Code(
        "B2 could not be reached, or answered with a temporary error",
        False,
        "Nothing to do: it is tried again until B2 answers.",
    ),
    "b2_unauthorized": Code(
        "B2 refused the application key, or the key lacks a capability",
        False,
        "Check B2_APPLICATION_KEY_ID and B2_APPLICATION_KEY; `watcher doctor` names what is missing.",
    ),
    "b2_bucket_gone": Code(
        "a bucket no longer exists, or the application key can no longer see it",
        False,
        "Check B2_BUCKET_NAME and OUTPUT_BUCKET_NAME with `watcher doctor`, then restart.",
    ),
    "b2_cap_exceeded": Code(
        "a usage cap of the B2 account is spent",
        False,
        "Raise the cap in the B2 console, or wait for 00:00 UTC.",
    ),
    "database_unavailable": Code(
        "the database could not be read or written",
        False,
        "Check the disk and the permissions of the database's folder; `watcher db check` looks inside.",
    ),
    "disk_full": Code(
        "the scratch folder's disk is full",
        False,
        "Free space, or point SCRATCH_DIR at a larger disk.",
    ),
    "scratch_gone": Code(
        "the scratch folder, or part of it, was deleted while it was in use",
        False,
        "Keep whatever deletes old files, as in /tmp, off SCRATCH_DIR, and start again; a service manager does.",
    ),
}

# Codes that an Outage carries: they end no attempt.
WORLD = frozenset(
    (
        "b2_unavailable",
        "b2_unauthorized",
        "b2_bucket_gone",
        "b2_cap_exceeded",
        "database_unavailable",
        "disk_full",
        "scratch_gone",
    )
)


class Failure(Exception):
    """This attempt of this step failed; permanent ones are not tried again (see `CODES`)."""

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(detail)
        self.code = code
        self.detail = detail
        self.permanent = CODES[code].permanent
        self.hint = CODES[code].hint


class Skip(Exception):
    """There is nothing to do for this source, which is no error; `reason` is a short code."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason
        self.detail = detail


class Outage(Exception):
    """The world is at fault, not the video: hand the attempt back and try later."""

    def __init__(self, code: str, detail: str, *, retry_after: timedelta | None = None) -> None:
        super().__init__(detail)
        self.code = code
        self.detail = detail
        self.retry_after = retry_after
        self.hint = CODES[code].hint


class SourceGone(Exception):
    """The source file version no longer exists in the bucket."""


class Stopped(Exception):
    """Drop the work and publish nothing: the step was lost, or the process is shutting down."""


class Misconfigured(Exception):
    """Settings or surroundings that only the operator can mend; one line per problem."""

    def __init__(self, problems: Sequence[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = tuple(problems)
