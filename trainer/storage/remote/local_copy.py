"""Where does a run of a bucket keep its files on this machine?

In the folder for temporary files (TMPDIR), at a place that follows from the address: so a run that starts
again on the same machine finds what the bucket may still lack. Only this user can read it.
"""

import os
import pathlib
import stat
import tempfile

from trainer.storage.remote.errors import BucketError
from trainer.storage.remote.gcs import Address


def folder_of(address: Address) -> pathlib.Path:
    """Raises nothing, and makes nothing."""
    return _root() / address.bucket / address.folder


def make_root() -> None:
    """Raises BucketError where the root is, or can be, somebody else's."""
    root = _root()
    try:
        root.mkdir(mode=0o700, parents=True, exist_ok=True)
        found = root.lstat()
    except OSError as error:
        raise _unusable(root, error.strerror) from None
    if found.st_uid != os.getuid() or not stat.S_ISDIR(found.st_mode) or found.st_mode & 0o077:
        raise _unusable(root, "others can write or read it")


def _root() -> pathlib.Path:
    return pathlib.Path(tempfile.gettempdir(), f"muster-{os.getuid()}")


def _unusable(root: pathlib.Path, why: str) -> BucketError:
    return BucketError(
        f"`--workdir` at gs:// needs a folder of your own on this machine ({why}). Received: "
        f"{str(root)!r}; remove it, or name another place with TMPDIR."
    )
