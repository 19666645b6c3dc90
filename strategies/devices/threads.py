"""Among how many threads does TensorFlow share its work here?"""

import os
from collections.abc import Mapping


def num_threads(environ: Mapping[str, str] = os.environ) -> int:
    """Among how many threads TensorFlow shares one operation of this process."""
    return wanted("TF_NUM_INTRAOP_THREADS", environ)


def wanted(variable: str, environ: Mapping[str, str]) -> int:
    """A number of threads that the environment may set: as many as there are cores, if it does not."""
    wanted = environ.get(variable, "")
    return int(wanted) if wanted.isdigit() and int(wanted) else len(os.sched_getaffinity(0))
