"""How are a folder here and one in a bucket kept alike?

One of the two is the newer, and the other is made like it: `fetch` once, at a run's start, and `push`
again and again from then on. What is pushed stays of one piece at any moment, so that a run which is
killed goes on from there: metrics before the checkpoint that knows of them, a checkpoint's arrays before
the manifest that makes it one, and last what tells of an end.
"""

import contextlib
import dataclasses
import json
import os
import pathlib
from collections.abc import Callable, Iterable, Iterator, Mapping

from trainer.storage.atomic_files import write_whole
from trainer.storage.remote.errors import PreconditionFailed
from trainer.storage.remote.gcs import ABSENT, Objects

_MANIFEST = "manifest.json"
_CONCLUSIONS = ("summary.json", "ledger.jsonl")  # A run's, and a sweep's, where trials end.


@dataclasses.dataclass(frozen=True)
class _File:
    """A file as it was when it was last the same as its object; generation ABSENT: it never was."""

    generation: int
    size: int = -1
    modified_ns: int = 0
    inode: int = 0

    def is_as(self, stat: os.stat_result) -> bool:
        found = stat.st_size, stat.st_mtime_ns, stat.st_ino
        return found == (self.size, self.modified_ns, self.inode)


class Mirror:
    """The files below `here` and the objects `there`, as far as `concerns` says of a name.

    `record` is a file in `here`, which keeps from process to process what was alike.
    """

    def __init__(
        self,
        here: pathlib.Path,
        there: Objects,
        record: str,
        concerns: Callable[[str], bool],
    ):
        self._here = here
        self._there = there
        self._record = here / record
        self._concerns = concerns
        self._known = _read(self._record)

    def fetch(self) -> list[str]:
        """Makes `here` as it is there; which objects were left, as half a checkpoint.

        Raises BucketError, Unreachable, OSError; then it is no worse than before, and can go on.
        """
        there = {name: at for name, at in self._there.generations().items() if self._concerns(name)}
        whole = _without_halves(there)
        here = self._scan()
        with self._kept():
            for name in sorted({*here} - {*whole}, key=_rank, reverse=True):
                self._drop(name)
            for name in sorted(whole, key=_rank):
                known = self._known.get(name)
                is_here = name in here and known and known.is_as(here[name])
                if not (is_here and known.generation == whole[name]):
                    self._fetch(name, whole[name])
        return sorted({*there} - {*whole})

    def is_complete(self) -> bool:
        """Whether `here` still has what was last alike, but for checkpoints that gave way to newer ones.

        Who tidies up temporary files may have taken some.
        """
        now = self._scan()
        return all(name in now or _has_newer(name, now) for name in self._known)

    def adopt(self) -> None:
        """Knows `here` for the newer, whatever lies there. Raises BucketError, Unreachable, OSError."""
        there = self._there.generations()
        with self._kept():
            for name in {*self._known, *filter(self._concerns, there)}:
                generation = there.get(name, ABSENT)
                if self._known.get(name, _File(ABSENT)).generation != generation:
                    self._known[name] = _File(generation)

    def push(self) -> None:
        """Makes it there as it is here. Raises PreconditionFailed, BucketError, Unreachable, OSError."""
        # These first: what they tell of is then among what is found after.
        early = {name: stat for name, stat in self._scan().items() if _is_conclusion(name)}
        now = self._scan()
        with self._kept():
            for name in sorted(now, key=_rank):
                known = self._known.get(name, _File(ABSENT))
                if not _is_conclusion(name):
                    if not known.is_as(now[name]):
                        self._push(name, known.generation)
                elif name in early and not known.is_as(early[name]):
                    self._push(name, known.generation, early[name])
            for name in sorted({*self._known} - {*now}, key=_rank, reverse=True):
                self.remove(name)

    def remove(self, name: str) -> None:
        """Takes an object away that is not here. Raises as `push` does."""
        known = self._known.get(name) or _File(self._there.generation(name))
        if known.generation:
            self._there.remove(name, known.generation)
        self._known.pop(name, None)

    def _scan(self) -> dict[str, os.stat_result]:
        found = {}
        for folder, folders, files in os.walk(self._here):
            folders[:] = [name for name in folders if not name.startswith(".")]
            for file in files:
                name = os.path.relpath(os.path.join(folder, file), self._here)
                if not file.startswith(".") and self._concerns(name):
                    try:
                        found[name] = os.stat(self._here / name)
                    except FileNotFoundError:
                        pass  # Removed in this moment.
        return found

    def _drop(self, name: str) -> None:
        path = self._here / name
        path.unlink(missing_ok=True)
        with contextlib.suppress(OSError):
            path.parent.rmdir()  # An empty folder would pass for a damaged checkpoint.
        self._known.pop(name, None)

    def _fetch(self, name: str, generation: int) -> None:
        try:
            content = self._there.read(name, generation)
        except PreconditionFailed:
            return  # Removed in this moment, where this is done beside who writes there.
        path = self._here / name
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, content)
        self._known[name] = _seen(generation, path.stat())

    def _push(self, name: str, generation: int, stat: os.stat_result | None = None) -> None:
        """`stat`: what it was then is pushed, of a file that only grows or is replaced as a whole."""
        try:
            with open(self._here / name, "rb") as file:
                now = os.fstat(file.fileno())
                stat = stat or now
                content = file.read(stat.st_size)
        except FileNotFoundError:
            return  # Removed since; the next push finds it so.
        if now.st_ino != stat.st_ino:
            return  # Replaced since, and the next push's.
        self._known[name] = _seen(self._there.write(name, content, generation), stat)

    @contextlib.contextmanager
    def _kept(self) -> Iterator[None]:
        """Writes down what the body made alike, if it made anything so, be it only in part.

        A process that is killed within leaves a record that is too old: `adopt` mends it.
        """
        before = dict(self._known)
        try:
            yield
        finally:
            if self._known != before:
                found = {name: dataclasses.astuple(file) for name, file in self._known.items()}
                write_whole(self._record, json.dumps(found))


