"""Which model does a config name? `ModelConfig` has the fields of the section `model`."""

import dataclasses

from trainer.config.fields import option

ACTIVATIONS = ("relu", "elu", "gelu", "selu", "sigmoid", "silu", "softplus", "tanh")


@dataclasses.dataclass(frozen=True)
class ModelConfig:
    """A stack of dense layers. Classifiers end in logits; the loss applies the softmax."""

    name: str = option("dense", "kind of model: dense", choices=("dense",))
    hidden_units: tuple[int, ...] = option(
        (128,), "units of each hidden layer, e.g. 128,64; (): no hidden layers", least=1
    )
    activation: str = option("relu", "activation of the hidden layers", choices=ACTIVATIONS)
    output_activation: str = option(
        "",
        "activation of the last layer, for a regression; empty: none",
        choices=("", *ACTIVATIONS),
    )
    batch_norm: str = option(
        "block",
        "block: batch normalization uses the statistics of each block of a batch; global: those of the "
        "whole batch, which replicas then exchange in each step",
        choices=("block", "global"),
        since=2,
    )
    dropout: float = option(
        0.0, "share of each hidden layer's outputs that a step drops", least=0, below=1, since=2
    )
    l1: float = option(
        0.0, "add this times the sum of the kernels' absolute values to the loss", least=0, since=2
    )
    l2: float = option(
        0.0, "add this times the sum of the kernels' squares to the loss", least=0, since=2
    )
    initial_weights: str = option(
        "",
        "weights to start with: a run's folder (its best checkpoint, if it was evaluated, else the "
        "newest), a checkpoint, or a .keras or .weights.h5 file; empty: those that follow from the seed",
        since=2,
    )
    initial_weights_skip: str = option(
        "",
        "layers or weights that `initial_weights` need not have, or that are not taken from it, e.g. "
        "output,head*",
        since=2,
    )

    blocks: int = option(
        0,
        "cut large layers into N blocks whose results are added in a fixed order, so that up to N tasks "
        "can hold parts of the model (--mesh) with the same bits; 0: do not",
        least=0,
        below=1025,
        since=2,
    )
    sharding: str = option(
        "",
        "how layers are held, by name, e.g. dense_1=column,dense_2=row,words=rows,attention=heads or "
        "head=replicated; the others follow the rule in docs/model-parallelism.md",
        since=2,
    )
    frozen_layers: str = option(
        "", "layers whose weights do not train, by name, e.g. hidden_1,block_*", since=2
    )

    @property
    def frozen(self) -> list[str]:
        """The patterns in `frozen_layers`."""
        return listed(self.frozen_layers)

    @property
    def skipped(self) -> list[str]:
        """The patterns in `initial_weights_skip`."""
        return listed(self.initial_weights_skip)


def listed(names: str) -> list[str]:
    """["a", "b*"] of "a, b*"."""
    return [name for one in names.split(",") if (name := one.strip())]
