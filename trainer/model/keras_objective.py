"""What does a model with any Keras losses and metrics minimise and report, as sums over a batch?

`KerasObjective` sums over examples, so that blocks, replicas and batches add up:

- The loss of an example is the mean over its own values, those that a mask leaves, times the weight of
  that output. That of a batch is the mean over its examples, as Keras computes it where each example has
  the same number of values. (Where masks differ, Keras gives one weight to every value, not to every
  example.) The weight of an example multiplies its loss, and no metric.
- What regularizers and `add_loss` contribute counts once for a batch, however many blocks and replicas
  compute it: each block adds it once for each of its examples, and the sum is divided by all examples. So
  a contribution that depends on the examples is averaged over blocks, by their sizes.
- A metric's own variables are what is summed. So it has to be a plain sum over examples, which
  `check_additive` tests; almost all of Keras's are.
"""

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from keras.src import backend

from trainer.config.fields import ConfigError
from trainer.model.heads import Head, by_name
from trainer.model.losses import BINARY_LOGITS, LOGITS, VALUES, examples_of, penalty

_MEANS = ("sum_over_batch_size", "mean", "mean_with_sample_weight")
_TOLERANCE = (
    1e-4  # Relative. Sums of a few float32 numbers are within 1e-6; what is no sum is far off.
)


class KerasObjective:
    """Implements `trainer.model.losses.Objective`.

    Args:
      heads: the outputs that have a loss.
      names: of all the model's outputs.
      weights_metrics: whether a batch may have padding, which metrics are told by the examples' weights.
    """

    def __init__(self, heads: list[Head], names: list[str], weights_metrics: bool):
        self._heads = heads
        self._names = names
        self._weights_metrics = weights_metrics
        self._initial = [
            [variable.numpy() for variable in metric.variables] for metric in self._metrics()
        ]
        own = [np.size(value) for values in self._initial for value in values]
        self._num_losses = len(heads) if len(heads) > 1 else 0
        self.num_sums = 1 + self._num_losses + sum(map(int, own)) + 1

    def sums(self, targets, outputs, penalties, example_weights):
        is_example = examples_of(example_weights)
        count = tf.reduce_sum(is_example)
        losses, changes = [], []
        found = pairs(self._heads, self._names, targets, outputs)
        for head, (y_true, y_pred) in zip(self._heads, found, strict=True):
            per_example = loss_per_example(head.loss, y_true, y_pred)
            losses.append(tf.reduce_sum(per_example * example_weights))
        weights = is_example if self._weights_metrics else None
        initial = iter(self._initial)
        for head, (y_true, y_pred) in zip(self._heads, found, strict=True):
            for metric in head.metrics:
                values = next(initial)
                change = _change(metric, values, y_true, y_pred, weights)
                # A block without examples was computed on padding.
                changes += [tf.where(count > 0, one, tf.zeros_like(one)) for one in change]
        total = tf.add_n(
            [head.weight * loss for head, loss in zip(self._heads, losses, strict=True)]
        )
        if penalties:
            total += penalty(penalties, count)
        parts = [total, *losses[: self._num_losses], *changes, count]
        return tf.concat([tf.reshape(part, [-1]) for part in parts], 0)

    def means(self, sums):
        assert sums.shape == (self.num_sums,)
        count = sums[-1] or np.nan
        found = {"loss": float(sums[0] / count)}
        for head, loss in zip(self._heads, sums[1:], strict=False):
            if self._num_losses:
                found[f"{head.prefix}loss"] = float(loss / count)
        rest, initial = sums[1 + self._num_losses : -1], iter(self._initial)
        for head in self._heads:
            for metric in head.metrics:
                before, after = next(initial), []
                for value in before:
                    after.append(value + rest[: np.size(value)].reshape(np.shape(value)))
                    rest = rest[np.size(value) :]
                found |= _results(metric, f"{head.prefix}{metric.name}", after, sums[-1] > 0)
        return found

    def output_kinds(self) -> dict[str, str]:
        return {head.output: _kind(head.loss) for head in self._heads}

    def _metrics(self) -> list[keras.metrics.Metric]:
        return [metric for head in self._heads for metric in head.metrics]


def pairs(heads: list[Head], names: list[str], targets: Any, outputs: Any) -> list[tuple[Any, Any]]:
    """(targets, outputs) of each head. `names`: of all the model's outputs."""
    targets, outputs = by_name(targets), by_name(outputs, names)
    return [(targets[head.target], outputs[head.output]) for head in heads]


def _kind(loss: keras.losses.Loss) -> str:
    """What outputs are for a loss that compares them with targets."""
    if not loss.get_config().get("from_logits", False):
        return VALUES
    return BINARY_LOGITS if "binary" in type(loss).__name__.lower() else LOGITS


