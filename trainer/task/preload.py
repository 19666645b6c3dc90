"""What does every task import?

TensorFlow and the modules here. A warm process (`process/start/`) imports them once, before any task is
forked from it. They must not run a TensorFlow operation, as its threads would not exist after a fork.
"""

import os

from strategies import tensorflow_import
from strategies.devices.compile_cache import cache
from trainer.process import log_format

tensorflow_import.set_environ_defaults()
cache.hide_load_errors(os.environ)  # Most tasks keep programs, and the import decides for all.
log_format.set_up()  # First, or TensorFlow would log through a handler of its own.
with tensorflow_import.quietly():
    import tensorboard.summary  # noqa: F401, or a run's first report would take 0.25 s longer.
    import tensorflow  # noqa: F401

    from strategies import mirrored, multi_worker  # noqa: F401
    from strategies.parameter_server import runtime  # noqa: F401
    from trainer.task import run  # noqa: F401
    from trainer.training import assemble, loop  # noqa: F401
