"""How are a local folder and one in a bucket kept the same?

One of the two is newer, and `Mirror` makes the other like it: `fetch` once at the start of a run, then
`push` again and again. What has been pushed is consistent at every moment, so that a run that is killed
resumes from it: metrics are pushed before the checkpoint that was saved after them, a checkpoint's arrays
before its manifest, and the files that report an end last.
"""

import contextlib
import dataclasses
import json
import mmap
import os
import pathlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import BinaryIO

from trainer.storage import manifest as manifest_lib
from trainer.storage.atomic_files import replacing, write_whole
from trainer.storage.remote.bucket import ABSENT, Bucket, Content
from trainer.storage.remote.errors import PreconditionFailed

# These report the end of a run, and of a sweep's trials.
_PUSHED_LAST = ("summary.json", "ledger.jsonl")
_LARGE = 1 << 20  # Bytes.


@dataclasses.dataclass(frozen=True)
class _SyncedFile:
    """A file as it was when it was last equal to its object; version ABSENT: it never was."""

    version: str
    size: int = -1
    modified_ns: int = 0
    inode: int = 0

    def matches(self, stat: os.stat_result) -> bool:
        found = stat.st_size, stat.st_mtime_ns, stat.st_ino
        return found == (self.size, self.modified_ns, self.inode)


class Mirror:
    """The files in a `local` folder and the objects in a `remote` one whose names it `includes`.

    `record` is a file in `local` that remembers for the next process what was equal.
    """

    def __init__(
        self,
        local: pathlib.Path,
        remote: Bucket,
        record: str,
        includes: Callable[[str], bool],
    ):
        self._local = local
        self._remote = remote
        self._record = local / record
        self._includes = includes
        self._synced = _read_record(self._record)

    def fetch(self) -> list[str]:
        """Makes `local` like `remote`. Returns the objects it skipped, as of an incomplete checkpoint.

        Raises BucketError, BucketUnavailable, OSError. What was fetched by then is kept, so that the
        next call continues.
        """
        objects = {
            name: version
            for name, version in self._remote.versions().items()
            if self._includes(name)
        }
        complete = _without_incomplete_checkpoints(objects)
        local = self._scan()
        with self._recording():
            for name in sorted({*local} - {*complete}, key=_push_order, reverse=True):
                self._remove_local(name)
            for name in sorted(complete, key=_push_order):
                synced = self._synced.get(name, _SyncedFile(ABSENT))
                is_local = name in local and synced.matches(local[name])
                if not (is_local and synced.version == complete[name]):
                    self._fetch(name, complete[name])
        return sorted({*objects} - {*complete})

    def is_complete(self) -> bool:
        """Whether `local` still has all that was equal, except checkpoints replaced by newer ones.

        A clean-up of temporary files may have removed some.
        """
        local = self._scan()
        return all(name in local or _has_newer_checkpoint(name, local) for name in self._synced)

    def trust_local(self) -> None:
        """Makes the next `push` overwrite whatever `remote` has.

        Raises BucketError, BucketUnavailable, OSError.
        """
        objects = self._remote.versions()
        with self._recording():
            for name in {*self._synced, *filter(self._includes, objects)}:
                version = objects.get(name, ABSENT)
                if self._synced.get(name, _SyncedFile(ABSENT)).version != version:
                    self._synced[name] = _SyncedFile(version)

    def push(self) -> None:
        """Makes `remote` like `local`.

        Raises PreconditionFailed, BucketError, BucketUnavailable, OSError.
        """
        # Scanned first, so that the files these report on are all found by the second scan.
        last = {name: stat for name, stat in self._scan().items() if _is_pushed_last(name)}
        local = self._scan()
        with self._recording():
            for name in sorted(local, key=_push_order):
                synced = self._synced.get(name, _SyncedFile(ABSENT))
                if not _is_pushed_last(name):
                    if not synced.matches(local[name]):
                        self._push(name, synced.version)
                elif name in last and not synced.matches(last[name]):
                    self._push(name, synced.version, last[name])
            for name in sorted({*self._synced} - {*local}, key=_push_order, reverse=True):
                self.remove_remote(name)

    def remove_remote(self, name: str) -> None:
        """Removes an object that has no local file. Raises as `push` does."""
        synced = self._synced.get(name) or _SyncedFile(self._remote.version(name))
        if synced.version:
            self._remote.remove(name, synced.version)
        self._synced.pop(name, None)

    def _scan(self) -> dict[str, os.stat_result]:
        found = {}
        for folder, folders, files in os.walk(self._local):
            folders[:] = [name for name in folders if not name.startswith(".")]
            for file in files:
                name = os.path.relpath(os.path.join(folder, file), self._local)
                if not file.startswith(".") and self._includes(name):
                    with contextlib.suppress(FileNotFoundError):  # Just removed.
                        found[name] = os.stat(self._local / name)
        return found

    def _remove_local(self, name: str) -> None:
        path = self._local / name
        path.unlink(missing_ok=True)
        _remove_if_empty(path.parent)
        self._synced.pop(name, None)

    def _fetch(self, name: str, version: str) -> None:
        path = self._local / name
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with replacing(path) as file:
                self._remote.download(name, version, file)
        except PreconditionFailed:
            # Just removed or replaced, by a run that this is only a reader of.
            _remove_if_empty(path.parent)
            return
        self._synced[name] = _synced_file(version, path.stat())

    def _push(self, name: str, version: str, stat: os.stat_result | None = None) -> None:
        """`stat`: pushes the file as it was then; it only grows, or is replaced as a whole."""
        try:
            with open(self._local / name, "rb") as file:
                now = os.fstat(file.fileno())
                stat = stat or now
                if now.st_ino != stat.st_ino:
                    return  # Just replaced: the next push has the new one.
                with _content(file, name, stat.st_size) as content:
                    self._synced[name] = _synced_file(
                        self._remote.write(name, content, version), stat
                    )
        except FileNotFoundError:
            return  # Just removed: the next push removes the object.

    @contextlib.contextmanager
    def _recording(self) -> Iterator[None]:
        """Saves the record after the body, even if the body did only a part of its work.

        A process that is killed inside leaves an outdated record; `trust_local` corrects it.
        """
        before = dict(self._synced)
        try:
            yield
        finally:
            if self._synced != before:
                synced = {name: dataclasses.astuple(file) for name, file in self._synced.items()}
                write_whole(self._record, json.dumps(synced))


