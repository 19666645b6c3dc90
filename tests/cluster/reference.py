"""What should a run's weights and losses be, and how far may float32 be from them?

`reference` computes both. It repeats the recipes' arithmetic in float64 and plain numpy, without
replicas. It shares the initial weights, the data and the sample order with the trainer, and no code.

The tolerance. A sum of n terms in float32 has the rounding errors of its partial sums. Each error is at
most u = 2**-24 of a partial sum, and that is at most S, the sum of the terms' magnitudes. Errors up and
down are equally likely, so n of them add up to about sqrt(n) u S (Higham and Mary, "A New Approach to
Probabilistic Rounding Error Analysis", 2019). This holds for any order of the terms, so for any number
of replicas. How such errors grow over the steps depends on the net and, with Adam, on sqrt(v) + eps:
where a gradient is almost zero, rounding decides its sign, and with it a whole update. There is no good
closed bound for this, so the tolerance is computed. The same steps are taken several times, with a random
error of that size in every sum of every step. The mean change of each array's elements is its tolerance.
Weights are compared by that mean because of those few elements of Adam's.
"""

import dataclasses

import numpy as np

from trainer.config.schema import ExperimentConfig, OptimizerConfig
from trainer.data.dataset import Dataset, Split

UNIT_ROUNDOFF = 2.0**-24
DRAWS = 8
# Of nine equal draws, a given one is the largest once in nine times, but hardly twice the next.
MARGIN = 2.0


@dataclasses.dataclass(frozen=True)
class Outcome:
    """float64 weights in the model's order, and the mean losses by their names in the summary."""

    weights: list[np.ndarray]
    losses: dict[str, float]


@dataclasses.dataclass(frozen=True)
class Reference:
    """The outcome in exact arithmetic, and the tolerances for rounding."""

    exact: Outcome
    weight_tolerances: list[float]
    loss_tolerances: dict[str, float]

    def excess(self, weights: list[np.ndarray], losses: dict[str, float]) -> dict[str, float]:
        """The distance of each array and loss from the exact one, in tolerances: at most 1 is correct."""
        found = _distances(self.exact, Outcome(weights, losses))
        allowed = [*self.weight_tolerances, *self.loss_tolerances.values()]
        return {name: d / a for (name, d), a in zip(found.items(), allowed, strict=True)}


