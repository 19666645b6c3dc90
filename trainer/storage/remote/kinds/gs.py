"""How are objects in Google Cloud Storage listed, read and written?

With Google's own client. A version is an object's generation.
"""

import contextlib
import functools
import io
from typing import Any

from strategies.packages import exact_version
from trainer.storage.remote import bucket as bucket_lib
from trainer.storage.remote.address import Address, is_relative_path
from trainer.storage.remote.bucket import ABSENT, CONNECT_S, READ_S, Bucket, Content, Sink
from trainer.storage.remote.errors import Faults, PreconditionFailed
from trainer.storage.remote.google_errors import OPENED, translate_errors

_PACKAGE = "google-cloud-storage"
_TIMEOUTS_S = (CONNECT_S, READ_S)
_NO_OBJECT = 0  # The generation that Google's client takes for ABSENT.
_PERMISSIONS = [f"storage.objects.{verb}" for verb in ("list", "get", "create", "delete")]


def open_bucket(address: Address) -> "GoogleBucket":
    """The folder. Makes no call yet. Raises BucketError if Google's client is not installed."""
    faults = Faults(
        address,
        "Google Cloud",
        "run `gcloud auth application-default login`, or give the machine a service account",
        "the role Storage Object User",
    )
    if not exact_version(_PACKAGE):
        raise faults.missing_package(_PACKAGE, "gs")
    return GoogleBucket(address, faults)


class GoogleBucket(Bucket):
    def __init__(self, address: Address, faults: Faults):
        self._address = address
        self._faults = faults

    def __str__(self) -> str:
        return str(self._address)

    def permissions_warning(self) -> str:
        with self._translate_errors("checked"):
            granted = self._bucket.test_iam_permissions(
                _PERMISSIONS, timeout=_TIMEOUTS_S, retry=_retry()
            )
        missing = [name for name in _PERMISSIONS if name not in granted]
        # They may still be granted for the folder alone.
        return f"on the bucket as a whole you lack {', '.join(missing)}" if missing else ""

    def versions(self) -> dict[str, str]:
        prefix = f"{self._address.folder}/"
        with self._translate_errors("listed"):
            blobs = self._client.list_blobs(
                self._bucket,
                prefix=prefix,
                fields="items(name,generation),nextPageToken",
                timeout=_TIMEOUTS_S,
                retry=_retry(),
            )
            named = {blob.name.removeprefix(prefix): str(blob.generation) for blob in blobs}
        # An object may have any name. One that is not a file's path is not from a run.
        return {name: version for name, version in named.items() if is_relative_path(name)}

    def version(self, name: str) -> str:
        with self._translate_errors("checked", name):
            blob = self._bucket.get_blob(
                f"{self._address.folder}/{name}", timeout=_TIMEOUTS_S, retry=_retry()
            )
        return str(blob.generation) if blob else ABSENT

    def _download(self, name: str, version: str, sink: Sink) -> None:
        with self._translate_errors("read", name):
            self._blob(name).download_to_file(
                sink, if_generation_match=_generation(version), timeout=_TIMEOUTS_S, retry=_retry()
            )

    def remove(self, name: str, version: str) -> None:
        try:
            with self._translate_errors("removed", name):
                self._blob(name).delete(
                    if_generation_match=_generation(version), timeout=_TIMEOUTS_S, retry=_retry()
                )
        except PreconditionFailed:
            if self.version(name) != ABSENT:
                raise

    def _replace(self, name: str, content: Content, version: str) -> str:
        blob = self._blob(name)
        with self._translate_errors("written", name):
            blob.upload_from_file(
                io.BytesIO(content) if isinstance(content, bytes) else content,
                rewind=True,
                size=len(content),
                content_type="application/octet-stream",
                if_generation_match=_generation(version),
                checksum="crc32c",
                timeout=_TIMEOUTS_S,
                retry=_retry(),
            )
        return str(blob.generation)

    @functools.cached_property
    def _client(self) -> Any:
        from google.cloud import storage

        with self._translate_errors(OPENED):
            return storage.Client(project=None)  # Objects belong to a bucket, not to a project.

    @property
    def _bucket(self) -> Any:
        return self._client.bucket(self._address.bucket)

    def _blob(self, name: str) -> Any:
        return self._bucket.blob(f"{self._address.folder}/{name}")

    def _translate_errors(self, action: str, name: str = "") -> contextlib.AbstractContextManager:
        return translate_errors(self._faults, action, name)


def _generation(version: str) -> int:
    return int(version or _NO_OBJECT)


def _retry() -> Any:
    from google.cloud.storage.retry import DEFAULT_RETRY

    return DEFAULT_RETRY.with_timeout(bucket_lib.DEADLINE_S)
