"""What lies in a folder of a bucket, and how is it read and written?

By Google's own client. An object appears whole or not at all, and every write and removal names the
generation it replaces: it fails where somebody else has written meanwhile. All calls have a deadline.
"""

import contextlib
import dataclasses
import functools
import re
from typing import Any

from strategies.packages import exact_version
from trainer.storage.remote.errors import OPENED, BucketError, PreconditionFailed, explained

SCHEME = "gs://"
_PACKAGE = "google-cloud-storage"
ABSENT = 0  # The generation of what is not there.
DEADLINE_S = 60.0  # Of one call, with all its repetitions.
_ANSWER_S = (10.0, 30.0)  # To connect, and between two parts of an answer.
_BUCKET = re.compile(r"[a-z0-9][a-z0-9._-]{1,220}[a-z0-9]")
# What a run does to its objects, in the words of Google's own roles.
_NEEDED = [f"storage.objects.{act}" for act in ("list", "get", "create", "delete")]


@dataclasses.dataclass(frozen=True)
class Address:
    """`gs://bucket/folder`."""

    bucket: str
    folder: str

    @classmethod
    def parse(cls, text: str) -> "Address":
        """Raises BucketError where the text is no folder of a bucket."""
        bucket, _, folder = text.removeprefix(SCHEME).partition("/")
        folder = folder.rstrip("/")
        if not _BUCKET.fullmatch(bucket) or not _is_path(folder):
            raise BucketError(
                f"`--workdir` must be a folder of a bucket, as gs://bucket/runs/one. Received: {text!r}."
            )
        return cls(bucket, folder)

    def __str__(self) -> str:
        return f"{SCHEME}{self.bucket}/{self.folder}"


class Objects:
    """The objects below an address, by their names there."""

    def __init__(self, address: Address):
        """Calls nothing yet. Raises BucketError without Google's client."""
        if not exact_version(_PACKAGE):
            raise BucketError(
                f"`--workdir` at gs:// needs the package {_PACKAGE}. Received: {address}, without it; "
                "run `pip install 'muster[gs]'`."
            )
        self._address = address

    def __str__(self) -> str:
        return str(self._address)

    def lacking(self) -> list[str]:
        """Which permissions this user lacks on the bucket as a whole. Raises BucketError, Unreachable.

        They may still be granted for the folder alone.
        """
        with self._explained("looked at"):
            granted = self._bucket.test_iam_permissions(_NEEDED, timeout=_ANSWER_S, retry=_retry())
        return [name for name in _NEEDED if name not in granted]

    def generations(self) -> dict[str, int]:
        """The generation of every object, by name. Raises BucketError, Unreachable."""
        prefix = f"{self._address.folder}/"
        with self._explained("listed"):
            found = self._client.list_blobs(
                self._bucket,
                prefix=prefix,
                fields="items(name,generation),nextPageToken",
                timeout=_ANSWER_S,
                retry=_retry(),
            )
            named = {blob.name.removeprefix(prefix): int(blob.generation) for blob in found}
        # An object may have any name; one that is no path of a file is none of ours.
        return {name: number for name, number in named.items() if _is_path(name)}

    def generation(self, name: str) -> int:
        """The object's generation, or ABSENT. Raises BucketError, Unreachable."""
        with self._explained("looked at", name):
            found = self._bucket.get_blob(
                f"{self._address.folder}/{name}", timeout=_ANSWER_S, retry=_retry()
            )
        return int(found.generation) if found else ABSENT

    def read(self, name: str, generation: int) -> bytes:
        """The object at that generation. Raises PreconditionFailed, BucketError, Unreachable."""
        with self._explained("read", name):
            return self._blob(name).download_as_bytes(
                if_generation_match=generation, timeout=_ANSWER_S, retry=_retry()
            )

    def write(self, name: str, content: bytes, generation: int) -> int:
        """Puts it in the place of that generation, and returns the new one.

        Raises PreconditionFailed, BucketError, Unreachable.
        """
        blob = self._blob(name)
        try:
            with self._explained("written", name):
                blob.upload_from_string(
                    content,
                    content_type="application/octet-stream",
                    if_generation_match=generation,
                    checksum="crc32c",
                    timeout=_ANSWER_S,
                    retry=_retry(),
                )
        except PreconditionFailed:
            return self._own(name, content)  # By a try of this call whose answer was lost?
        return int(blob.generation)

    def remove(self, name: str, generation: int) -> None:
        """Deletes the object, unless it is gone. Raises PreconditionFailed, BucketError, Unreachable."""
        try:
            with self._explained("removed", name):
                self._blob(name).delete(
                    if_generation_match=generation, timeout=_ANSWER_S, retry=_retry()
                )
        except PreconditionFailed:
            if self.generation(name):
                raise

    def _own(self, name: str, content: bytes) -> int:
        generation = self.generation(name)
        if not generation or self.read(name, generation) != content:
            raise PreconditionFailed(name)
        return generation

    @functools.cached_property
    def _client(self) -> Any:
        from google.cloud import storage

        with self._explained(OPENED):
            return storage.Client(project=None)  # Objects belong to a bucket, and need no project.

    @property
    def _bucket(self) -> Any:
        return self._client.bucket(self._address.bucket)

    def _blob(self, name: str) -> Any:
        return self._bucket.blob(f"{self._address.folder}/{name}")

    def _explained(self, done: str, name: str = "") -> contextlib.AbstractContextManager:
        return explained(self._address, done, name)


def _is_path(name: str) -> bool:
    """Whether it names a place below a folder, and below it alone."""
    return all(part not in ("", ".", "..") and part.isprintable() for part in name.split("/"))


def _retry() -> Any:
    from google.cloud.storage.retry import DEFAULT_RETRY

    return DEFAULT_RETRY.with_timeout(DEADLINE_S)
