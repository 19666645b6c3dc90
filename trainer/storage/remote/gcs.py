"""How are the objects in a folder of a bucket listed, read and written?

`BucketFolder` uses Google's own client. An object appears as a whole or not at all. Every write and
removal names the generation that it replaces, and fails if another process has written since. All calls
have a deadline.
"""

import contextlib
import dataclasses
import functools
import re
from typing import Any

from strategies.packages import exact_version
from trainer.storage.remote.errors import (
    OPENED,
    BucketError,
    PreconditionFailed,
    translate_errors,
)

SCHEME = "gs://"
_PACKAGE = "google-cloud-storage"
ABSENT = 0  # The generation of an object that does not exist.
DEADLINE_S = 60.0  # For one call, with all its retries.
_TIMEOUTS_S = (10.0, 30.0)  # To connect, and between two parts of a response.
_BUCKET = re.compile(r"[a-z0-9][a-z0-9._-]{1,220}[a-z0-9]")
_PERMISSIONS = [f"storage.objects.{verb}" for verb in ("list", "get", "create", "delete")]


@dataclasses.dataclass(frozen=True)
class Address:
    """`gs://bucket/folder`."""

    bucket: str
    folder: str

    @classmethod
    def parse(cls, text: str) -> "Address":
        """Raises BucketError if the text does not name a folder in a bucket."""
        bucket, _, folder = text.removeprefix(SCHEME).partition("/")
        folder = folder.rstrip("/")
        if not _BUCKET.fullmatch(bucket) or not _is_relative_path(folder):
            raise BucketError(
                "`--workdir` must be a folder in a bucket, as in gs://bucket/runs/one. Received: "
                f"{text!r}."
            )
        return cls(bucket, folder)

    def __str__(self) -> str:
        return f"{SCHEME}{self.bucket}/{self.folder}"


class BucketFolder:
    """The objects in a folder of a bucket, by their names relative to it."""

    def __init__(self, address: Address):
        """Makes no call yet. Raises BucketError if Google's client is not installed."""
        if not exact_version(_PACKAGE):
            raise BucketError(
                f"`--workdir` at gs:// needs the package {_PACKAGE}. Received: {address}, without it; "
                "run `pip install 'muster[gs]'`."
            )
        self._address = address

    def __str__(self) -> str:
        return str(self._address)

    def missing_permissions(self) -> list[str]:
        """The permissions that this user lacks on the bucket as a whole.

        They may still be granted for the folder alone. Raises BucketError, BucketUnavailable.
        """
        with self._translate_errors("checked"):
            granted = self._bucket.test_iam_permissions(
                _PERMISSIONS, timeout=_TIMEOUTS_S, retry=_retry()
            )
        return [name for name in _PERMISSIONS if name not in granted]

    def generations(self) -> dict[str, int]:
        """The generation of every object, by name. Raises BucketError, BucketUnavailable."""
        prefix = f"{self._address.folder}/"
        with self._translate_errors("listed"):
            blobs = self._client.list_blobs(
                self._bucket,
                prefix=prefix,
                fields="items(name,generation),nextPageToken",
                timeout=_TIMEOUTS_S,
                retry=_retry(),
            )
            named = {blob.name.removeprefix(prefix): int(blob.generation) for blob in blobs}
        # An object may have any name. One that is not a file's path is not from a run.
        return {name: number for name, number in named.items() if _is_relative_path(name)}

    def generation(self, name: str) -> int:
        """The object's generation, or ABSENT. Raises BucketError, BucketUnavailable."""
        with self._translate_errors("checked", name):
            blob = self._bucket.get_blob(
                f"{self._address.folder}/{name}", timeout=_TIMEOUTS_S, retry=_retry()
            )
        return int(blob.generation) if blob else ABSENT

    def read(self, name: str, generation: int) -> bytes:
        """The object at that generation.

        Raises PreconditionFailed, BucketError, BucketUnavailable.
        """
        with self._translate_errors("read", name):
            return self._blob(name).download_as_bytes(
                if_generation_match=generation, timeout=_TIMEOUTS_S, retry=_retry()
            )

    def write(self, name: str, content: bytes, generation: int) -> int:
        """Replaces that generation of the object, and returns the new one.

        Raises PreconditionFailed, BucketError, BucketUnavailable.
        """
        blob = self._blob(name)
        try:
            with self._translate_errors("written", name):
                blob.upload_from_string(
                    content,
                    content_type="application/octet-stream",
                    if_generation_match=generation,
                    checksum="crc32c",
                    timeout=_TIMEOUTS_S,
                    retry=_retry(),
                )
        except PreconditionFailed:
            # A retry fails like this if an earlier try has written and its response was lost.
            return self._generation_with(name, content)
        return int(blob.generation)

    def remove(self, name: str, generation: int) -> None:
        """Deletes the object, unless it is already gone.

        Raises PreconditionFailed, BucketError, BucketUnavailable.
        """
        try:
            with self._translate_errors("removed", name):
                self._blob(name).delete(
                    if_generation_match=generation, timeout=_TIMEOUTS_S, retry=_retry()
                )
        except PreconditionFailed:
            if self.generation(name):
                raise

    def _generation_with(self, name: str, content: bytes) -> int:
        """The object's generation if it has this content. Raises PreconditionFailed if not."""
        generation = self.generation(name)
        if not generation or self.read(name, generation) != content:
            raise PreconditionFailed(name)
        return generation

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
        return translate_errors(self._address, action, name)


def _is_relative_path(name: str) -> bool:
    """Whether it names a file below a folder: `..` could name one outside of it."""
    return all(part not in ("", ".", "..") and part.isprintable() for part in name.split("/"))


def _retry() -> Any:
    from google.cloud.storage.retry import DEFAULT_RETRY

    return DEFAULT_RETRY.with_timeout(DEADLINE_S)
