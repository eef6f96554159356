"""The only door to B2: what Watcher needs of an account and a bucket, through b2sdk.

Every foreign error leaves here as one of `errors`. Knows nothing of videos, steps or tables.
"""

import functools
import pathlib
import urllib.parse
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Literal

from b2sdk import v3
from b2sdk.v3 import exception

from watcher import beat as beats
from watcher.bucket import download, listing, session, trouble, upload
from watcher.errors import Misconfigured, Outage, SourceGone

Entry = listing.Entry
Unread = listing.Unread
Page = listing.Page
Unfinished = listing.Unfinished
Stored = upload.Stored
Piece = upload.Piece

MOST_PER_PAGE = 10_000  # B2's limit of entries per list call
VERSIONS_PER_CALL = 1_000  # what one transaction buys
UNFINISHED_PER_CALL = 100  # B2's limit for unfinished large files


def connect(*, key_id: str, key: str, realm: str) -> "Account":
    """Authorise with an application key; `realm` is `production`, or the URL of a B2 of one's own.

    Raises Misconfigured for values that cannot be right, Outage("b2_unauthorized") for a refused key and
    Outage("b2_unavailable") when B2 cannot be reached.
    """
    if problems := _problems(key_id, key, realm):
        raise Misconfigured(problems)
    opened = session.Session(is_loopback=_is_loopback(realm))
    try:
        trouble.patiently(
            f"authorise at {realm}", lambda: opened.authorize_account(realm.rstrip("/"), key_id, key)
        )
        return Account(opened)
    except (SourceGone, KeyError, TypeError, exception.PotentialS3EndpointPassedAsRealm) as error:
        raise Misconfigured(
            [f"B2_REALM: {realm} does not answer as B2's native API does; leave it unset for B2 itself."]
        ) from error


class Account:
    """An authorised application key. Thread-safe."""

    def __init__(self, opened: session.Session) -> None:
        allowed = opened.account_info.get_allowed()
        self._session = opened
        self.capabilities: frozenset[str] = frozenset(allowed["capabilities"])
        self.name_prefix: str | None = allowed["namePrefix"] or None
        self._allowed_ids: dict[str, str] = {
            entry["name"]: entry["id"] for entry in allowed["buckets"] or () if entry["name"]
        }
        self.bucket_restriction: frozenset[str] | None = (
            frozenset(self._allowed_ids) if allowed["buckets"] else None
        )

    def bucket(self, name: str) -> "Bucket":
        """Return the bucket of this name; Misconfigured when there is none that the key can see."""
        if self.bucket_restriction is not None and name not in self.bucket_restriction:
            only = ", ".join(sorted(self.bucket_restriction)) or "a bucket that no longer exists"
            raise Misconfigured([f"Bucket {name}: the application key is restricted to {only}."])
        if name in self._allowed_ids:
            return Bucket(self._session, self._allowed_ids[name], name)
        if "listBuckets" not in self.capabilities:
            raise Misconfigured([f"Bucket {name}: the application key lacks the capability listBuckets."])
        account_id = self._session.account_info.get_account_id()
        answer = trouble.patiently(
            f"look up bucket {name}", lambda: self._session.list_buckets(account_id, bucket_name=name)
        )
        for found in answer["buckets"]:
            if found["bucketName"] == name:
                return Bucket(self._session, found["bucketId"], name)
        raise Misconfigured([f"Bucket {name}: this account has no bucket of that name. Check the spelling."])

    def take_transactions(self) -> dict[str, int]:
        """Return the calls made since the last take, by B2's transaction class: A, B, C; zeros left out."""
        return self._session.meter.take()


