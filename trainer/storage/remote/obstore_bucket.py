"""How are objects in an S3 or Azure bucket listed, read and written?

With obstore. A version is an object's ETag. S3 derives it from the content alone: two writes of the same
bytes are one version, which does no harm to files; the lease makes each of its writes unique.

obstore's removal has no precondition. So the object is first replaced by an empty one, on the condition
that it has not changed, and that is removed: other runs cannot write in between, as they expect another
version. The lease is never removed.
"""

import contextlib
import functools
from collections.abc import Callable
from datetime import timedelta
from typing import Any

from trainer.storage.remote import bucket as bucket_lib
from trainer.storage.remote import obstore_errors
from trainer.storage.remote.address import Address
from trainer.storage.remote.bucket import ABSENT, CONNECT_S, READ_S, Bucket, Content, Sink
from trainer.storage.remote.errors import Faults, PermissionMissing, PreconditionFailed

_PROBE = ".check"  # An object that never exists.
_NO_VERSION = "none"  # An ETag that no object has.
_LARGE = 8 << 20  # Bytes.
_SLOWEST = 1 << 20  # Bytes a second, of an upload.
_PART = 8 << 20  # Bytes of a download that are in memory.


class ObstoreBucket(Bucket):
    """`open_store(client options, retry options)` opens the store of obstore."""

    def __init__(
        self,
        address: Address,
        faults: Faults,
        open_store: Callable[[dict[str, Any], dict[str, Any]], Any],
        permissions: tuple[str, str],
        max_bytes: int,
    ):
        """`permissions`: to write and to delete. `max_bytes`: of an object that is written whole."""
        self._address = address
        self._faults = faults
        self._open_store = open_store
        self._permissions = permissions
        self._max_bytes = max_bytes
        self._is_conditional = False  # Until the server has shown that it is.

    def __str__(self) -> str:
        return str(self._address)

    def permissions_warning(self) -> str:
        """Tries what changes nothing: to replace, and to delete, an object that does not exist."""
        missing = []
        for permission, attempt in zip(
            self._permissions, (self._require_updates, self._remove_probe), strict=True
        ):
            try:
                attempt()
            except PermissionMissing:
                missing.append(permission)
        return f"you lack {', '.join(missing)}" if missing else ""

    def versions(self) -> dict[str, str]:
        with self._translate_errors("listed"):
            return {
                one["path"]: _unquoted(one["e_tag"])
                for batch in self._store.list()
                for one in batch
            }

    def version(self, name: str) -> str:
        try:
            with self._translate_errors("checked", name):
                return _unquoted(self._store.head(name)["e_tag"])
        except PreconditionFailed:
            return ABSENT

    def _download(self, name: str, version: str, sink: Sink) -> None:
        with self._translate_errors("read", name):
            result = self._store.get(name, options={"if_match": _quoted(version)})
            for part in result.stream(min_chunk_size=_PART):
                sink.write(bytes(part))

    def remove(self, name: str, version: str) -> None:
        try:
            self.write(name, b"", version)
        except PreconditionFailed:
            if self.version(name) != ABSENT:
                raise
            return
        self._remove(name)

    def _replace(self, name: str, content: Content, version: str) -> str:
        if len(content) > self._max_bytes:
            raise self._faults.unusable(
                f"written ({name})",
                f"which takes {self._max_bytes:,} bytes in one conditional write, not "
                f"{len(content):,}",
                "use a folder on this machine, or gs://",
            )
        if not self._is_conditional:
            self._require_updates()
        written = self._put(name, content, version)
        if not self._is_conditional:
            self._require_creations(name, content)
            self._is_conditional = True
        return written

    def _put(self, name: str, content: Content, version: str) -> str:
        store = self._store if len(content) <= _LARGE else self._store_for(len(content))
        mode = "create" if version == ABSENT else {"e_tag": _quoted(version)}
        with self._translate_errors("written", name), memoryview(content) as view:
            return _unquoted(store.put(name, view, mode=mode, use_multipart=False)["e_tag"])

    def _require_updates(self) -> None:
        """Raises BucketError if the server replaces an object that is not the expected one."""
        try:
            self._put(_PROBE, b"", _NO_VERSION)
        except PreconditionFailed:
            return
        self._remove_probe()
        raise obstore_errors.ignores_conditions(self._faults, "it ignored If-Match")

    def _require_creations(self, name: str, content: Content) -> None:
        """Raises BucketError if the server creates an object that exists: `name`, just written."""
        try:
            self._put(name, content, ABSENT)
        except PreconditionFailed:
            return
        raise obstore_errors.ignores_conditions(self._faults, "it ignored If-None-Match")

    def _remove_probe(self) -> None:
        self._remove(_PROBE)

    def _remove(self, name: str) -> None:
        with (
            contextlib.suppress(PreconditionFailed),  # Azure, of an object that is gone.
            self._translate_errors("removed", name),
        ):
            self._store.delete(name)

    @functools.cached_property
    def _store(self) -> Any:
        return self._store_for(_LARGE)

    def _store_for(self, num_bytes: int) -> Any:
        """A store whose calls have time for that many bytes."""
        client = {
            "connect_timeout": timedelta(seconds=min(CONNECT_S, bucket_lib.DEADLINE_S)),
            # It also limits a whole upload, as the response begins after it.
            "read_timeout": timedelta(seconds=READ_S + num_bytes / _SLOWEST),
            "timeout": timedelta(days=1),  # Of a whole download, which may be of any size.
        }
        retry = {"retry_timeout": timedelta(seconds=bucket_lib.DEADLINE_S)}
        with self._translate_errors(obstore_errors.OPENED):
            return self._open_store(client, retry)

    def _translate_errors(self, action: str, name: str = "") -> contextlib.AbstractContextManager:
        return obstore_errors.translate_errors(self._faults, action, name)


def _quoted(e_tag: str) -> str:
    return f'"{e_tag}"'


def _unquoted(e_tag: str) -> str:
    """Azure lists ETags without quotes, and returns them with quotes elsewhere."""
    return e_tag.strip('"')
