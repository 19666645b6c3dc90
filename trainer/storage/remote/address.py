"""Where is a folder in a bucket?

`KIND://bucket/folder`. The kinds are the modules in `kinds/`, found by their names; each has a function
`open_bucket`.
"""

import dataclasses
import importlib
import pkgutil
import re

from trainer.storage.remote import kinds
from trainer.storage.remote.bucket import Bucket
from trainer.storage.remote.errors import BucketError

_BUCKET = re.compile(r"[a-z0-9][a-z0-9._-]{1,220}[a-z0-9]")
_KINDS = tuple(sorted(module.name for module in pkgutil.iter_modules(kinds.__path__)))


@dataclasses.dataclass(frozen=True)
class Address:
    """`gs://bucket/folder`."""

    kind: str
    bucket: str
    folder: str

    @classmethod
    def parse(cls, text: str) -> "Address":
        """Raises BucketError if the text does not name a folder in a bucket."""
        kind, _, path = text.partition("://")
        bucket, _, folder = path.partition("/")
        folder = folder.rstrip("/")
        if not _BUCKET.fullmatch(bucket) or not is_relative_path(folder):
            kind = text.partition(":")[0]
            raise BucketError(
                f"`--workdir` must be a folder in a bucket, as in {kind}://bucket/runs/one. Received: "
                f"{text!r}."
            )
        return cls(kind, bucket, folder)

    def __str__(self) -> str:
        return f"{self.kind}://{self.bucket}/{self.folder}"

    def open(self) -> Bucket:
        """The folder. No call is made yet. Raises BucketError if a package is not installed."""
        return importlib.import_module(f"{kinds.__name__}.{self.kind}").open_bucket(self)


def names_a_bucket(text: str) -> bool:
    kind, colon, _ = text.partition(":")
    return bool(colon) and kind in _KINDS


def examples() -> str:
    """An address of every kind."""
    return ", ".join(f"{kind}://bucket/folder" for kind in _KINDS)


def is_relative_path(name: str) -> bool:
    """Whether it names a file below a folder: `..` could name one outside of it."""
    return all(part not in ("", ".", "..") and part.isprintable() for part in name.split("/"))