@dataclass(frozen=True)
class Bucket:
    """One bucket. Thread-safe."""

    _session: session.Session
    id: str
    name: str
    # Tokens of attempts that may have left an object twice: an upload's answer was lost, and its trace not removed.
    untidy: set[str] = field(default_factory=set, compare=False)

    def list_page(self, *, prefix: str, cursor: str | None, count: int) -> Page:
        """Return up to `count` current files from `cursor` on (None: from the start), each read on its own.

        The page's cursor goes on from there and is None at the end; it is B2's own, to be handed back unread.
        """
        doing = f"list bucket {self.name}"
        answer = trouble.patiently(
            doing, lambda: self._session.list_file_names(self.id, cursor, min(count, MOST_PER_PAGE), prefix)
        )
        page = listing.parse(answer, cursor_field="nextFileName", doing=doing)
        if page.cursor is not None:
            _check_advance(cursor, page.cursor, doing)
        return page

    def list_versions(self, prefix: str) -> Iterator[Entry]:
        """Yield every finished version under `prefix`, old ones too; what cannot be read is left out."""
        doing = f"list versions in bucket {self.name}"
        cursor: tuple[str | None, str | None] = (None, None)
        while True:
            call = functools.partial(
                self._session.list_file_versions, self.id, *cursor, VERSIONS_PER_CALL, prefix
            )
            answer = trouble.patiently(doing, call)
            page = listing.parse(answer, cursor_field="nextFileName", doing=doing)
            yield from page.entries
            if page.cursor is None:
                return
            before, cursor = cursor, (page.cursor, answer.get("nextFileId"))
            _check_advance(before, cursor, doing)

    def fate(self, name: str, file_id: str) -> Literal["there", "hidden", "deleted"]:
        """Tell what became of a version that a listing leaves out: it is there all the same, hidden, or deleted."""
        doing = f"list the versions of {name} in bucket {self.name}"
        answer = trouble.patiently(
            doing,
            lambda: self._session.list_file_versions(self.id, name, None, VERSIONS_PER_CALL, name),
        )
        versions = listing.parse_versions(answer, name=name, doing=doing)
        if not any(version == ("upload", file_id) for version in versions):
            return "deleted"
        return "hidden" if versions[0][0] == "hide" else "there"

    def list_unfinished(self, prefix: str) -> Iterator[Unfinished]:
        """Yield the large files under `prefix` that were started and neither finished nor cancelled."""
        doing = f"list unfinished large files in bucket {self.name}"
        cursor: str | None = None
        while True:
            call = functools.partial(
                self._session.list_unfinished_large_files, self.id, cursor, UNFINISHED_PER_CALL, prefix
            )
            answer = trouble.patiently(doing, call)
            yield from listing.parse_unfinished(answer, doing=doing)
            before, cursor = cursor, answer.get("nextFileId")
            if cursor is None:
                return
            _check_advance(before, cursor, doing)

    def read_range(self, file_id: str, start: int, end: int) -> bytes:
        """Return exactly the bytes from `start` up to, not including, `end`; SourceGone if it is gone."""
        if not 0 <= start <= end:
            raise ValueError(f"not a range: {start} to {end}")
        if start == end:
            return b""
        return trouble.patiently(
            f"read bytes {start} to {end} of {file_id}",
            lambda: download.read_range(self._session, file_id, start, end),
        )

    def authorize_downloads(self, prefix: str, *, valid: timedelta) -> str:
        """Return a token that lets its holder download, by name, what begins with `prefix`, and do nothing else.

        Needs the capability shareFiles; goes into the header or the query parameter `Authorization`.
        """
        answer = trouble.patiently(
            f"authorise downloads from bucket {self.name}",
            lambda: self._session.get_download_authorization(self.id, prefix, int(valid.total_seconds())),
        )
        return str(answer["authorizationToken"])

    @property
    def address(self) -> str:
        """The URL that a name is put behind, percent-encoded, to download it."""
        base = self._session.account_info.get_download_url()
        return f"{base}/file/{urllib.parse.quote(self.name)}/"

    def cors_rules(self) -> list[dict[str, Any]]:
        """Return which pages of other origins may read the bucket, in B2's own words; needs listBuckets."""
        account_id = self._session.account_info.get_account_id()
        answer = trouble.patiently(
            f"read the CORS rules of bucket {self.name}",
            lambda: self._session.list_buckets(account_id, bucket_id=self.id),
        )
        return [rule for found in answer["buckets"] for rule in found.get("corsRules") or ()]

    def upload(
        self,
        path: pathlib.Path,
        name: str,
        *,
        content_type: str,
        info: Mapping[str, str],
        beat: beats.Beat,
        pieces: Sequence[Piece] = (),
    ) -> Stored:
        """Upload the file at `path`, in parts if it is large; nothing unfinished stays when it fails.

        What the bucket has of it as `pieces`, side by side, is copied there where it is the same. Each, and what comes
        before them, has to be `smallest_part_bytes` at least.
        """
        return upload.upload(
            self._session,
            self.id,
            path,
            name,
            content_type=content_type,
            info=dict(info),
            beat=beat,
            pieces=pieces,
        )

    @property
    def smallest_part_bytes(self) -> int:
        """How much each part of a large file, but its last, has at least."""
        return int(self._session.account_info.get_absolute_minimum_part_size())

    @property
    def part_bytes(self) -> int:
        """How much is best sent at once."""
        return int(self._session.account_info.get_recommended_part_size())

    def download(self, file_id: str, path: pathlib.Path, *, beat: beats.Beat) -> None:
        """Write the whole file to `path`, its length and, where known, its SHA-1 verified."""
        download.download(self._session, file_id, path, beat=beat)

    def delete(self, file_id: str, name: str) -> None:
        """Delete one version; fine if it is gone already."""
        try:
            trouble.patiently(f"delete {name}", lambda: self._session.delete_file_version(file_id, name))
        except SourceGone:
            return

    def cancel_unfinished(self, file_id: str) -> None:
        """Cancel a large file that was not finished; fine if it is gone already."""
        upload.cancel(self._session, file_id)


def _check_advance(before: object, after: object, doing: str) -> None:
    if before == after:
        raise Outage("b2_unavailable", f"{doing}: B2's cursor stays at {after!r}")


def _problems(key_id: str, key: str, realm: str) -> list[str]:
    problems = []
    for name, value in (("B2_APPLICATION_KEY_ID", key_id), ("B2_APPLICATION_KEY", key)):
        if not value:
            problems.append(f"{name} is empty: copy it from the B2 console.")
        elif not value.isascii() or not value.isprintable() or " " in value:
            problems.append(f"{name} holds characters that no application key has: copy it again.")
    if realm not in v3.REALM_URLS:
        url = urllib.parse.urlsplit(realm)
        if url.scheme not in ("http", "https") or not url.hostname:
            known = ", ".join(sorted(v3.REALM_URLS))
            problems.append(f"B2_REALM: {realm!r} is neither a URL nor one of {known}.")
        elif url.scheme == "http" and not _is_loopback(realm):
            problems.append(f"B2_REALM: {realm} would send the application key unencrypted; use https.")
    return problems


def _is_loopback(realm: str) -> bool:
    return urllib.parse.urlsplit(realm).hostname in ("127.0.0.1", "localhost", "::1")
