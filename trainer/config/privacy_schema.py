"""How well are single examples protected? `PrivacyConfig` has the fields of `privacy`."""

import dataclasses

from trainer.config.fields import option


@dataclasses.dataclass(frozen=True)
class PrivacyConfig:
    """How far one example may change the weights, and how far the run may go (docs/privacy.md)."""

    clip_norm: float = option(
        0.0,
        "cut the gradient of each example to this norm over all weights (DP-SGD), or, with `sync.mode` "
        "federated, the update of each client; 0: do not",
        least=0,
        below=1e6,
        since=2,
    )
    noise_multiplier: float = option(
        0.0,
        "add normal noise to the sum of a batch's gradients, or of a round's updates, with a standard "
        "deviation of this many `clip_norm`",
        least=0,
        below=1e3,
        since=2,
    )
    delta: float = option(
        1e-5,
        "the delta for which epsilon is computed; less than 1 / examples",
        above=0,
        below=1,
        since=2,
    )
    max_epsilon: float = option(
        0.0, "end the run before its epsilon exceeds this; 0: no limit", least=0, below=1e6, since=2
    )
    secure_aggregation: bool = option(
        False,
        "add the replicas' updates under masks that cancel in the sum, so that no task sees another's",
        since=2,
    )
    homomorphic: bool = option(
        False,
        "add the replicas' updates encrypted, so that the task that adds them cannot read them; takes "
        "seconds for each agreement",
        since=2,
    )
