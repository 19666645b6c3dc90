"""Which kind of storage does the name of a workdir mean?"""

import os
import re

from trainer.storage.atomic_files import WorkdirError
from trainer.storage.workdir import Workdir

_REMOTE = re.compile(r"[a-z][a-z0-9+.-]+:/")  # As in s3://bucket/run.


_BUCKET = "gs:"


def open_workdir(path: str | os.PathLike) -> "Workdir":
    """The workdir of that name, which may be `gs://bucket/folder`. Nothing is looked at yet.

    Raises WorkdirError, BucketError for a name that cannot be one's.
    """
    if str(path).startswith(_BUCKET):
        from trainer.storage.remote.workdir import BucketWorkdir

        return BucketWorkdir(str(path))
    if _REMOTE.match(str(path)):
        raise WorkdirError(
            "`--workdir` must be a folder of this machine or of a bucket of Google Cloud "
            f"(gs://bucket/folder). Received: {str(path)!r}; train in a folder here and copy it there "
            "and back: a run goes on in a copy too."
        )
    return Workdir(path)
