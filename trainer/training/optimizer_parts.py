"""Can workers share the memory of this run's optimizer, and how much of it does each hold?

`check_choice` asks the strategy, and `check_program` the optimizer. `note` says in a sentence who holds
the optimizer's state, and `describe` in how many bytes.
"""

from typing import TYPE_CHECKING

from strategies import weight_pieces
from strategies.choose import Choice
from strategies.cluster.spec import ClusterSpec
from strategies.traits import SlotHolder
from trainer.config.fields import ConfigError
from trainer.config.schema import ExperimentConfig

if TYPE_CHECKING:  # It imports TensorFlow.
    from trainer.model.step import TrainingProgram


def check_choice(config: ExperimentConfig, choice: Choice, cluster: ClusterSpec) -> None:
    """Raises ConfigError where this strategy cannot divide the optimizer's state as asked."""
    if not config.sync.shard_optimizer:
        return
    if choice.traits.slots is SlotHolder.CORES:
        raise _error(f"with {choice.strategy}, whose {choice.traits.slots.value}", "leave it out")
    if choice.transport == "tensorflow" and len(cluster.trainers()) > 1:
        raise _error(
            "with --transport=tensorflow, which adds whole gradients",
            "give --transport=direct, with one GPU per worker",
        )


def check_program(config: ExperimentConfig, program: "TrainingProgram") -> None:
    """Raises ConfigError where the optimizer cannot update pieces of the weights as asked."""
    if not config.sync.shard_optimizer:
        return
    from trainer.model import elementwise

    if program.optimizers.keeps_averages:
        raise _error(
            "for an optimizer with `use_ema`, which evaluations need whole", "leave it out"
        )
    if program.global_clipnorm:
        raise _error(
            "for an optimizer with `global_clipnorm`, a norm over all gradients", "leave it out"
        )
    if program.loss_scale and program.loss_scale.settings["growth_steps"]:
        raise _error(
            "for a loss scale that changes, as float16 needs, which follows from all gradients",
            "leave it out, or use mixed_bfloat16",
        )
    if found := elementwise.connecting(program.optimizers):
        weight, operation = found
        raise _error(
            f"for {program.optimizers.description}, whose update of `{weight}` has a {operation}: in "
            "pieces it would get other bits",
            "leave it out, or choose e.g. adam",
        )


def note(choice: Choice, cluster: ClusterSpec) -> str:
    """Who holds the optimizer's state of a run that asks for parts."""
    if (parts := weight_pieces.num_holders(choice, cluster)) > 1:
        return f"each of {parts} workers holds a part of the optimizer's state"
    if choice.traits.slots is SlotHolder.SERVERS:
        return f"{choice.traits.slots.value}: `sync.shard_optimizer` changes nothing"
    return "there is one worker, which holds all of the optimizer's state"


def describe(
    config: ExperimentConfig, program: "TrainingProgram", choice: Choice, cluster: ClusterSpec
) -> str:
    """The same with the bytes. Raises what `check_program` does."""
    check_program(config, program)
    weights, slots, _ = program.shapes()
    whole = sum(slot.nbytes for own in slots for slot in own)
    shown = f"{note(choice, cluster)}; it has {_in_mb(whole)}"
    if (parts := weight_pieces.num_holders(choice, cluster)) == 1:
        return shown
    held = [
        sum(piece.of(slot).nbytes for piece in pieces for slot in slots[piece.weight])
        for pieces in weight_pieces.cut([weight.shape for weight in weights], parts)
    ]
    return f"{shown}, and a worker {_in_mb(max(held))} of that"


def _in_mb(num_bytes: int) -> str:
    return f"{num_bytes / 1e6:,.1f} MB"


def _error(where: str, fix: str) -> ConfigError:
    return ConfigError(f"`sync.shard_optimizer` must be false {where}. Received: true; {fix}.")
