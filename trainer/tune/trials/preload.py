"""What does every trial import?

TensorFlow and the modules here. The fork server imports them once, before any trial is forked. They must
not run a TensorFlow operation, as its threads would not exist after a fork.
"""

import os
import signal

from strategies import tensorflow_import
from trainer.process import parent_death

# A fork server runs as long as a process that it forked. Here it ends with the sweep, and they with it.
parent_death.end_with(os.getppid(), signal.SIGKILL)

with tensorflow_import.quietly():
    import tensorboard.summary  # noqa: F401, or a run's first report would take 0.25 s longer.
    import tensorflow  # noqa: F401

    from strategies import multi_worker  # noqa: F401
