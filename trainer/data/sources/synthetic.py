"""What are the synthetic data sets, and which weights made their targets?

A fixed "teacher" model made them. Every number is a small multiple of a power of two, drawn from the raw
bits of NumPy's Philox, whose stream is fixed by its specification. Sums of their products are exact in
float64 in any order, so every machine, NumPy and BLAS gives the same bits. The run's seed has no effect.
"""

import zlib

import numpy as np

from trainer.data.dataset import DataConfig, Dataset, Split

NUM_TRAIN, _NUM_TEST = 10_000, 2_000
NUM_FEATURES, _OUTPUTS = 100, 10
_NOISE = 0.01
_SIZES = f"{NUM_TRAIN:,} to train on and {_NUM_TEST:,} to test on"
_DESCRIPTIONS = {
    "dense_100": f"a synthetic 100-feature set labelled by a 100-100-10 teacher net: {_SIZES}",
    "linear_100": f"a synthetic regression, y = xW + b with noise of {_NOISE}: {_SIZES}",
    "relu_regression": f"a synthetic regression, y = relu(xW + b) without noise: {_SIZES}",
}


def load(config: DataConfig) -> Dataset:
    """float32 features [10000, 100] and [2000, 100]; int32 classes [n] or float32 outputs [n, 10].

    `truth` has the teacher's weights by name: kernel [100, 10] and bias [10], or for dense_100
    hidden_kernel [100, 100], hidden_bias [100], output_kernel [100, 10] and output_bias [10].
    """
    is_classification = config.name == "dense_100"
    features = _normal(config.name, "features", (NUM_TRAIN + _NUM_TEST, NUM_FEATURES))
    truth = (_dense_teacher if is_classification else _teacher)(config.name, features)
    targets = _TARGETS[config.name](features, truth)
    features = features.astype(np.float32)
    return Dataset(
        name=config.name,
        train=Split(features[:NUM_TRAIN], targets[:NUM_TRAIN]),
        test=Split(features[NUM_TRAIN:], targets[NUM_TRAIN:]),
        num_classes=_OUTPUTS if is_classification else 0,
        num_outputs=_OUTPUTS,
        description=_DESCRIPTIONS[config.name],
        truth={name: weights.astype(np.float32) for name, weights in truth.items()},
    )


def describe(config: DataConfig) -> str:
    return f"{_DESCRIPTIONS[config.name]}; made from a fixed seed, no network needed"


def _normal(name: str, what: str, shape: tuple[int, ...], scale: float = 1.0) -> np.ndarray:
    """float64 multiples of 2**-10, nearly normal: each is the sum of four uniform 16-bit integers."""
    key = zlib.crc32(f"{name}/{what}".encode())
    count = int(np.prod(shape))
    bits = np.random.Philox(key=key).random_raw(count).astype(np.uint64)
    lanes = [(bits >> np.uint64(shift)) & np.uint64(0xFFFF) for shift in (0, 16, 32, 48)]
    centred = sum(lane.astype(np.int64) for lane in lanes) - 2 * 0xFFFF
    deviation = (2**32 / 3) ** 0.5  # Of the sum of four uniform 16-bit integers.
    return _on_grid(centred * (scale / deviation)).reshape(shape)


def _on_grid(values: np.ndarray) -> np.ndarray:
    return np.rint(values * 2**10) / 2**10


def _teacher(name: str, features: np.ndarray) -> dict[str, np.ndarray]:
    return {
        "kernel": _normal(name, "kernel", (NUM_FEATURES, _OUTPUTS), scale=0.1),
        "bias": _normal(name, "bias", (_OUTPUTS,), scale=0.5),
    }


def _dense_teacher(name: str, features: np.ndarray) -> dict[str, np.ndarray]:
    truth = {
        "hidden_kernel": _normal(name, "hidden_kernel", (NUM_FEATURES, NUM_FEATURES), scale=0.15),
        "hidden_bias": _normal(name, "hidden_bias", (NUM_FEATURES,), scale=0.1),
        "output_kernel": _normal(name, "output_kernel", (NUM_FEATURES, _OUTPUTS), scale=0.15),
        "output_bias": np.zeros(_OUTPUTS),
    }
    # Rectified units have a positive mean: without this bias three classes would get most examples.
    centre = _logits(features, truth).mean(0)
    return truth | {"output_bias": -_on_grid(centre)}


def _linear(features: np.ndarray, truth: dict[str, np.ndarray]) -> np.ndarray:
    return features @ truth["kernel"] + truth["bias"]


def _noisy(features: np.ndarray, truth: dict[str, np.ndarray]) -> np.ndarray:
    outputs = _linear(features, truth)
    return (outputs + _normal("linear_100", "noise", outputs.shape, _NOISE)).astype(np.float32)


def _rectified(features: np.ndarray, truth: dict[str, np.ndarray]) -> np.ndarray:
    return np.maximum(_linear(features, truth), 0).astype(np.float32)


def _logits(features: np.ndarray, truth: dict[str, np.ndarray]) -> np.ndarray:
    hidden = np.maximum(features @ truth["hidden_kernel"] + truth["hidden_bias"], 0)
    return hidden @ truth["output_kernel"] + truth["output_bias"]


def _labels(features: np.ndarray, truth: dict[str, np.ndarray]) -> np.ndarray:
    return _logits(features, truth).argmax(1).astype(np.int32)


_TARGETS = {"dense_100": _labels, "linear_100": _noisy, "relu_regression": _rectified}
