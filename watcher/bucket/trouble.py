"""B2's errors as ours: what b2sdk, requests and the disk raise becomes one of `errors`, its cause kept."""

import contextlib
import errno
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import TypeVar

import requests
import tenacity
import urllib3

# The public b2sdk.v3.exception leaves out ResourceNotFound, InvalidUserInput and UploadTokenUsedConcurrently.
from b2sdk._internal import exception

from watcher.errors import Failure, Misconfigured, Outage, SourceGone, Stopped

TRIES = 3  # a hiccup passes within seconds; an outage is the caller's, who hands the work back for later
LONGEST_PAUSE_SECONDS = 5.0  # when B2 asks for more, the caller is told at once how long

_T = TypeVar("_T")
_MISSING = (exception.FileNotPresent, exception.ResourceNotFound)
_REFUSED = (exception.Unauthorized, exception.AccessDenied, exception.NotAllowedByAppKeyError)
_OURS = (exception.BadRequest, exception.BadJson, exception.InvalidUserInput, exception.UnusableFileName)
_BUCKET_GONE = (exception.BucketIdNotFound, exception.NonExistentBucket)


class Interrupted(exception.B2Error):  # type: ignore[misc]
    """Carries our own exception out of b2sdk, which would wrap any but its own into an UnknownError."""

    def __init__(self, why: Stopped | Failure) -> None:
        super().__init__(str(why))
        self.why = why


def patiently(doing: str, act: Callable[[], _T], *, sleep: Callable[[float], None] = time.sleep) -> _T:
    """Return what `act` returns, tried again after passing trouble; what is raised is one of `errors`.

    `doing` says what is attempted on what, as in "list bucket videos".
    """

    def translated_act() -> _T:
        with translated(doing):
            return act()

    retrying = tenacity.Retrying(
        stop=tenacity.stop_after_attempt(TRIES),
        retry=tenacity.retry_if_exception(is_passing),
        wait=pause_after,
        sleep=sleep,
        reraise=True,
    )
    return retrying(translated_act)


def is_passing(error: BaseException) -> bool:
    """Say whether trying again within seconds is worth it."""
    if not isinstance(error, Outage) or error.code != "b2_unavailable":
        return False
    return error.retry_after is None or error.retry_after.total_seconds() <= LONGEST_PAUSE_SECONDS


def pause_after(state: tenacity.RetryCallState) -> float:
    """Return how many seconds to wait: what B2 asks for, and up to half a second, doubled each time."""
    error = state.outcome.exception() if state.outcome else None
    asked = error.retry_after.total_seconds() if isinstance(error, Outage) and error.retry_after else 0.0
    return asked + tenacity.wait_random_exponential(multiplier=0.5, max=LONGEST_PAUSE_SECONDS)(state)


@contextlib.contextmanager
def translated(doing: str) -> Iterator[None]:
    """Raise one of `errors` in place of what B2, the network or the disk raises."""
    try:
        yield
    except Interrupted as error:
        raise error.why from None
    except exception.PotentialS3EndpointPassedAsRealm:
        raise  # only `connect` can meet it, and knows what to say
    except exception.B2Error as error:
        raise _translated(error, doing) from _without_token(error)
    except (requests.RequestException, urllib3.exceptions.HTTPError) as error:
        raise Outage("b2_unavailable", f"{doing}: {error}") from error
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise Outage("disk_full", f"{doing}: {error}") from error
        raise


def _translated(error: exception.B2Error, doing: str) -> Exception:
    said = str(error)[:500] or type(error).__name__
    detail = f"{doing}: {said}"
    if isinstance(error, _BUCKET_GONE):
        return Misconfigured([f"{detail}. The bucket was deleted, or the key can no longer see it."])
    if isinstance(error, _MISSING):
        return SourceGone(f"{doing}: B2 has no such file")
    if isinstance(error, exception.CapExceeded) or "cap_exceeded" in said:
        return Outage("b2_cap_exceeded", detail)
    if isinstance(error, _REFUSED):
        return Outage("b2_unauthorized", detail)
    if isinstance(error, exception.UnsatisfiableRange):
        return Failure("source_truncated", f"{doing}: B2 has fewer bytes than it listed")
    if isinstance(error, exception.UploadTokenUsedConcurrently):
        return Outage("b2_unavailable", f"{doing}: B2 says that another upload uses the same URL")
    if isinstance(error, _OURS) and not _is_damage_on_the_way(said):
        return Failure("bug", detail)
    after = error.retry_after_seconds
    return Outage(
        "b2_unavailable", detail, retry_after=None if after is None else timedelta(seconds=float(after))
    )


def _is_damage_on_the_way(said: str) -> bool:
    """Say whether a 400 is about bytes that do not have the SHA-1 that was sent with them."""
    return "sha1" in said.lower() or "checksum" in said.lower()


def _without_token(error: exception.B2Error) -> Exception | None:
    """Return the cause to keep; the one error whose text holds an upload token is dropped."""
    return None if isinstance(error, exception.UploadTokenUsedConcurrently) else error
