"""Which kind of storage does the name of a workdir mean?

`gs://bucket/folder` is a folder in a bucket, anything without a scheme a folder on this machine.
"""

import os
import re

from trainer.storage.atomic_files import WorkdirError
from trainer.storage.workdir import Workdir

_REMOTE = re.compile(r"[a-z][a-z0-9+.-]+:/")  # As in s3://bucket/run.
_BUCKET = "gs:"


def open_workdir(path: str | os.PathLike) -> "Workdir":
    """The workdir of that name, which may be `gs://bucket/folder`. It is not accessed yet.

    Raises WorkdirError, BucketError if the name is invalid.
    """
    if str(path).startswith(_BUCKET):
        from trainer.storage.remote.workdir import BucketWorkdir

        return BucketWorkdir(str(path))
    if _REMOTE.match(str(path)):
        raise WorkdirError(
            "`--workdir` must be a folder on this machine or in a bucket of Google Cloud "
            f"(gs://bucket/folder). Received: {str(path)!r}; train in a folder on this machine and copy "
            "it: a run resumes in a copy too."
        )
    return Workdir(path)
