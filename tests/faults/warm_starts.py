"""Starts programs from a warm process that has imported a test's own modules, too."""

import atexit
import functools
import warnings

from trainer.process.start.starter import Starter
from trainer.task import PRELOAD


@functools.cache
def starter(*modules: str) -> Starter:
    """The starter of the session for these modules."""
    made = Starter((PRELOAD, *modules), lambda report: warnings.warn(report, stacklevel=2))
    atexit.register(made.close)
    return made
