"""The digits of `digits_dense`, and a space around it to search.

    python -m trainer tune --config=digits_sweep --max_trials=16

Expect 16 runs of a few seconds each, with test accuracies from 0.81 (SGD with learning rate 0.0005)
to 0.97 (Adam with 0.0025 and with 0.009, both with batches of 128). On 300 test examples, differences
of 0.01 are chance: the search shows which learning rates suit which optimizer, not a single winner.

It is from no document. It does what the articles' agent does that adjusts its parameters
automatically.
"""

from configs.digits_dense import get_config
from trainer.recipe import Dimension, between, choice

__all__ = ["get_config", "get_space"]


def get_space() -> dict[str, Dimension]:
    return {
        "optimizer.learning_rate": between(1e-4, 1e-1, log=True),
        "model.hidden_units": choice((64,), (128,), (128, 64)),
        "data.global_batch_size": between(32, 128, step=32),
        "optimizer.name": choice("adam", "sgd"),
        "optimizer.momentum": between(0.0, 0.9, when={"optimizer.name": ("sgd",)}),
    }