def loss_per_example(loss: keras.losses.Loss, y_true: Any, y_pred: Any) -> Any:
    """float32 [b]: the mean of each example's values, without those that a mask hides."""
    mask = backend.get_keras_mask(y_pred)
    values = loss.call(*_converted(loss, y_true, y_pred))
    values = tf.cast(values, tf.float32)
    values = tf.reshape(values, [tf.shape(values)[0], -1])
    if mask is None:
        return tf.reduce_mean(values, axis=1)
    mask = tf.reshape(tf.cast(mask, tf.float32), tf.shape(values))
    return tf.math.divide_no_nan(tf.reduce_sum(values * mask, 1), tf.reduce_sum(mask, 1))


def check_loss(head: Head, y_true: Any, y_pred: Any) -> None:
    """Raises ConfigError where a loss is not a mean over these examples."""
    if head.loss.reduction not in _MEANS:
        raise ConfigError(
            "`get_loss` must give losses that are means over examples. Received: "
            f"{head.loss.name} with reduction {head.loss.reduction!r}; leave out `reduction`."
        )
    # Of two sizes: one can be that of another dimension by chance.
    for count in dict.fromkeys((len(y_true), max(1, len(y_true) - 1))):
        values = head.loss.call(*_converted(head.loss, y_true[:count], y_pred[:count]))
        shape = getattr(values, "shape", None)
        if shape is None or not len(shape) or shape[0] != count:
            shown = f"values {list(shape)}" if shape is not None else f"a {type(values).__name__}"
            raise ConfigError(
                f"`get_loss` must give losses with one value per example. Received: {head.loss.name} "
                f"with {shown} for {count} examples; do not average over the examples."
            )


def check_metric(metric: keras.metrics.Metric, y_true: Any, y_pred: Any) -> None:
    """Raises ConfigError where a metric is not a number for each, or no sum over these examples."""
    metric.update_state(y_true, y_pred)  # Some create their variables only then.
    found = metric.result()
    metric.reset_state()
    for value in found.values() if isinstance(found, dict) else [found]:
        if np.asarray(value).dtype.kind not in "biuf":
            raise ConfigError(
                "`get_metrics` must give metrics whose results are numbers. Received: "
                f"a {type(value).__name__} from {metric.name}; return numbers from `result`."
            )
    check_additive(metric, y_true, y_pred)


def check_additive(metric: keras.metrics.Metric, y_true: Any, y_pred: Any) -> None:
    """Raises ConfigError where a metric's variables are no plain sums over examples.

    It compares what these examples add at once with what they add one half after the other.
    """
    if len(y_pred) < 2:
        return
    zero, half = [v.numpy() for v in metric.variables], len(y_pred) // 2
    parts = [
        _change(metric, zero, y_true[rows], y_pred[rows], None)
        for rows in (slice(0, half), slice(half, None))
    ]
    moved = [value + np.asarray(one) for value, one in zip(zero, parts[0], strict=True)]
    moved = [one.astype(value.dtype) for value, one in zip(zero, moved, strict=True)]
    later = _change(metric, moved, y_true[half:], y_pred[half:], None)
    whole = _change(metric, zero, y_true, y_pred[:], None)  # Without a mask, as the halves are.
    for all_at_once, first, second, after in zip(whole, *parts, later, strict=True):
        # Numbers that are not finite end the run at its first step, which names their examples.
        is_sum = _is_close(all_at_once, first + second, 1e-6)
        if not is_sum or not _is_close(after, second, 1e-4):
            raise ConfigError(
                f"`get_metrics` must give metrics whose variables are sums over examples. Received: "
                f"{metric.name}, whose update is none; write it as a sum and divide in `result`."
            )


def _is_close(one: Any, other: Any, atol: float) -> bool:
    return np.allclose(one, other, rtol=_TOLERANCE, atol=atol, equal_nan=True)


def _change(metric, values: list, y_true: Any, y_pred: Any, weights: Any) -> list:
    """float32: what these examples add to a metric's variables with these values."""
    state = [tf.constant(value) for value in values]
    after = metric.stateless_update_state(state, y_true, y_pred, sample_weight=weights)
    return [
        tf.cast(new, tf.float32) - tf.cast(old, tf.float32)
        for new, old in zip(after, state, strict=True)
    ]


def _results(metric, name: str, values: list, has_examples: bool) -> dict[str, float]:
    """The results of a metric whose variables have these values."""
    kinds = [variable.dtype for variable in metric.variables]
    state = [tf.cast(value, kind) for value, kind in zip(values, kinds, strict=True)]
    result = metric.stateless_result(state)
    named = result if isinstance(result, dict) else {name: result}
    found = {}
    for one, value in named.items():
        numbers = np.asarray(value, np.float64).ravel()
        for index, number in enumerate(numbers):
            key = one if len(numbers) == 1 else f"{one}_{index}"
            found[key] = float(number) if has_examples else float("nan")
    return found


def _converted(loss: keras.losses.Loss, y_true: Any, y_pred: Any) -> Sequence[Any]:
    """Targets and outputs in the loss's own type, as Keras converts them."""
    return [keras.ops.convert_to_tensor(one, dtype=loss.dtype) for one in (y_true, y_pred)]
