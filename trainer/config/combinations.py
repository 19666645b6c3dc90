"""Which settings make no sense together, and why?

`REFUSED` is one table: each row names a field, the values that it may have where a condition holds, and
the reason. `check` raises the first row that a config breaks. A row may only read the config; what also
depends on the cluster or the data is checked where those are known.
"""

from strategies.sync.names import APART
from trainer.config import optimizer_parts_rules, ps_rules
from trainer.config.refusal import Flat, Refusal, left_out, mode_in, mode_not_in, only
from trainer.config.schema import ExperimentConfig, flatten


def check(config: ExperimentConfig) -> None:
    """Raises ConfigError for the first combination that makes no sense."""
    flat = flatten(config)
    for refusal in REFUSED:
        refusal.check(flat)


def _is_power_of_two(number: float) -> bool:
    return number == int(number) and int(number) & (int(number) - 1) == 0


def _resets(flat: Flat) -> bool:
    """Whether the optimizer starts anew after each agreement."""
    resets = ("auto", "reset") if flat["sync.mode"] == "federated" else ("reset",)
    return flat["sync.mode"] in APART and flat["sync.slots"] in resets


_AVERAGING = ("parameters", "dynamic")
_NOT_APART = ("with `sync.mode` {sync.mode}", "its replicas send gradients and no updates")
_USE_PARAMETERS = "leave it out, or set --config.sync.mode=parameters"
_LEAVE_OUT = "leave it out"

