"""Does a batch fit in this machine's memory?

`check_batch` compares the least that its features take with what is free, and refuses what cannot fit.
What may fit is left to the run, whose own arrays and compiled step need more.
"""

import numpy as np

from trainer.config.fields import ConfigError
from trainer.data.dataset import Split
from trainer.estimate import tpu_memory

_FLOAT_BYTES = 4
_GIB = 2**30


def check_batch(global_batch_size: int, bytes_per_example: int, replicas: int) -> None:
    """Raises ConfigError where a replica's share of a batch is larger than the memory that is free.

    Args:
      global_batch_size: examples in each step.
      bytes_per_example: of the features as the model takes them.
      replicas: that share the batch; 0 where that is not known.
    """
    needed = global_batch_size / max(replicas, 1) * bytes_per_example
    available = tpu_memory.available_bytes()
    if needed > available:
        fitting = max(1, int(available / 4 / bytes_per_example)) * max(replicas, 1)
        raise ConfigError(
            f"`data.global_batch_size` needs at least {needed / _GIB:,.1f} GiB of memory for each "
            f"replica's features, and {available / _GIB:,.1f} GiB are free. Received: "
            f"{global_batch_size}; try {_power_of_two(fitting)}."
        )


def bytes_per_example(split: Split) -> int:
    """The least that the features of one example take in a step: float32 where they are numbers."""
    features = split.features if isinstance(split.features, dict) else {"": split.features}
    return sum(
        int(np.prod(array.shape[1:])) * max(_FLOAT_BYTES, array.dtype.itemsize)
        for array in features.values()
        if array.dtype.kind in "fiub"
    )


def _power_of_two(number: int) -> int:
    return 1 << (number.bit_length() - 1)
