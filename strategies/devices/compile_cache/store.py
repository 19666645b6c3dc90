"""How are compiled programs kept on disk, so that a damaged one is never executed?

Each is a file that begins with the sha256 of its name and content. `Store.read` returns only those that
match, and deletes the others. Files are written under another name and renamed, so any number of
processes can share a folder, and any of them can be killed at any time.
"""

import contextlib
import hashlib
import os
import pathlib
import stat
import tempfile
import time
from collections.abc import Iterator

from strategies.devices.compile_cache.folder import make_private

MAX_BYTES = 256 << 20
MAX_AGE_S = 30 * 24 * 3600.0
_MAX_BYTES_READ = 64 << 20  # They stay in memory. One net's programs take less than 1 MB.
_UNFINISHED_AGE_S = (
    3600.0  # A file that is still being written after that was left by a killed process.
)
_SUFFIX = ".program"
_DIGEST_BYTES = hashlib.sha256().digest_size


class Store:
    """The programs of one `platform` and one `scope`, which is any text that names a group of them."""

    def __init__(self, root: pathlib.Path, platform: str, scope: str):
        group = hashlib.sha256(scope.encode()).hexdigest()[:16]
        self._folder = root / platform / group

    def read(self) -> Iterator[tuple[str, bytes]]:
        """The name and content of each intact program, the last used first. Marks them as used."""
        left = _MAX_BYTES_READ
        for _, size, path in sorted(_files(self._folder, f"*{_SUFFIX}"), reverse=True):
            left -= size
            if left < 0:
                return
            with contextlib.suppress(OSError):  # Another process may have pruned it.
                name = path.name.removesuffix(_SUFFIX)
                content = _intact(name, _read_own(path))
                if content is None:
                    path.unlink()
                else:
                    yield name, content
                    os.utime(path)

    def write(self, name: str, content: bytes) -> None:
        """Keeps a program. If that fails, nothing is left behind. Raises OSError."""
        make_private(self._folder)
        descriptor, building = tempfile.mkstemp(dir=self._folder, prefix=f"{name}{_SUFFIX}.")
        try:
            with open(descriptor, "wb") as file:
                file.write(_digest(name, content) + content)
            os.replace(building, self._folder / f"{name}{_SUFFIX}")
        except BaseException:
            os.unlink(building)
            raise


def count(root: pathlib.Path) -> tuple[int, int]:
    """How many programs are kept below `root`, and how many bytes they take."""
    sizes = [size for _, size, _ in _files(root, f"tensorflow-*/*/*{_SUFFIX}")]
    return len(sizes), sum(sizes)


def prune(
    root: pathlib.Path,
    max_bytes: int = MAX_BYTES,
    max_age_s: float = MAX_AGE_S,
    now: float | None = None,
) -> None:
    """Deletes programs not used for `max_age_s`, and the least recently used beyond `max_bytes`.

    Safe next to processes that use the folder: a program that is gone is compiled again. Files of other
    names are left alone. Raises OSError if the folder cannot be read.
    """
    now = time.time() if now is None else now
    kept = 0
    for used_at, size, path in sorted(_files(root, f"tensorflow-*/*/*{_SUFFIX}*"), reverse=True):
        is_whole = path.name.endswith(_SUFFIX)
        kept += size
        if kept > max_bytes or now - used_at > (max_age_s if is_whole else _UNFINISHED_AGE_S):
            kept -= size
            with contextlib.suppress(OSError):
                path.unlink()
    for folder in [*root.glob("tensorflow-*/*/"), *root.glob("tensorflow-*/")]:
        with contextlib.suppress(OSError):  # Most are not empty.
            if now - folder.stat().st_mtime > max_age_s:
                folder.rmdir()


def _files(folder: pathlib.Path, pattern: str) -> list[tuple[float, int, pathlib.Path]]:
    """When each file was last used, its size, and its path."""
    found = []
    with contextlib.suppress(OSError):  # As of a file server that has lost the folder.
        for path in folder.glob(pattern):
            with contextlib.suppress(FileNotFoundError):
                status = path.lstat()
                if stat.S_ISREG(status.st_mode):
                    found.append((status.st_mtime, status.st_size, path))
    return found


def _read_own(path: pathlib.Path) -> bytes:
    """The file's bytes; none if another user owns it. Raises OSError."""
    with open(os.open(path, os.O_RDONLY | os.O_NOFOLLOW), "rb") as file:
        return file.read() if os.fstat(file.fileno()).st_uid == os.geteuid() else b""


def _intact(name: str, file: bytes) -> bytes | None:
    digest, content = file[:_DIGEST_BYTES], file[_DIGEST_BYTES:]
    return content if digest == _digest(name, content) else None


def _digest(name: str, content: bytes) -> bytes:
    return hashlib.sha256(name.encode() + b"\n" + content).digest()
