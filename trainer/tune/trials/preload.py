"""What does every trial import? It is imported once, by the process that trials are forked from.

Nothing here may run an operation of TensorFlow: its threads would not be there after a fork.
"""

import os
import signal

from strategies import tensorflow_import
from trainer.process import parent_death

# By itself a fork server lives on while a process that it forked does, and those are to end with it.
parent_death.end_with(os.getppid(), signal.SIGKILL)

with tensorflow_import.quietly():
    import tensorboard.summary  # noqa: F401, a quarter of a second, at a run's first report.
    import tensorflow  # noqa: F401

    from strategies import mirrored, multi_worker  # noqa: F401