class Exact:
    """Arithmetic without rounding, except that of float64."""

    def product(self, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        return a @ b

    def rounded(self, a, roundings: int = 1):
        return a


class Float32(Exact):
    """Arithmetic with random errors of the size of float32's, new ones at every call."""

    def __init__(self, seed: int):
        self._random = np.random.default_rng(seed)

    def product(self, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        size = UNIT_ROUNDOFF * np.sqrt(a.shape[-1]) * (np.abs(a) @ np.abs(b))
        return a @ b + size * self._random.uniform(-1, 1, np.shape(size))

    def rounded(self, a, roundings: int = 1):
        return a + UNIT_ROUNDOFF * roundings * a * self._random.uniform(-1, 1, np.shape(a))


def reference(
    config: ExperimentConfig,
    dataset: Dataset,
    weights: list[np.ndarray],
    batches: list[np.ndarray],
) -> Reference:
    """The outcome of training from `weights` on these batches of example indices, with tolerances."""
    exact = train(config, dataset, weights, batches, Exact())
    drawn = [train(config, dataset, weights, batches, Float32(seed)) for seed in range(DRAWS)]
    distances = [_distances(exact, outcome) for outcome in drawn]
    worst = {name: MARGIN * max(d[name] for d in distances) for name in distances[0]}
    return Reference(
        exact,
        [worst[f"weights {place}"] for place in range(len(weights))],
        {name: worst[name] for name in exact.losses},
    )


def train(
    config: ExperimentConfig,
    dataset: Dataset,
    weights: list[np.ndarray],
    batches: list[np.ndarray],
    arithmetic: Exact,
) -> Outcome:
    """The outcome after all batches. `final_loss` is the last batch's, before its update."""
    net = _Net(config, dataset, arithmetic)
    weights = [weight.astype(np.float64) for weight in weights]
    optimizer = _OPTIMIZERS[config.optimizer.name](config.optimizer, arithmetic)
    for batch in batches:
        loss, gradients = net.gradients(weights, dataset.train, batch)
        gradients = _clipped(gradients, config.optimizer.global_clipnorm, arithmetic)
        weights = optimizer.update(weights, gradients)
    everything = np.arange(len(dataset.test))
    test_loss, _ = net.gradients(weights, dataset.test, everything)
    return Outcome(weights, {"final_loss": loss, "test_loss": test_loss})


def _distances(exact: Outcome, other: Outcome) -> dict[str, float]:
    pairs = zip(exact.weights, other.weights, strict=True)
    found = {f"weights {place}": float(np.abs(a - b).mean()) for place, (a, b) in enumerate(pairs)}
    return found | {name: abs(loss - other.losses[name]) for name, loss in exact.losses.items()}


class _Net:
    """Dense layers with relu between them, and the gradient of their mean loss, written out."""

    def __init__(self, config: ExperimentConfig, dataset: Dataset, arithmetic: Exact):
        self._is_rectified = config.model.output_activation == "relu"
        self._scale = dataset.feature_scale
        self._losses = _cross_entropy if dataset.num_classes else _squared_error
        self._arithmetic = arithmetic

    def gradients(self, weights: list, split: Split, batch: np.ndarray) -> tuple[float, list]:
        product, rounded = self._arithmetic.product, self._arithmetic.rounded
        inputs, outputs = self._forward(weights, split.features[batch])
        losses, delta = self._losses(outputs, split.targets[batch])
        if self._is_rectified:
            delta = delta * (outputs > 0)
        loss = product(np.ones(len(batch)), losses) / len(batch)
        gradients: list[np.ndarray] = []
        for kernel, layer_input in zip(weights[-2::-2], inputs[::-1], strict=True):
            own = product(layer_input.T, delta), product(np.ones(len(batch)), delta)
            gradients = [rounded(one / len(batch)) for one in own] + gradients
            delta = product(delta, kernel.T) * (layer_input > 0)
        return float(loss), gradients

    def _forward(self, weights: list, features: np.ndarray) -> tuple[list, np.ndarray]:
        """Each layer's input, and the last one's output."""
        inputs = [features.reshape(len(features), -1) * self._scale]
        for kernel, bias in zip(weights[::2], weights[1::2], strict=True):
            last = self._arithmetic.product(inputs[-1], kernel) + bias
            inputs.append(np.maximum(last, 0))
        return inputs[:-1], inputs[-1] if self._is_rectified else last


def _cross_entropy(logits: np.ndarray, classes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The loss of each example in nats, and its gradient with respect to the logits."""
    shifted = np.exp(logits - logits.max(1, keepdims=True))
    probabilities = shifted / shifted.sum(1, keepdims=True)
    hot = np.eye(logits.shape[1])[classes]
    return -np.log((probabilities * hot).sum(1)), probabilities - hot


def _squared_error(outputs: np.ndarray, targets: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    difference = outputs - targets
    return (difference**2).mean(1), 2 * difference / outputs.shape[1]


def _clipped(gradients: list, largest_norm: float, arithmetic: Exact) -> list:
    """The gradients, scaled down where their common norm exceeds `largest_norm`; 0: unchanged."""
    if not largest_norm:
        return gradients
    flat = np.concatenate([gradient.ravel() for gradient in gradients])
    norm = np.sqrt(arithmetic.product(flat, flat))
    scale = arithmetic.rounded(min(1.0, largest_norm / norm), 2)
    return [arithmetic.rounded(gradient * scale) for gradient in gradients]


class _Sgd:
    def __init__(self, config: OptimizerConfig, arithmetic: Exact):
        self._rate = config.learning_rate
        self._rounded = arithmetic.rounded

    def update(self, weights: list, gradients: list) -> list:
        # Two roundings for the rate and the product, and one for the difference.
        return [
            self._rounded(weight - self._rounded(self._rate * gradient, 2))
            for weight, gradient in zip(weights, gradients, strict=True)
        ]


class _Adam:
    """Kingma and Ba, "Adam", 2015, with the order of operations at the end of section 2."""

    _BETA_1, _BETA_2, _EPSILON = 0.9, 0.999, 1e-7

    def __init__(self, config: OptimizerConfig, arithmetic: Exact):
        self._rate = config.learning_rate
        self._rounded = arithmetic.rounded
        self._step = 0
        self._moments: list[tuple[np.ndarray | float, np.ndarray | float]] = []

    def update(self, weights: list, gradients: list) -> list:
        self._step += 1
        self._moments = self._moments or [(0.0, 0.0)] * len(weights)
        self._moments = [
            (
                self._rounded(self._BETA_1 * m + (1 - self._BETA_1) * gradient, 3),
                self._rounded(self._BETA_2 * v + (1 - self._BETA_2) * gradient**2, 4),
            )
            for (m, v), gradient in zip(self._moments, gradients, strict=True)
        ]
        # A power of beta near 1 is rounded, and 1 minus that power keeps the absolute error.
        powers = [self._rounded(b**self._step, self._step) for b in (self._BETA_1, self._BETA_2)]
        rate = self._rate * np.sqrt(1 - powers[1]) / (1 - powers[0])
        return [
            self._rounded(weight - self._rounded(rate * m / (np.sqrt(v) + self._EPSILON), 5))
            for weight, (m, v) in zip(weights, self._moments, strict=True)
        ]


_OPTIMIZERS: dict[str, type[_Sgd] | type[_Adam]] = {"sgd": _Sgd, "adam": _Adam}
