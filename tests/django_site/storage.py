"""The site's storage for the bucket: what django-storages is to a site on the S3 API, over the native one."""

import io
import os
from typing import Any

from b2sdk.v2 import B2Api, InMemoryAccountInfo
from b2sdk.v2.exception import FileNotPresent
from django.core.files.base import File
from django.core.files.storage import Storage

SECONDS = 3600


class PrivateB2(Storage):
    """Reads objects, and signs addresses for them."""

    def __init__(self) -> None:
        api = B2Api(InMemoryAccountInfo())
        api.authorize_account(
            realm=os.environ["B2_REALM"],
            application_key_id=os.environ["B2_APPLICATION_KEY_ID"],
            application_key=os.environ["B2_APPLICATION_KEY"],
        )
        self._bucket = api.get_bucket_by_name(os.environ["B2_BUCKET_NAME"])

    def _open(self, name: str, _mode: str = "rb") -> File:
        content = io.BytesIO()
        try:
            self._bucket.download_file_by_name(name).save(content)
        except FileNotPresent as error:
            raise FileNotFoundError(name) from error
        content.seek(0)
        return File(content, name)

    def url(self, name: str | None) -> Any:
        """Return an address that opens this one object for an hour."""
        assert name is not None
        token = self._bucket.get_download_authorization(name, SECONDS)
        return f"{self._bucket.get_download_url(name)}?Authorization={token}"
