"""Which files do all peers read?

    python -m benchmarks.prepare FOLDER NUM_EXAMPLES EPOCHS

One file has the work, for peers that read NumPy. The same examples are also stored as a source, so that
the trainer is measured through its own command line. They are not MNIST, so that the benchmark runs
anywhere: ten noisy prototypes, of MNIST's size and type. One label in ten is wrong;
otherwise the loss would reach zero, where all trainings look the same.
"""

import pathlib
import sys

import numpy as np

from trainer.config import load as config_load
from trainer.data.dataset import Dataset, Split
from trainer.order.sample_order import SampleOrder

_NUM_TRAIN, _NUM_TEST = 60_000, 10_000  # As MNIST's.


def main() -> None:
    folder, num_examples, epochs = pathlib.Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    dataset = prototypes()
    write_work(folder / f"work-{num_examples}.npz", dataset, num_examples, epochs)
    write_source(folder, dataset)


def prototypes() -> Dataset:
    """uint8 [60000 and 10000, 28, 28] images of ten noisy prototypes, and int32 classes."""
    random = np.random.Generator(np.random.Philox(7))
    prototypes = random.integers(0, 256, (10, 28, 28), np.uint8)
    labels = random.integers(0, 10, _NUM_TRAIN + _NUM_TEST).astype(np.int32)
    noise = random.integers(0, 256, (len(labels), 28, 28), np.uint8)
    images = (prototypes // 4)[labels] + noise // 4 * 3
    is_wrong = random.random(len(labels)) < 0.1
    labels = np.where(is_wrong, random.integers(0, 10, len(labels)), labels).astype(np.int32)
    return Dataset(
        name="prototypes", train=Split(images[:_NUM_TRAIN], labels[:_NUM_TRAIN]),
        test=Split(images[_NUM_TRAIN:], labels[_NUM_TRAIN:]), num_classes=10, num_outputs=10,
        description="ten noisy prototypes", feature_scale=1 / 255,
    )  # fmt: skip


def write_work(path: pathlib.Path, dataset: Dataset, num_examples: int, epochs: int) -> None:
    from trainer.training import programs

    # Imported here: it needs TensorFlow, which `prototypes` does not.

    config = config_load.resolve("mnist_dense")
    order = SampleOrder(num_examples, num_examples, config.train.seed)
    weights = programs.training_program(config, dataset).initial_weights()
    np.savez(
        path,
        images=dataset.train.features.reshape(-1, 784),
        labels=dataset.train.targets,
        order=order.steps_batches(0, epochs),
        **{f"weight_{place}": weight for place, weight in enumerate(weights)},  # type: ignore[arg-type]
    )


def write_source(folder: pathlib.Path, dataset: Dataset) -> None:
    np.savez(
        folder / "examples.npz",
        x_train=dataset.train.features,
        y_train=dataset.train.targets,
        x_test=dataset.test.features,
        y_test=dataset.test.targets,
    )


if __name__ == "__main__":
    main()