def _seen(generation: int, stat: os.stat_result) -> _File:
    return _File(generation, stat.st_size, stat.st_mtime_ns, stat.st_ino)


def _read(record: pathlib.Path) -> dict[str, _File]:
    try:
        return {name: _File(*fields) for name, fields in json.loads(record.read_bytes()).items()}
    except (OSError, ValueError, TypeError, AttributeError):
        return {}  # Then everything is compared anew.


def _is_conclusion(name: str) -> bool:
    return name.rsplit("/", 1)[-1] in _CONCLUSIONS


def _rank(name: str) -> tuple[int, str]:
    """In which order files become objects, and the other way round in which they go."""
    if _is_conclusion(name):
        return 3, name
    if "checkpoints/" in name:
        return 2 if name.endswith(f"/{_MANIFEST}") else 1, name
    return 0, name


def _without_halves(there: Mapping[str, int]) -> dict[str, int]:
    """Without arrays of checkpoints that have no manifest: a push, or a removal, ended early."""
    return {name: at for name, at in there.items() if _has_manifest(name, there)}


def _has_newer(name: str, among: Iterable[str]) -> bool:
    """Whether there is a manifest of a later checkpoint in the same folder."""
    folder, found, rest = name.rpartition("checkpoints/")
    step = rest.partition("/")[0]
    return bool(found) and any(
        other.endswith(f"/{_MANIFEST}")
        and other.startswith(f"{folder}{found}")
        and other.removeprefix(f"{folder}{found}").partition("/")[0] > step
        for other in among
    )


def _has_manifest(name: str, among: Iterable[str]) -> bool:
    folder, _, _ = name.rpartition("/")
    return "checkpoints/" not in name or f"{folder}/{_MANIFEST}" in among