REFUSED: tuple[Refusal, ...] = (
    left_out("sync.replicas", *_AVERAGING),
    left_out("sync.every_steps", *_AVERAGING),
    left_out("sync.min_steps", "dynamic"),
    left_out("sync.max_steps", "dynamic"),
    left_out("sync.max_spread", "dynamic"),
    left_out("sync.window_steps", "async_window", "auto"),
    left_out("sync.window_ms", "async_window", "auto"),
    left_out("sync.max_staleness", "async_window", "async", "auto"),
    left_out("sync.slots", *APART),
    left_out("sync.compression", *_AVERAGING),
    left_out("sync.outer", *APART),
    left_out("federated.clients_per_round", "federated"),
    left_out("federated.local_epochs", "federated"),
    left_out("federated.proximal", "federated"),
    left_out("federated.own_data", "federated"),
    Refusal(
        "sync.outer",
        "sgd or nesterov",
        only("sgd", "nesterov"),
        lambda flat: flat["sync.outer_learning_rate"] != 1.0 or flat["sync.outer_momentum"] != 0.0,
        "beside `sync.outer_learning_rate` and `sync.outer_momentum`",
        "an average has neither",
        "set --config.sync.outer=nesterov",
    ),
    Refusal(
        "sync.window_ms",
        "0",
        only(0.0),
        lambda flat: flat["sync.window_steps"] > 0,
        "beside `sync.window_steps`",
        "a window ends after a number of steps, or after a time",
        _LEAVE_OUT,
    ),
    Refusal(
        "sync.outer_momentum",
        "above 0",
        lambda value, flat: value > 0,
        lambda flat: flat["sync.outer"] == "nesterov",
        "with `sync.outer` nesterov",
        "nothing else distinguishes it from sgd",
        "try 0.9",
    ),
    Refusal(
        "sync.slots",
        "auto or reset",
        only("auto", "reset"),
        mode_in("federated"),
        "with `sync.mode` federated",
        "the state would grow with the number of clients",
        _LEAVE_OUT,
    ),
    Refusal(
        "sync.min_steps",
        "`sync.every_steps` divided by a power of two",
        lambda value, flat: _is_power_of_two(flat["sync.every_steps"] / value),
        mode_in("dynamic"),
        "with `sync.mode` dynamic",
        "the interval is halved and doubled",
        "try a half, a quarter, ... of `sync.every_steps`",
    ),
    Refusal(
        "sync.max_steps",
        "`sync.every_steps` times a power of two",
        lambda value, flat: _is_power_of_two(value / flat["sync.every_steps"]),
        mode_in("dynamic"),
        "with `sync.mode` dynamic",
        "the interval is halved and doubled",
        "try 2, 4, ... times `sync.every_steps`",
    ),
    Refusal(
        "sync.compression",
        "topk",
        only("topk"),
        lambda flat: flat["sync.topk_share"] != 0.01 or flat["sync.topk_warmup_steps"] != 0,
        "beside `sync.topk_share` and `sync.topk_warmup_steps`",
        "no other reads them",
        "set --config.sync.compression=topk",
    ),
    Refusal(
        "sync.compression",
        "none",
        only("none"),
        lambda flat: flat["privacy.secure_aggregation"] or flat["privacy.homomorphic"],
        "with `privacy.secure_aggregation` and `privacy.homomorphic`",
        "hidden numbers cannot be made smaller",
        _LEAVE_OUT,
    ),
    Refusal(
        "privacy.secure_aggregation",
        "false",
        only(False),
        mode_not_in(*APART),
        *_NOT_APART,
        _USE_PARAMETERS,
    ),
    Refusal(
        "privacy.homomorphic",
        "false",
        only(False),
        mode_not_in(*APART),
        *_NOT_APART,
        _USE_PARAMETERS,
    ),
    Refusal(
        "privacy.homomorphic",
        "false",
        only(False),
        lambda flat: flat["privacy.secure_aggregation"],
        "beside `privacy.secure_aggregation`",
        "either hides the updates",
        _LEAVE_OUT,
    ),
    Refusal(
        "model.sharding",
        "empty",
        only(""),
        lambda flat: flat["model.blocks"] == 0,
        "without `model.blocks`",
        "no layer is cut",
        "set --config.model.blocks=N",
    ),
    Refusal(
        "model.blocks",
        "0",
        only(0),
        lambda flat: flat["privacy.clip_norm"] > 0,
        "with `privacy.clip_norm`",
        "an example's gradient is clipped as a whole",
        _LEAVE_OUT,
    ),
    Refusal(
        "privacy.clip_norm",
        "0",
        only(0.0),
        mode_in(*_AVERAGING),
        "with `sync.mode` {sync.mode}",
        "the noise of replicas that train apart would add up",
        "leave it out, or set --config.sync.mode=gradients or federated",
    ),
    Refusal(
        "optimizer.schedule",
        "constant",
        only("constant"),
        _resets,
        "where `sync.slots` is reset",
        "the optimizer's count of steps, from which a learning rate follows, starts anew",
        _LEAVE_OUT,
    ),
    Refusal(
        "optimizer.warmup_steps",
        "0",
        only(0),
        _resets,
        "where `sync.slots` is reset",
        "the optimizer's count of steps, from which a learning rate follows, starts anew",
        _LEAVE_OUT,
    ),
    Refusal(
        "optimizer.ema_momentum",
        "0",
        only(0.0),
        mode_in(*APART),
        "with `sync.mode` {sync.mode}",
        "replicas that train apart would each have averages of their own",
        _LEAVE_OUT,
    ),
    Refusal(
        "train.skip_bad_batches",
        "0",
        only(0),
        mode_in(*APART),
        "with `sync.mode` {sync.mode}",
        "a round is repeated as a whole, so its batches cannot be told apart",
        _LEAVE_OUT,
    ),
    Refusal(
        "data.balance",
        "equal",
        only("equal"),
        mode_in(*APART),
        "with `sync.mode` {sync.mode}",
        "workers carry whole replicas, and no blocks that could be moved",
        _LEAVE_OUT,
    ),
    Refusal(
        "data.partition",
        "set",
        lambda value, flat: value != "none",
        mode_in("federated"),
        "with `sync.mode` federated",
        "each of its shares is a client's",
        "try --config.data.partition=random --config.data.partitions=100",
    ),
    Refusal(
        "sync.replicas",
        "`data.partitions`",
        lambda value, flat: value == flat["data.partitions"],
        lambda flat: flat["sync.mode"] in _AVERAGING and flat["data.partitions"] > 0,
        "with `sync.mode` {sync.mode}",
        "each replica trains on one share",
        "set both to one number, or leave `data.partition` out",
    ),
    Refusal(
        "data.partitions",
        "above 0",
        lambda value, flat: value > 0,
        lambda flat: flat["federated.own_data"],
        "with `federated.own_data`",
        "every worker must have the same number of clients",
        "set it, e.g. --config.data.partitions=10",
    ),
    Refusal(
        "data.resample",
        "none",
        only("none"),
        lambda flat: flat["data.partition"] != "none",
        "with `data.partition`",
        "each share keeps its own examples",
        _LEAVE_OUT,
    ),
    Refusal(
        "data.resample",
        "none",
        only("none"),
        lambda flat: flat["privacy.noise_multiplier"] > 0,
        "with `privacy.noise_multiplier`",
        "epsilon counts on each example once in an epoch",
        _LEAVE_OUT,
    ),
    Refusal(
        "data.augment",
        "without mixup",
        lambda value, flat: "mixup" not in value,
        lambda flat: flat["privacy.noise_multiplier"] > 0,
        "with `privacy.noise_multiplier`",
        "an example that is mixed into others is clipped in none of them",
        _LEAVE_OUT,
    ),
    Refusal(
        "data.class_weights",
        "given by class",
        lambda value, flat: value != "balanced",
        lambda flat: flat["privacy.noise_multiplier"] > 0,
        "with `privacy.noise_multiplier`",
        "balanced weights depend on every example",
        "write e.g. 3:10",
    ),
    Refusal(
        "federated.clients_per_round",
        "at most `data.partitions`",
        lambda value, flat: not flat["data.partitions"] or value <= flat["data.partitions"],
        lambda flat: flat["sync.mode"] == "federated" and not flat["federated.own_data"],
        "with `sync.mode` federated",
        "each client is drawn once",
        "lower it",
    ),
    *optimizer_parts_rules.REFUSED,
    *ps_rules.REFUSED,
)
