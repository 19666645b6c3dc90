"""Which configs can several tasks train that hold parts of one model (the flag `--mesh`)?

`check` raises the first reason why a config cannot. What depends on the model or its optimizer is checked
where these are made (`trainer/model/held_parts.py`).
"""

from trainer.config.fields import ConfigError, short_json
from trainer.config.schema import ExperimentConfig

_LEAVE_OUT = "leave it out"


def check(config: ExperimentConfig, parts: int) -> None:
    """Raises ConfigError where a model of this config cannot be held in this number of parts."""
    blocks = config.model.blocks
    if not blocks or blocks % parts:
        number = 2 * parts if parts == 1 else parts
        raise ConfigError(
            f"`model.blocks` must be a multiple of the {parts} parts of the model in --mesh. Received: "
            f"{blocks}; try --config.model.blocks={-(-blocks // number) * number or number}."
        )
    if config.sync.shard_optimizer:
        raise ConfigError(
            "`sync.shard_optimizer` must be false with --mesh, as each task holds the slots of its part "
            f"of the model. Received: true; {_LEAVE_OUT}."
        )
    refused = (
        ("data.balance", config.data.balance, "equal", "its blocks are moved by worker"),
        ("model.batch_norm", config.model.batch_norm, "block", "parts add only activations"),
        (
            "optimizer.global_clipnorm",
            config.optimizer.global_clipnorm,
            0,
            "no task has the norm of all weights",
        ),
        (
            "train.sequential_blocks",
            config.train.sequential_blocks,
            False,
            "the blocks of a batch exchange activations together",
        ),
        (
            "train.tensorboard_details",
            config.train.tensorboard_details,
            False,
            "no task has the whole model",
        ),
    )
    for name, value, must, reason in refused:
        if parts > 1 and value != must:
            raise ConfigError(
                f"`{name}` must be {short_json(must)} with --mesh, as {reason}. Received: "
                f"{short_json(value)}; {_LEAVE_OUT}."
            )
