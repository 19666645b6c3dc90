"""Is a source still the one that was prepared?

`Files` records its files when they are prepared: their sizes and times, which are compared at each start,
and their sha256, which is computed again only where a time has changed.
"""

import concurrent.futures
import dataclasses
import hashlib
import json
import os
from collections.abc import Sequence
from pathlib import Path

from strategies.errors import os_reason
from trainer.data.dataset import DataError


@dataclasses.dataclass(frozen=True)
class Files:
    """What the files of a source were like."""

    count: int
    listing: str  # sha256 over paths, sizes and times.
    content: str  # sha256 over paths and the sha256 of each; "": not recorded.


def record(paths: Sequence[Path], with_content: bool = True) -> Files:
    """The files as they are now. Raises DataError where one cannot be read."""
    return Files(len(paths), _listing(paths), _content(paths) if with_content else "")


def is_unchanged(paths: Sequence[Path], then: Files) -> bool:
    """Whether the files are still what they were. Raises DataError where one cannot be read."""
    if len(paths) != then.count:
        return False
    return _listing(paths) == then.listing or bool(then.content) and _content(paths) == then.content


def newest(paths: Sequence[Path]) -> Path:
    return max(paths, key=lambda path: path.stat().st_mtime_ns)


def _listing(paths: Sequence[Path]) -> str:
    found = []
    for path in paths:
        try:
            status = os.stat(path)
        except OSError as error:
            raise DataError(f"{path} cannot be read: {os_reason(error)}.") from None
        found.append((str(path), status.st_size, status.st_mtime_ns))
    return hashlib.sha256(json.dumps(found).encode()).hexdigest()


def _content(paths: Sequence[Path]) -> str:
    with concurrent.futures.ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        digests = list(pool.map(_sha256, paths))
    return hashlib.sha256(
        json.dumps([*zip(map(str, paths), digests, strict=True)]).encode()
    ).hexdigest()


def _sha256(path: Path) -> str:
    try:
        with open(path, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise DataError(f"{path} cannot be read: {os_reason(error)}.") from None