def _remove_if_empty(folder: pathlib.Path) -> None:
    """An empty folder would look like a damaged checkpoint."""
    with contextlib.suppress(OSError):
        folder.rmdir()


@contextlib.contextmanager
def _content(file: BinaryIO, name: str, size: int) -> Iterator[Content]:
    """What the file holds, without a copy of it in memory if it is a large one that never changes."""
    if "checkpoints/" not in name or size < _LARGE:
        yield file.read(size)
        return
    with mmap.mmap(file.fileno(), size, access=mmap.ACCESS_READ) as content:
        yield content


def _synced_file(version: str, stat: os.stat_result) -> _SyncedFile:
    return _SyncedFile(version, stat.st_size, stat.st_mtime_ns, stat.st_ino)


def _read_record(record: pathlib.Path) -> dict[str, _SyncedFile]:
    try:
        return {
            name: _SyncedFile(*fields) for name, fields in json.loads(record.read_bytes()).items()
        }
    except (OSError, ValueError, TypeError, AttributeError):
        return {}  # Then everything is compared again.


def _is_pushed_last(name: str) -> bool:
    return name.rsplit("/", 1)[-1] in _PUSHED_LAST


def _push_order(name: str) -> tuple[int, str]:
    """The sort key for pushing files; they are removed in the reverse order."""
    if _is_pushed_last(name):
        return 3, name
    if "checkpoints/" in name:
        return 2 if name.endswith(f"/{manifest_lib.NAME}") else 1, name
    return 0, name


def _without_incomplete_checkpoints(objects: Mapping[str, str]) -> dict[str, str]:
    """Without checkpoints that have no manifest: a push, or a removal, was interrupted."""
    return {name: at for name, at in objects.items() if _has_manifest(name, objects)}


def _has_newer_checkpoint(name: str, names: Iterable[str]) -> bool:
    """Whether there is a manifest of a later checkpoint in the same folder."""
    folder, found, rest = name.rpartition("checkpoints/")
    step = rest.partition("/")[0]
    return bool(found) and any(
        other.endswith(f"/{manifest_lib.NAME}")
        and other.startswith(f"{folder}{found}")
        and other.removeprefix(f"{folder}{found}").partition("/")[0] > step
        for other in names
    )


def _has_manifest(name: str, names: Iterable[str]) -> bool:
    folder, _, _ = name.rpartition("/")
    return "checkpoints/" not in name or f"{folder}/{manifest_lib.NAME}" in names
