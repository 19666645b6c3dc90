"""What lies in a folder of a bucket, and how is it read and written?

By Google's own client. An object appears whole or not at all, and every write and removal names the
generation it replaces: it fails where somebody else has written meanwhile. All calls have a deadline.
"""

import base64
import contextlib
import dataclasses
import functools
import re
from collections.abc import Iterator
from typing import Any

from strategies.errors import InputError, Resumable

SCHEME = "gs://"
ABSENT = 0  # The generation of what is not there.
DEADLINE_S = 60.0  # Of one call, with all its repetitions.
_ANSWER_S = (10.0, 30.0)  # To connect, and between two parts of an answer.
_BUCKET = re.compile(r"[a-z0-9][a-z0-9._-]{1,220}[a-z0-9]")
# What a run does to its objects, in the words of Google's own roles.
_NEEDED = [f"storage.objects.{act}" for act in ("list", "get", "create", "delete")]


class BucketError(InputError):
    """The bucket cannot be used as it is: it is not there, or not for this user."""


class Unreachable(Resumable):
    """The bucket did not answer in time, or answered that it cannot now."""


class Changed(Exception):
    """Somebody else has written or removed the object meanwhile."""


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
        found = self._found(name)
        return int(found.generation) if found else ABSENT

    def read(self, name: str, generation: int) -> bytes:
        """What the object held at that generation. Raises Changed, BucketError, Unreachable."""
        with self._explained(f"read ({name})"):
            return self._blob(name).download_as_bytes(
                if_generation_match=generation, timeout=_ANSWER_S, retry=_retry()
            )

    def write(self, name: str, content: bytes, generation: int) -> int:
        """Puts it in the place of that generation, and returns the new one.

        Raises Changed, BucketError, Unreachable.
        """
        blob = self._blob(name)
        try:
            with self._explained(f"written ({name})"):
                blob.upload_from_string(
                    content,
                    content_type="application/octet-stream",
                    if_generation_match=generation,
                    checksum="crc32c",
                    timeout=_ANSWER_S,
                    retry=_retry(),
                )
        except Changed:
            return self._own(name, content)  # By a try of this call whose answer was lost?
        return int(blob.generation)

    def remove(self, name: str, generation: int) -> None:
        """Takes the object away, unless it is gone. Raises Changed, BucketError, Unreachable."""
        try:
            with self._explained(f"removed ({name})"):
                self._blob(name).delete(
                    if_generation_match=generation, timeout=_ANSWER_S, retry=_retry()
                )
        except Changed:
            if self.generation(name):
                raise

    def _own(self, name: str, content: bytes) -> int:
        found = self._found(name)
        if not found or found.crc32c != _crc32c(content):
            raise Changed(name)
        return int(found.generation)

    def _found(self, name: str) -> Any | None:
        with self._explained(f"looked at ({name})"):
            return self._bucket.get_blob(
                f"{self._address.folder}/{name}", timeout=_ANSWER_S, retry=_retry()
            )

    @functools.cached_property
    def _client(self) -> Any:
        try:
            from google.cloud import storage
        except ImportError as error:
            raise BucketError(
                f"`--workdir` at gs:// needs the package google-cloud-storage. Received: {error}; run "
                "`pip install 'muster[gs]'`."
            ) from None
        with self._explained("opened"):
            return storage.Client()

    @property
    def _bucket(self) -> Any:
        return self._client.bucket(self._address.bucket)

    def _blob(self, name: str) -> Any:
        return self._bucket.blob(f"{self._address.folder}/{name}")

    @contextlib.contextmanager
    def _explained(self, done: str) -> Iterator[None]:
        """Turns what the client raises into this file's errors."""
        import requests
        from google.api_core import exceptions as api
        from google.auth import exceptions as auth

        try:
            yield
        except api.PreconditionFailed as error:
            raise Changed(done) from error
        except (auth.DefaultCredentialsError, api.Unauthorized) as error:
            raise BucketError(
                f"`--workdir` needs Google Cloud's credentials for {self._address}. Received: "
                f"{_first_line(error)}; run `gcloud auth application-default login`, or give the "
                "machine a service account."
            ) from None
        except api.Forbidden as error:
            raise BucketError(
                f"`--workdir` could not be {done}. Received: {self._address}, where you may not "
                f"({_first_line(error)}); have the role Storage Object User given to you."
            ) from None
        except api.NotFound as error:
            if "(" in done:
                raise Changed(
                    done
                ) from error  # The object; a bucket that is not there is found so first.
            raise BucketError(
                f"`--workdir` is in a bucket that is not there. Received: {self._address}; make it, or "
                "correct the name."
            ) from None
        except (
            api.GoogleAPIError,
            auth.GoogleAuthError,
            requests.RequestException,
            OSError,
        ) as error:
            raise Unreachable(
                f"`--workdir` could not be {done}. Received: {self._address}, {_first_line(error)}; run "
                "the same command again to go on."
            ) from None


def _is_path(name: str) -> bool:
    """Whether it names a place below a folder, and below it alone."""
    return all(part not in ("", ".", "..") and part.isprintable() for part in name.split("/"))


def _retry() -> Any:
    from google.cloud.storage.retry import DEFAULT_RETRY

    return DEFAULT_RETRY.with_timeout(DEADLINE_S)


def _crc32c(content: bytes) -> str:
    import google_crc32c

    return base64.b64encode(google_crc32c.Checksum(content).digest()).decode()


def _first_line(error: Exception) -> str:
    lines = str(error).splitlines()
    return f"{type(error).__name__}: {lines[0] if lines else ''}"
