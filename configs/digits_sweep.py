"""The digits of `digits_dense`, and a space around it to search.

    python -m trainer tune --config=digits_sweep --max_trials=16

Expect sixteen runs of seconds each, with test accuracies from 0.81 (SGD at a rate of 0.0005) to 0.97
(Adam at 0.0025 and at 0.009, both in batches of 128). On 300 test examples, differences of 0.01 are
chance: the search shows which rates suit which optimizer, rather than one winner.

It comes from no document; the articles' agent that adjusts its parameters by itself is what it is for.
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
