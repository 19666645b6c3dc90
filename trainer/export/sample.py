"""What does a trained model answer on a sample of the test set, and where is it most wrong?

`answers` asks the model about a bounded number of examples, for a bounded time, on this task's devices
and without compiling anything. It returns what a report draws: counts of labels and answers, and the
worst mistakes with their pictures; or truth and prediction where targets are numbers.
"""

import base64
import io
import time
from collections.abc import Mapping
from typing import Any

import numpy as np
from PIL import Image

from strategies.runtime import State
from trainer.data.dataset import Dataset, Split
from trainer.export import serving
from trainer.model.losses import BINARY_LOGITS, LOGITS
from trainer.model.step import TrainingProgram

_MAX_EXAMPLES = 5_000
_MAX_S = 2.0  # No batch begins later.
_FIRST_BATCH, _LARGEST_BATCH = 16, 512
_MAX_STATE_BYTES = 1 << 30  # The weights of a larger model are not copied for this.
_MAX_CLASSES = 30  # In a table of all pairs.
_WORST, _PAIRS, _CONFUSED = 12, 500, 12
_PICTURE = 96  # Pixels, at most.


def answers(program: TrainingProgram, dataset: Dataset, state: State) -> dict[str, Any]:
    """As JSON: how many `examples` were asked, of how many, and what came out by output.

    Empty where the model is too large to be asked here.
    """
    if sum(array.nbytes for array in [*state.weights, *state.layer_state]) > _MAX_STATE_BYTES:
        return {}
    outputs, count = _outputs(program, dataset.test, state)
    split = dataset.test.first(count)
    kinds = program.objective.output_kinds()
    targets = _by_name(split.targets)
    found = []
    for name, kind in kinds.items():
        values = serving.probabilities(outputs[name if name in outputs else ""], kind)
        truth = targets.get(name, next(iter(targets.values())) if len(targets) == 1 else None)
        if truth is not None and (one := _of_output(kind, np.asarray(truth), values, split)):
            found.append({"name": name} | one)
    return {"examples": count, "of": len(dataset.test), "outputs": found}


def _outputs(
    program: TrainingProgram, split: Split, state: State
) -> tuple[dict[str, np.ndarray], int]:
    """What the model answers for the first examples of a split, by output; and for how many."""
    import tensorflow as tf

    began, size, start = time.monotonic(), _FIRST_BATCH, 0
    wanted = min(len(split), _MAX_EXAMPLES)
    weights = program.evaluated(list(map(tf.constant, state.weights)), state.slots)
    layer_state = list(map(tf.constant, state.layer_state))
    found: list[dict[str, np.ndarray]] = []
    while start < wanted and (not start or time.monotonic() - began < _MAX_S):
        end = min(start + size, wanted)
        batch = tuple(tf.constant(np.asarray(array[start:end])) for array in split.arrays)
        outputs = program.outputs(weights, (*batch, tf.ones([end - start])), layer_state)
        found.append({name: np.asarray(one) for name, one in _by_name(outputs).items()})
        start, size = end, min(2 * size, _LARGEST_BATCH)
    return {name: np.concatenate([one[name] for one in found]) for name in found[0]}, start


def _by_name(values: Any) -> dict[str, Any]:
    if isinstance(values, list | tuple):
        return {str(index): one for index, one in enumerate(values)}
    return dict(values) if isinstance(values, Mapping) else {"": values}


def _of_output(
    kind: str, truth: np.ndarray, values: np.ndarray, split: Split
) -> dict[str, Any] | None:
    if kind in (LOGITS, BINARY_LOGITS):
        return _of_classes(kind, truth, values, split)
    return _of_values(truth, values, split)


