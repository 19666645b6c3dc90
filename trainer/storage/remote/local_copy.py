"""Where does a run in a bucket keep its files on this machine?

In the folder for temporary files (TMPDIR), at a path that follows from the address. A run that is started
again on the same machine finds there what the bucket may still lack. Only this user can read it.
"""

import os
import pathlib
import stat
import tempfile

from strategies.errors import os_reason
from trainer.storage.remote.address import Address
from trainer.storage.remote.errors import BucketError


def folder_of(address: Address) -> pathlib.Path:
    """The local folder for an address. Creates nothing."""
    return _root() / address.kind / address.bucket / address.folder


def create_root() -> None:
    """Creates the folder of all local copies. Raises BucketError if others have access to it."""
    root = _root()
    try:
        root.mkdir(mode=0o700, parents=True, exist_ok=True)
        found = root.lstat()
    except OSError as error:
        raise _unusable(root, os_reason(error)) from None
    if found.st_uid != os.getuid() or not stat.S_ISDIR(found.st_mode) or found.st_mode & 0o077:
        raise _unusable(root, "others can write or read it")


def _root() -> pathlib.Path:
    return pathlib.Path(tempfile.gettempdir(), f"muster-{os.getuid()}")


def _unusable(root: pathlib.Path, reason: str) -> BucketError:
    return BucketError(
        f"`--workdir` in a bucket needs a private folder on this machine ({reason}). Received: "
        f"{str(root)!r}; remove it, or set TMPDIR to another folder."
    )
