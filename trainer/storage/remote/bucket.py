"""What can a folder of a bucket do, of any kind?

An object appears as a whole or not at all. Every write and removal names the version that it replaces,
and fails if another process has written since. All calls have a deadline.
"""

import abc
import dataclasses
import io
import mmap
from typing import Protocol

from trainer.storage.remote.errors import PreconditionFailed

ABSENT = ""  # The version of an object that does not exist.
DEADLINE_S = 60.0  # For one call, with all its retries; large objects get more.
CONNECT_S = 10.0
READ_S = 30.0  # Between two parts of a response.

Content = bytes | mmap.mmap  # A large file is mapped, so that it need not fit into memory.


class Sink(Protocol):
    """What an object is downloaded into."""

    def write(self, content: bytes, /) -> object: ...


class Bucket(abc.ABC):
    """The objects in a folder of a bucket, by their names relative to it.

    Every method raises BucketError and BucketUnavailable.
    """

    @abc.abstractmethod
    def __str__(self) -> str:
        """The folder's address."""

    @abc.abstractmethod
    def permissions_warning(self) -> str:
        """What this user may lack, in words; "" where nothing is known to be missing."""

    @abc.abstractmethod
    def versions(self) -> dict[str, str]:
        """The version of every object, by name."""

    @abc.abstractmethod
    def version(self, name: str) -> str:
        """The object's version, or ABSENT."""

    @abc.abstractmethod
    def remove(self, name: str, version: str) -> None:
        """Deletes the object, unless it is already gone. Raises PreconditionFailed."""

    @abc.abstractmethod
    def _download(self, name: str, version: str, sink: Sink) -> None:
        """As `download`, but an error of the sink may be taken for one of the bucket."""

    @abc.abstractmethod
    def _replace(self, name: str, content: Content, version: str) -> str:
        """As `write`, but a repeated call fails."""

    def download(self, name: str, version: str, sink: Sink) -> None:
        """Reads the object at that version, in parts. Raises PreconditionFailed, and what `sink` does."""
        try:
            self._download(name, version, _Shielded(sink))
        except _SinkFailed as error:
            raise error.reason from None

    def read(self, name: str, version: str) -> bytes:
        """The object at that version. Raises PreconditionFailed."""
        file = io.BytesIO()
        self.download(name, version, file)
        return file.getvalue()

    def write(self, name: str, content: Content, version: str) -> str:
        """Replaces that version of the object, and returns the new one. Raises PreconditionFailed."""
        try:
            return self._replace(name, content, version)
        except PreconditionFailed:
            # A retry fails like this if an earlier try has written and its response was lost.
            found = self.version(name)
            if found == ABSENT:
                raise
            with memoryview(content) as expected:
                comparison = _Comparison(expected)
                self.download(name, found, comparison)
                if not comparison.is_equal:
                    raise
            return found


class _SinkFailed(Exception):
    def __init__(self, reason: OSError):
        super().__init__(reason)
        self.reason = reason


@dataclasses.dataclass(frozen=True)
class _Shielded:
    """A sink whose errors, as of a full disk, are not those of a connection."""

    sink: Sink

    def write(self, content: bytes) -> object:
        try:
            return self.sink.write(content)
        except OSError as error:
            raise _SinkFailed(error) from None


class _Comparison:
    """A sink that compares what it gets."""

    def __init__(self, expected: memoryview):
        self._expected = expected
        self._num_written = 0
        self._is_alike = True

    def write(self, content: bytes) -> int:
        end = self._num_written + len(content)
        self._is_alike &= self._expected[self._num_written : end] == content
        self._num_written = end
        return len(content)

    @property
    def is_equal(self) -> bool:
        return self._is_alike and self._num_written == len(self._expected)
