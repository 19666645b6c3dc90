"""How many threads does TensorFlow use in this process?

As many as there are cores, unless the environment sets a number. One of them computes each operation, and
the others those that do not depend on it: a product that several threads share is cut among them, and on
some processors its last bits depend on where.
"""

import os
from collections.abc import Mapping, MutableMapping

_INTRA_OP, _INTER_OP = "TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS"


def num_threads(environ: Mapping[str, str] = os.environ) -> int:
    """The threads that share one operation."""
    return wanted(_INTRA_OP, environ)


def use_one_per_operation(environ: MutableMapping[str, str] = os.environ) -> None:
    """Makes one thread compute each operation, and others those that do not depend on it.

    A number that the environment sets for one operation becomes that of operations in parallel, so the
    process uses the same number of cores. Call it before TensorFlow computes anything.
    """
    if environ.get(_INTRA_OP, "1") != "1":
        environ.setdefault(_INTER_OP, environ[_INTRA_OP])
    environ[_INTRA_OP] = "1"


def use_several_per_operation(count: int, environ: MutableMapping[str, str] = os.environ) -> None:
    """Makes `count` threads share each operation; 0: as many as the process has."""
    environ[_INTRA_OP] = str(count or wanted(_INTER_OP, environ))


def wanted(variable: str, environ: Mapping[str, str]) -> int:
    """The number of threads that an environment variable sets, else the number of cores."""
    wanted = environ.get(variable, "")
    return int(wanted) if wanted.isdigit() and int(wanted) else len(os.sched_getaffinity(0))
