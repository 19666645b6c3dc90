"""Was this process forked from a warm one? Then it has imported what that one has imported."""

import os
from collections.abc import Mapping


class _Origin:
    is_forked = False
    environ: Mapping[str, str] = {}


def note_import() -> None:
    """This process is about to import what those that are forked from it need."""
    _Origin.environ = dict(os.environ)


def note_fork() -> None:
    """This process was forked from a warm one."""
    _Origin.is_forked = True


def is_forked() -> bool:
    return _Origin.is_forked


def environ_at_import() -> Mapping[str, str]:
    """The environment in which this process, or the one that it was forked from, made its imports."""
    return _Origin.environ
