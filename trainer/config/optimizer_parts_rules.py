"""What makes no sense with `sync.shard_optimizer`, and why?

`REFUSED` has the rows for the table in `combinations.py`. An optimizer of a recipe is checked once it is
made: `trainer/training/optimizer_parts.py`.
"""

from strategies.sync.names import APART
from trainer.config.refusal import Refusal, mode_in, only

CONNECTING = ("adafactor", "ftrl", "lamb", "muon")  # `trainer/model/elementwise.py` finds why.
_FALSE = ("sync.shard_optimizer", "false", only(False))
_LEAVE_OUT = "leave it out"

REFUSED: tuple[Refusal, ...] = (
    Refusal(
        *_FALSE,
        mode_in(*APART),
        "with `sync.mode` {sync.mode}",
        "each replica has an optimizer of its own",
        _LEAVE_OUT,
    ),
    Refusal(
        *_FALSE,
        lambda flat: flat["optimizer.name"] in CONNECTING,
        "with `optimizer.name` {optimizer.name}",
        "a worker updates pieces of the weights, and that optimizer needs whole ones for the same bits",
        "leave it out, or choose e.g. adam",
    ),
    Refusal(
        *_FALSE,
        lambda flat: flat["optimizer.global_clipnorm"] > 0,
        "with `optimizer.global_clipnorm`",
        "a worker has a piece of the mean gradient, and the norm is that of the whole",
        _LEAVE_OUT,
    ),
    Refusal(
        *_FALSE,
        lambda flat: flat["optimizer.ema_momentum"] > 0,
        "with `optimizer.ema_momentum`",
        "a worker has a piece of the averages, and an evaluation needs all of them",
        _LEAVE_OUT,
    ),
)
