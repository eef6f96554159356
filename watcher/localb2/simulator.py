"""Accounts, keys, tokens and buckets of the local B2: b2sdk's own simulator, with what it lacks.

Kept from the simulator: authorisation, application keys, and what buckets are. Replaced: everything about
files (`store` has them), because it keeps all bytes in memory, sorts all names for each page and stops at
4,999 uploads.
"""

import base64
import hashlib
import hmac
import json
import secrets
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

from b2sdk import v3

from watcher.localb2 import cors, store
from watcher.localb2.form import ACCOUNT_ID, JSON
from watcher.localb2.store import Refused

SMALLEST_PART_BYTES = 5_000_000  # what B2 says of itself


class Simulator(v3.RawSimulator):  # type: ignore[misc]
    """The simulator over a `Store`. Thread-safe through `lock`, which callers of inherited methods hold."""

    def __init__(self, files: store.Store, *, realm: str, key_id: str, key: str, part_bytes: int) -> None:
        super().__init__()
        self.lock = threading.RLock()
        self._files = files
        self._part_bytes = part_bytes
        self.API_URL = self.S3_API_URL = self.DOWNLOAD_URL = realm
        self.bucket_id_counter = iter(lambda: secrets.token_hex(12), "")  # the simulator's own stops at 100
        self._secret = bytes.fromhex(files.setting("secret") or secrets.token_hex(32))
        files.set("secret", self._secret.hex())
        for saved in files.setting("keys") or []:
            known = v3.KeySimulator(**saved)
            self.key_id_to_key[known.application_key_id] = known
            self.all_application_keys.append(known)
        self.app_key_counter = int(files.setting("keys_made") or 0)
        self.key_id_to_key[key_id] = v3.KeySimulator(
            ACCOUNT_ID, "master", key_id, key, list(v3.ALL_CAPABILITIES), None, None, None
        )
        for saved in files.setting("buckets") or []:
            revision = saved.pop("revision")
            bucket = self.BUCKET_SIMULATOR_CLASS(self, ACCOUNT_ID, **saved)
            bucket.revision = revision
            self.bucket_name_to_bucket[bucket.bucket_name] = self.bucket_id_to_bucket[bucket.bucket_id] = (
                bucket
            )

    def ensure_buckets(self, names: Sequence[str]) -> None:
        """Create the buckets of these names that do not exist yet: private, and readable for pages of any origin
        that have a token."""
        master = next(key for key in self.key_id_to_key.values() if key.name == "master")
        token = self.authorize_account(self.API_URL, master.application_key_id, master.key)[
            "authorizationToken"
        ]
        for name in names:
            if name not in self.bucket_name_to_bucket:
                self.create_bucket(
                    self.API_URL, token, ACCOUNT_ID, name, "allPrivate", cors_rules=[cors.FOR_ANY_PAGE]
                )
        self.save()

    def save(self) -> None:
        """Write keys and buckets down; called after each change of them."""
        with self.lock:
            self._files.set("keys", [_key(key) for key in self.all_application_keys])
            self._files.set("keys_made", self.app_key_counter)
            self._files.set("buckets", [_bucket(bucket) for bucket in self.bucket_id_to_bucket.values()])

    def answer(self, operation: str, token: str, body: JSON) -> JSON:
        """Return the answer of a call about buckets or keys."""
        act: Callable[[str, JSON], JSON] | None = {
            "b2_list_buckets": self._list_buckets,
            "b2_create_bucket": self._create_bucket,
            "b2_update_bucket": self._update_bucket,
            "b2_delete_bucket": self._delete_bucket,
            "b2_list_keys": self._list_keys,
            "b2_create_key": self._create_key,
            "b2_delete_key": self._delete_key,
        }.get(operation)
        if act is None:
            raise Refused(404, "not_found", f"the local B2 does not have {operation}")
        with self.lock:
            answer = act(token, body)
            if not operation.startswith("b2_list_"):
                self.save()
        return answer

    def authorize_account(
        self, realm_url: str, application_key_id: str, application_key: str
    ) -> dict[str, Any]:
        answer: dict[str, Any] = super().authorize_account(realm_url, application_key_id, application_key)
        # The simulator numbers its tokens: after a restart, an old client's would be taken for another's.
        key = self.auth_token_to_key.pop(answer["authorizationToken"])
        if key.expiration_timestamp_or_none and key.expiration_timestamp_or_none < time.time():
            raise Refused(401, "unauthorized", "the application key has expired")
        self.current_token = answer["authorizationToken"] = f"4_{secrets.token_urlsafe(40)}"
        self.auth_token_to_key[self.current_token] = key
        storage = answer["apiInfo"]["storageApi"]
        storage["recommendedPartSize"] = self._part_bytes
        storage["absoluteMinimumPartSize"] = min(self._part_bytes, SMALLEST_PART_BYTES)
        only = (storage["allowed"]["buckets"] or [{"id": None, "name": None}])[0]
        storage |= {"bucketId": only["id"], "bucketName": only["name"], "infoType": "storageApi"}  # as in v3
        return answer

    def allow(
        self, token: str, capability: str, bucket_id: str | None = None, name: str | None = None
    ) -> None:
        """Raise what B2 answers when `token` may not use `capability` on this bucket and name (or prefix)."""
        with self.lock:
            key = self.auth_token_to_key.get(token)
            if key is None:
                raise Refused(401, "bad_auth_token", "Invalid authorization token")
            if token in self.expired_auth_tokens:
                raise Refused(401, "expired_auth_token", "Authorization token has expired")
        if key.application_key_id not in self.key_id_to_key:
            raise Refused(401, "bad_auth_token", "The application key was deleted")
        if capability not in key.capabilities:
            raise Refused(401, "unauthorized", f"the key lacks {capability}")
        if bucket_id is not None and bucket_id not in self.bucket_id_to_bucket:
            raise Refused(400, "bad_bucket_id", f"Bucket id {bucket_id} does not exist")
        if key.buckets_or_none and bucket_id not in [bucket["id"] for bucket in key.buckets_or_none]:
            raise Refused(401, "unauthorized", "the key is restricted to another bucket")
        if key.name_prefix_or_none and name is not None and not name.startswith(key.name_prefix_or_none):
            raise Refused(401, "unauthorized", "the key is restricted to another prefix")

    def sign(self, **facts: Any) -> str:
        """Return a token that carries `facts`, so that it needs no memory and outlives a restart."""
        body = base64.urlsafe_b64encode(json.dumps(facts).encode()).decode().rstrip("=")
        return f"3_{self._mac(body)}_{body}"

    def signed(self, token: str) -> dict[str, Any]:
        """Return the facts of a token that `sign` made, or refuse it."""
        mac, _, body = token.removeprefix("3_").partition("_")
        if not hmac.compare_digest(mac.encode(), self._mac(body).encode()):
            raise Refused(401, "bad_auth_token", "Invalid authorization token")
        facts: dict[str, Any] = json.loads(base64.urlsafe_b64decode(body + "=" * (-len(body) % 4)))
        if facts["until"] < time.time():
            raise Refused(401, "expired_auth_token", "Authorization token has expired")
        return facts

    def _list_buckets(self, token: str, body: JSON) -> JSON:
        answer = self.list_buckets(
            self.API_URL, token, body["accountId"], body.get("bucketId"), body.get("bucketName")
        )
        return {"buckets": [_plain(bucket) for bucket in answer["buckets"]]}

    def _create_bucket(self, token: str, body: JSON) -> JSON:
        answer = self.create_bucket(
            self.API_URL,
            token,
            body["accountId"],
            body["bucketName"],
            body["bucketType"],
            body.get("bucketInfo"),
            body.get("corsRules"),
            body.get("lifecycleRules"),
        )
        return _plain(answer)

    def _update_bucket(self, token: str, body: JSON) -> JSON:
        known = self.bucket_id_to_bucket.get(body["bucketId"])
        answer = self.update_bucket(
            self.API_URL,
            token,
            body["accountId"],
            body["bucketId"],
            # Asked for by the simulator, which takes an empty list of rules for no wish.
            body.get("bucketType") or (known and known.bucket_type),
            body.get("bucketInfo"),
            body.get("corsRules"),
            body.get("lifecycleRules"),
            body.get("ifRevisionIs"),
        )
        return _plain(answer)

    def _delete_bucket(self, token: str, body: JSON) -> JSON:
        if not self._files.is_empty(body["bucketId"]):
            raise Refused(400, "cannot_delete_non_empty_bucket", "the bucket still holds file versions")
        answer = self.delete_bucket(self.API_URL, token, body["accountId"], body["bucketId"])
        return _plain(answer)

    def _create_key(self, token: str, body: JSON) -> JSON:
        bucket_ids = body.get("bucketIds") or ([body["bucketId"]] if body.get("bucketId") else None)
        answer: JSON = self.create_key(
            self.API_URL,
            token,
            body["accountId"],
            body["capabilities"],
            body["keyName"],
            body.get("validDurationInSeconds"),
            bucket_ids,
            body.get("namePrefix"),
        )
        return answer

    def _delete_key(self, token: str, body: JSON) -> JSON:
        self.allow(token, "deleteKeys")
        answer: JSON = self.delete_key(self.API_URL, token, body["applicationKeyId"])
        return answer

    def _list_keys(self, token: str, body: JSON) -> JSON:
        answer: JSON = self.list_keys(
            self.API_URL,
            token,
            body["accountId"],
            body.get("maxKeyCount") or 1000,
            body.get("startApplicationKeyId"),
        )
        return answer

    def _mac(self, body: str) -> str:
        return hmac.new(self._secret, body.encode(), hashlib.sha256).hexdigest()[:32]

    def _assert_account_auth(
        self,
        api_url: str,
        account_auth_token: str,
        account_id: str,
        capability: str,
        bucket_id: str | None = None,
        file_name: str | None = None,
    ) -> None:
        """Answer the simulator's own question without its assertions."""
        self.allow(account_auth_token, capability, bucket_id, file_name)
        if account_id != ACCOUNT_ID:
            raise Refused(401, "unauthorized", f"accountId {account_id} is not this account")


def _key(key: Any) -> dict[str, Any]:
    return dict(vars(key))


def _bucket(bucket: Any) -> dict[str, Any]:
    kept = (
        "bucket_id",
        "bucket_name",
        "bucket_type",
        "bucket_info",
        "cors_rules",
        "lifecycle_rules",
        "revision",
    )
    return {name: getattr(bucket, name) for name in kept}


def _plain(bucket: JSON) -> JSON:
    return {**bucket, "options": sorted(bucket["options"])}  # the simulator's set is not JSON
