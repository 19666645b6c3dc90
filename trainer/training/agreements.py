"""Which agreement does a config ask for?

One of the modes in `strategies/sync/`, with the values that its fields have.
"""

from typing import TYPE_CHECKING

from strategies.sync.agreement import Agreement
from strategies.sync.asynchronous import Asynchronous, AsyncWindow
from strategies.sync.channel import Channel
from strategies.sync.compression import KINDS, TopK
from strategies.sync.dynamic import Dynamic
from strategies.sync.federated import Federated
from strategies.sync.gradients import Gradients
from strategies.sync.outer import Outer
from strategies.sync.parameters import Parameters
from strategies.sync.private_updates import PrivateUpdates
from trainer.config.fields import ConfigError
from trainer.config.schema import ExperimentConfig

if TYPE_CHECKING:  # It imports TensorFlow.
    from trainer.model.optimizers import Optimizers


def of(config: ExperimentConfig, default: str = "gradients") -> Agreement:
    """The agreement of a run. `default`: the mode that "auto" means."""
    sync = config.sync
    mode = default if sync.mode == "auto" else sync.mode
    outer = Outer(sync.outer, sync.outer_learning_rate, sync.outer_momentum)
    slots = "keep" if sync.slots == "auto" else sync.slots
    if mode == "gradients":
        return Gradients(shards_optimizer=sync.shard_optimizer)
    if mode == "async":
        return Asynchronous(max_staleness=sync.max_staleness)
    if mode == "async_window":
        return AsyncWindow(
            max_staleness=sync.max_staleness,
            window_steps=sync.window_steps,
            window_ms=sync.window_ms,
        )
    summation = _summation(config)
    if mode == "federated":
        clients, proximal = config.federated.clients_per_round, config.federated.proximal
        own = config.federated.own_data
        channel = _channel(config)
        return Federated(clients, "reset", outer, channel, summation, proximal, own_data=own)
    channel = _compression(config)
    if mode == "parameters":
        return Parameters(
            sync.replicas, slots, outer, channel, summation, every_steps=sync.every_steps
        )
    return Dynamic(
        sync.replicas,
        slots,
        outer,
        channel,
        summation,
        every_steps=sync.every_steps,
        min_steps=sync.min_steps,
        max_steps=sync.max_steps,
        max_spread=sync.max_spread,
    )


def _compression(config: ExperimentConfig) -> Channel:
    sync = config.sync
    if sync.compression == "topk":
        return TopK(sync.topk_share, sync.topk_warmup_steps)
    return KINDS[sync.compression]()


def _summation(config: ExperimentConfig) -> str:
    if config.sync.compression != "none":
        return "coded"
    if config.privacy.secure_aggregation:
        return "masked"
    return "homomorphic" if config.privacy.homomorphic else "plain"


def _channel(config: ExperimentConfig) -> Channel:
    """That of clients, which may be private."""
    asked = config.privacy
    if not asked.clip_norm:
        return Channel()
    noise = asked.noise_multiplier * asked.clip_norm
    return PrivateUpdates(asked.clip_norm, noise, config.train.seed)


def check_optimizers(config: ExperimentConfig, optimizers: "Optimizers") -> None:
    """Raises ConfigError where a recipe's own optimizer keeps what logical replicas cannot share."""
    agreement = of(config)
    if not agreement.trains_apart:
        return
    what = ""
    if optimizers.keeps_averages:
        what = "averages of weights (`use_ema`), of which each replica would have its own"
    elif agreement.slots == "reset" and optimizers.follows_schedule:
        what = (
            "a learning rate that follows the count of steps, which starts anew at each agreement"
        )
    if what:
        raise ConfigError(
            f"`sync.mode` must be gradients for an optimizer that has {what}. Received: "
            f"{config.sync.mode!r}; leave it out, or change the optimizer in the recipe."
        )
