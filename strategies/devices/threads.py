"""How many threads does TensorFlow use in this process?

As many as there are cores, unless the environment sets a number.
"""

import os
from collections.abc import Mapping


def num_threads(environ: Mapping[str, str] = os.environ) -> int:
    """The threads that share one operation."""
    return wanted("TF_NUM_INTRAOP_THREADS", environ)


def wanted(variable: str, environ: Mapping[str, str]) -> int:
    """The number of threads that an environment variable sets, else the number of cores."""
    wanted = environ.get(variable, "")
    return int(wanted) if wanted.isdigit() and int(wanted) else len(os.sched_getaffinity(0))
