"""Which kind of storage does the name of a workdir mean?

`gs://bucket/folder`, or another scheme of `remote/kinds/`, is a folder in a bucket; anything without a
scheme is a folder on this machine.
"""

import os
import re

from trainer.storage.atomic_files import WorkdirError
from trainer.storage.workdir import Workdir

_REMOTE = re.compile(r"[a-z][a-z0-9+.-]+:/")  # As in hdfs://host/run.


def open_workdir(path: str | os.PathLike) -> "Workdir":
    """The workdir of that name, which may be `gs://bucket/folder`. It is not accessed yet.

    Raises WorkdirError, BucketError if the name is invalid.
    """
    if ":" not in str(path):
        return Workdir(path)
    from trainer.storage.remote import address

    if address.names_a_bucket(str(path)):
        from trainer.storage.remote.workdir import BucketWorkdir

        return BucketWorkdir(str(path))
    if _REMOTE.match(str(path)):
        raise WorkdirError(
            f"`--workdir` must be a folder on this machine or in a bucket ({address.examples()}). "
            f"Received: {str(path)!r}; train in a folder on this machine and copy it: a run resumes in a "
            "copy too."
        )
    return Workdir(path)