def _of_classes(
    kind: str, truth: np.ndarray, values: np.ndarray, split: Split
) -> dict[str, Any] | None:
    if kind == BINARY_LOGITS:
        yes = values.reshape(len(values), -1)
        if yes.shape[1] != 1:
            return None
        values = np.concatenate([1 - yes, yes], 1)
    if values.ndim == 2 and truth.shape == values.shape:
        truth = truth.argmax(-1)
    truth = truth.reshape(len(truth), -1)
    if values.ndim != 2 or truth.shape[1] != 1:
        return None  # As one answer for each place of a sequence.
    labels, answered = truth[:, 0].astype(int), values.argmax(-1)
    certain = values[np.arange(len(values)), answered]
    wrong = np.flatnonzero(labels != answered)
    worst = wrong[np.argsort(-certain[wrong], kind="stable")[:_WORST]]
    num_classes = values.shape[1]
    pairs, counts = np.unique(labels * num_classes + answered, return_counts=True)
    confused = sorted(
        ([int(pair // num_classes), int(pair % num_classes), int(count)]
         for pair, count in zip(pairs, counts, strict=True) if pair // num_classes != pair % num_classes),
        key=lambda one: -one[2],
    )  # fmt: skip
    found: dict[str, Any] = {
        "kind": "classes",
        "right": int((labels == answered).sum()),
        "confused": confused[:_CONFUSED],
        "worst": [
            _shown(split, index)
            | {
                "truth": int(labels[index]),
                "answer": int(answered[index]),
                "probability": round(float(certain[index]), 4),
            }
            for index in worst.tolist()
        ],
    }
    if num_classes <= _MAX_CLASSES:
        table = np.zeros(num_classes * num_classes, int)
        table[pairs] = counts
        found["confusion"] = table.reshape(num_classes, num_classes).tolist()
    return found


def _of_values(truth: np.ndarray, values: np.ndarray, split: Split) -> dict[str, Any] | None:
    if truth.dtype.kind not in "fiub":
        return None
    truth, values = truth.reshape(len(truth), -1), values.reshape(len(values), -1)
    if truth.shape != values.shape:
        return None
    errors = np.abs(values - truth).max(1)
    worst = np.argsort(-errors, kind="stable")[:_WORST]
    every = max(1, truth.size // _PAIRS)
    pairs = np.stack([truth.ravel(), values.ravel()], 1)[::every][:_PAIRS]
    return {
        "kind": "values",
        "pairs": [[float(f"{number:.5g}") for number in pair] for pair in pairs.tolist()],
        "worst": [
            _shown(split, index)
            | {
                "truth": [float(f"{number:.5g}") for number in truth[index][:4].tolist()],
                "answer": [float(f"{number:.5g}") for number in values[index][:4].tolist()],
            }
            for index in worst.tolist()
        ],
    }


def _shown(split: Split, index: int) -> dict[str, Any]:
    """An example for people: a picture, or else its first numbers or words."""
    columns = _by_name(split.features)
    for column in columns.values():
        if picture := _picture(np.asarray(column[index])):
            return {"index": index, "picture": picture}
    texts = []
    for name, column in columns.items():
        flat = np.asarray(column[index]).ravel()
        shown = [
            f"{one:.4g}" if flat.dtype.kind in "fiu" else str(one)[:60] for one in flat[:6].tolist()
        ]
        texts.append((f"{name} " if name else "") + ", ".join(shown) + ("…" * (flat.size > 6)))
    return {"index": index, "text": "; ".join(texts)[:200]}


def _picture(example: np.ndarray) -> str:
    """A PNG as a data URL, where the example has the shape of a picture; else ""."""
    if example.ndim == 3 and example.shape[-1] == 1:
        example = example[..., 0]
    is_gray, is_color = example.ndim == 2, example.ndim == 3 and example.shape[-1] == 3
    if not (is_gray or is_color) or not all(4 <= side <= 1024 for side in example.shape[:2]):
        return ""
    if example.dtype.kind not in "fiub":
        return ""
    if example.dtype != np.uint8:
        low, high = float(example.min()), float(example.max())
        if not np.isfinite([low, high]).all():
            return ""
        example = ((example - low) / max(high - low, 1e-12) * 255).astype(np.uint8)
    image = Image.fromarray(example)
    image.thumbnail((_PICTURE, _PICTURE))
    file = io.BytesIO()
    image.save(file, "PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(file.getvalue()).decode()
