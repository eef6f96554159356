"""What each b2_* call of the local B2 does: JSON in, JSON out. Knows nothing of sockets and headers."""

import dataclasses
import secrets
import time
from collections.abc import Callable, Iterable
from datetime import UTC, datetime

from watcher.localb2 import form, simulator, store
from watcher.localb2.form import JSON
from watcher.localb2.simulator import SMALLEST_PART_BYTES
from watcher.localb2.store import File, Part, Refused

LONGEST_LIST = 10_000  # B2's limit of entries per call
UPLOAD_TOKEN_SECONDS = 24 * 3600  # as B2 keeps upload URLs
LONGEST_DOWNLOAD_TOKEN_SECONDS = 604_800


class Operations:
    """The calls by name, over one simulator and one store."""

    def __init__(self, sim: simulator.Simulator, files: store.Store) -> None:
        self.sim = sim
        self.files = files
        self._calls: dict[str, Callable[[str, JSON], JSON]] = {
            "b2_get_download_authorization": self._get_download_authorization,
            "b2_list_file_names": self._list_file_names,
            "b2_list_file_versions": self._list_file_versions,
            "b2_list_unfinished_large_files": self._list_unfinished_large_files,
            "b2_list_parts": self._list_parts,
            "b2_get_file_info": self._get_file_info,
            "b2_get_upload_url": self._get_upload_url,
            "b2_get_upload_part_url": self._get_upload_part_url,
            "b2_start_large_file": self._start_large_file,
            "b2_finish_large_file": self._finish_large_file,
            "b2_cancel_large_file": self._cancel_large_file,
            "b2_hide_file": self._hide_file,
            "b2_delete_file_version": self._delete_file_version,
            "b2_copy_file": self._copy_file,
            "b2_copy_part": self._copy_part,
        }

    def call(self, name: str, token: str, body: JSON) -> JSON:
        """Return the answer of the call `name`, or raise `Refused` (or b2sdk's error, from its simulator)."""
        if act := self._calls.get(name):
            return act(token, body)
        answer: JSON = self.sim.answer(name, token, body)
        return answer

    def _get_download_authorization(self, token: str, body: JSON) -> JSON:
        bucket_id, prefix, seconds = body["bucketId"], body["fileNamePrefix"], body["validDurationInSeconds"]
        self.sim.allow(token, "shareFiles", bucket_id, prefix)
        if not 1 <= seconds <= LONGEST_DOWNLOAD_TOKEN_SECONDS:
            raise Refused(400, "bad_request", "validDurationInSeconds must be from 1 to 604800")
        signed = self.sim.sign(download=bucket_id, prefix=prefix, until=time.time() + seconds)
        return {"bucketId": bucket_id, "fileNamePrefix": prefix, "authorizationToken": signed}

    # Listing.

    def _list_file_names(self, token: str, body: JSON) -> JSON:
        prefix = body.get("prefix") or ""
        self.sim.allow(token, "listFiles", body["bucketId"], prefix)
        found, following = self.files.names(
            body["bucketId"],
            form.text(body.get("startFileName")),
            form.text(prefix),
            form.limit(body, "maxFileCount", LONGEST_LIST),
        )
        return {"files": [form.as_json(file) for file in found], "nextFileName": following}

    def _list_file_versions(self, token: str, body: JSON) -> JSON:
        prefix = body.get("prefix") or ""
        self.sim.allow(token, "listFiles", body["bucketId"], prefix)
        found, following = self.files.versions(
            body["bucketId"],
            form.text(body.get("startFileName")),
            body.get("startFileId"),
            form.text(prefix),
            form.limit(body, "maxFileCount", LONGEST_LIST),
        )
        return {
            "files": [form.as_json(file) for file in found],
            "nextFileName": following and following.name,
            "nextFileId": following and following.file_id,
        }

    def _list_unfinished_large_files(self, token: str, body: JSON) -> JSON:
        prefix = body.get("namePrefix") or body.get("prefix") or ""
        self.sim.allow(token, "listFiles", body["bucketId"], prefix)
        found, following = self.files.unfinished(
            body["bucketId"],
            body.get("startFileId"),
            form.text(prefix),
            form.limit(body, "maxFileCount", 100),
        )
        return {"files": [form.as_json(file) for file in found], "nextFileId": following}

    def _list_parts(self, token: str, body: JSON) -> JSON:
        file = self._unfinished(token, body["fileId"])
        count, first = form.limit(body, "maxPartCount", 1000), body.get("startPartNumber") or 1
        parts = [part for part in self.files.parts(file.file_id) if part.number >= first]
        following = parts[count].number if len(parts) > count else None
        return {
            "parts": [form.part_json(file.file_id, part) for part in parts[:count]],
            "nextPartNumber": following,
        }

    def _get_file_info(self, token: str, body: JSON) -> JSON:
        file = self.files.file(body["fileId"])
        self.sim.allow(token, "readFiles", file.bucket_id, file.name)
        return form.as_json(file)

    # Changing files.

    def _get_upload_url(self, token: str, body: JSON) -> JSON:
        self.sim.allow(token, "writeFiles", body["bucketId"])
        signed = self.sim.sign(upload=body["bucketId"], by=token, until=time.time() + UPLOAD_TOKEN_SECONDS)
        url = f"{self.sim.API_URL}/b2api/v4/b2_upload_file/{body['bucketId']}/{secrets.token_hex(8)}"
        return {"bucketId": body["bucketId"], "uploadUrl": url, "authorizationToken": signed}

    def _get_upload_part_url(self, token: str, body: JSON) -> JSON:
        file = self._unfinished(token, body["fileId"])
        signed = self.sim.sign(part_of=file.file_id, by=token, until=time.time() + UPLOAD_TOKEN_SECONDS)
        url = f"{self.sim.API_URL}/b2api/v4/b2_upload_part/{file.file_id}/{secrets.token_hex(8)}"
        return {"fileId": file.file_id, "uploadUrl": url, "authorizationToken": signed}

    def _start_large_file(self, token: str, body: JSON) -> JSON:
        self.sim.allow(token, "writeFiles", body["bucketId"], body["fileName"])
        file = self._new(
            body["bucketId"],
            body["fileName"],
            action="start",
            content_type=body["contentType"],
            info=body.get("fileInfo"),
            uploaded_ms=body.get("customUploadTimestamp"),
        )
        self.files.add(file)
        return form.as_json(file)

    def _finish_large_file(self, token: str, body: JSON) -> JSON:
        file = self._unfinished(token, body["fileId"])
        parts = self.files.parts(file.file_id)
        if not parts or [part.number for part in parts] != list(range(1, len(parts) + 1)):
            raise Refused(400, "missing_part", f"{file.file_id} lacks parts")
        if [part.sha1 for part in parts] != body["partSha1Array"]:
            raise Refused(400, "part_sha1_mismatch", "partSha1Array does not match the parts")
        if any(part.size < SMALLEST_PART_BYTES for part in parts[:-1]):
            raise Refused(400, "bad_request", "each part but the last must be at least 5000000 bytes")
        return form.as_json(self.files.finish(file.file_id, sum(part.size for part in parts)))

    def _cancel_large_file(self, token: str, body: JSON) -> JSON:
        file = self._unfinished(token, body["fileId"])
        self.files.remove(file.file_id)
        return form.short_json(file)

    def _hide_file(self, token: str, body: JSON) -> JSON:
        self.sim.allow(token, "writeFiles", body["bucketId"], body["fileName"])
        newest = self.files.current(body["bucketId"], body["fileName"])
        if newest is None:
            raise Refused(400, "no_such_file", f"File not present: {body['fileName']}")
        if newest.action == "hide":
            raise Refused(400, "already_hidden", f"File already hidden: {body['fileName']}")
        file = self._new(body["bucketId"], body["fileName"], action="hide", content_type=None)
        self.files.add(file)
        return form.as_json(file)

    def _delete_file_version(self, token: str, body: JSON) -> JSON:
        try:
            file = self.files.file(body["fileId"])
        except Refused as gone:
            raise Refused(400, "file_not_present", gone.message) from None
        self.sim.allow(token, "deleteFiles", file.bucket_id, file.name)
        if file.name != body["fileName"]:
            raise Refused(400, "file_not_present", f"{file.file_id} has another name")
        self.files.remove(file.file_id)
        return {"fileId": file.file_id, "fileName": file.name}

    def _copy_file(self, token: str, body: JSON) -> JSON:
        source = self._readable(token, body["sourceFileId"])
        bucket_id = body.get("destinationBucketId") or source.bucket_id
        self.sim.allow(token, "writeFiles", bucket_id, body["fileName"])
        replaces = body.get("metadataDirective") == "REPLACE"
        part = self._copied(source, body, 1)
        return self._stored(
            self._new(
                bucket_id,
                body["fileName"],
                content_type=body["contentType"] if replaces else source.content_type,
                info=body.get("fileInfo") if replaces else source.info,
            ),
            part,
        )

    def _copy_part(self, token: str, body: JSON) -> JSON:
        source = self._readable(token, body["sourceFileId"])
        file = self._unfinished(token, body["largeFileId"])
        return self._stored_part(file.file_id, self._copied(source, body, body["partNumber"]))

    # Bytes that arrive over HTTP.

    def upload(
        self,
        token: str,
        *,
        name: str,
        content_type: str,
        info: dict[str, str],
        uploaded_ms: int | None,
        blocks: Iterable[bytes],
        sha1: Callable[[], str | None],
    ) -> JSON:
        """Store a small file; `sha1` is asked once the bytes are in, and None means "do not verify"."""
        signed = self._signed_by(token, "upload")
        self.sim.allow(signed["by"], "writeFiles", signed["upload"], name)
        file = self._new(
            signed["upload"], name, content_type=content_type, info=info, uploaded_ms=uploaded_ms
        )
        return self._stored(file, self._received(blocks, 1, sha1))

    def upload_part(
        self, token: str, *, number: int, blocks: Iterable[bytes], sha1: Callable[[], str | None]
    ) -> JSON:
        signed = self._signed_by(token, "part_of")
        if not 1 <= number <= 10_000:
            raise Refused(400, "bad_request", "part numbers run from 1 to 10000")
        return self._stored_part(signed["part_of"], self._received(blocks, number, sha1))

    def download(self, token: str, *, bucket: str | None = None, name: str = "", file_id: str = "") -> File:
        """Return the file that may be downloaded with `token`, by id or by bucket name and file name."""
        found: File | None
        if bucket is None:
            found = self.files.file(file_id)
            holder = self.sim.bucket_id_to_bucket[found.bucket_id]
        else:
            holder = self.sim.bucket_name_to_bucket.get(bucket)
            if holder is None:
                raise Refused(404, "not_found", f"Bucket does not exist: {bucket}")
            found = self.files.current(holder.bucket_id, name)
        if holder.bucket_type != "allPublic":
            if token.startswith("3_"):
                signed = self._signed_by(token, "download")
                if (
                    bucket is None
                    or signed["download"] != holder.bucket_id
                    or not name.startswith(signed["prefix"])
                ):
                    raise Refused(
                        401, "unauthorized", "the token is for another bucket or prefix, or for names only"
                    )
            else:
                self.sim.allow(token, "readFiles", holder.bucket_id, found.name if found else name)
        if found is None or found.action != "upload":
            raise Refused(404, "not_found", f"File not present: {name or file_id}")
        return found

    def cors_rules(self, bucket: str) -> list[JSON]:
        """Return the rules of the bucket of this name; none if there is no such bucket."""
        holder = self.sim.bucket_name_to_bucket.get(bucket)
        return list(holder.cors_rules or ()) if holder else []

    def _signed_by(self, token: str, purpose: str) -> JSON:
        signed = self.sim.signed(token)
        if purpose not in signed:
            raise Refused(401, "bad_auth_token", "the token is for something else")
        return signed

    def _received(self, blocks: Iterable[bytes], number: int, sha1: Callable[[], str | None]) -> Part:
        part = self.files.receive(blocks, number, _now_ms())
        try:
            expected = sha1()
            if expected is not None and expected != part.sha1:
                raise Refused(400, "bad_request", "Sha1 did not match data received")
        except BaseException:
            self.files.discard(part)
            raise
        return part

    def _stored(self, file: File, part: Part) -> JSON:
        file = dataclasses.replace(file, size=part.size, sha1=part.sha1)
        self.files.add(file, part)
        return form.as_json(file)

    def _stored_part(self, file_id: str, part: Part) -> JSON:
        try:
            self.files.add_part(file_id, part)
        except BaseException:
            self.files.discard(part)
            raise
        return form.part_json(file_id, part)

    def _copied(self, source: File, body: JSON, number: int) -> Part:
        start, end = form.byte_range(body.get("range"), source.size) or (0, source.size)
        return self.files.receive(self.files.read(source.file_id, start, end), number, _now_ms())

    def _readable(self, token: str, file_id: str) -> File:
        file = self.files.file(file_id)
        self.sim.allow(token, "readFiles", file.bucket_id, file.name)
        return file

    def _unfinished(self, token: str, file_id: str) -> File:
        try:
            file = self.files.file(file_id)
        except Refused:
            file = None
        if file is None or file.action != "start":
            raise Refused(400, "bad_request", f"No active upload for: {file_id}")
        self.sim.allow(token, "writeFiles", file.bucket_id, file.name)
        return file

    def _new(
        self,
        bucket_id: str,
        name: str,
        *,
        content_type: str | None,
        action: str = "upload",
        info: dict[str, str] | None = None,
        uploaded_ms: int | None = None,
    ) -> File:
        now = datetime.now(UTC)
        kind = 2 if action == "start" else 1  # as in the ids that B2 gives
        stamp = now.strftime("d%Y%m%d_m%H%M%S")
        file_id = (
            f"4_z{bucket_id}_f{kind}{secrets.token_hex(8)}_{stamp}_c000_v0001000_t{secrets.randbelow(60):04d}"
        )
        if content_type in (None, "", "b2/x-auto") and action != "hide":
            content_type = "application/octet-stream"
        if content_type and not content_type.isprintable():
            raise Refused(400, "bad_request", "the content type holds control characters")
        return File(
            file_id,
            bucket_id,
            form.checked_name(name),
            action,
            0,
            None,
            content_type,
            form.checked_info(info or {}),
            uploaded_ms or _now_ms(),
        )


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
