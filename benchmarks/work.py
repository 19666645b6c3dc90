"""What is the work that every peer of a benchmark does?

One net, 784-128-10, with Adam at 0.001, from the same first weights, over the same batches in the same
order. So all must end at the same loss, up to rounding, and only the time may differ.
"""

import dataclasses
import json
import sys
import time
from collections.abc import Callable

import numpy as np

from trainer.config import ExperimentConfig, resolve
from trainer.datasets import Dataset, Split
from trainer.sample_order import SampleOrder

NUM_EXAMPLES = 60_000  # As many as MNIST has.


@dataclasses.dataclass(frozen=True)
class Work:
    """`steps` batches of `batch` examples. The first `warm_up` of them are not timed."""

    batch: int
    steps: int
    warm_up: int

    @classmethod
    def from_args(cls) -> "Work":
        """The work that `benchmarks.run` named on a peer's command line."""
        return cls(**json.loads(sys.argv[1]))

    @property
    def config(self) -> ExperimentConfig:
        return resolve("mnist_dense", {"data.global_batch_size": str(self.batch)})

    @property
    def order(self) -> SampleOrder:
        return SampleOrder(NUM_EXAMPLES, self.batch, seed=0)

    def dataset(self) -> Dataset:
        """uint8 [60000, 28, 28] images of ten noisy prototypes, and int32 [60000] classes.

        Not MNIST, so that the benchmark runs anywhere; of its size and type, and learnable.
        """
        random = np.random.Generator(np.random.Philox(7))
        prototypes = random.integers(0, 256, (10, 28, 28))
        labels = random.integers(0, 10, NUM_EXAMPLES).astype(np.int32)
        noise = random.integers(0, 256, (NUM_EXAMPLES, 28, 28), np.uint8)
        images = (prototypes[labels] // 4 + noise * 0.75).astype(np.uint8)
        split = Split(images, labels)
        return Dataset(
            name="prototypes", train=split, test=split.first(1000), num_classes=10,
            num_outputs=10, description="ten noisy prototypes", feature_scale=1 / 255,
        )  # fmt: skip

    def in_order(self) -> tuple[np.ndarray, np.ndarray]:
        """float32 [steps * batch, 784] in [0, 1] and int32 [steps * batch]: every batch in turn.

        Peers are given their input gathered, converted and scaled, which none of them has to time.
        """
        if self.steps > self.order.steps_per_epoch:
            raise ValueError(f"`steps` must be within an epoch. Received: {self.steps}.")
        split, rows = self.dataset().train, self.order.steps_batches(0, self.steps).ravel()
        images = split.features[rows].reshape(-1, 784).astype(np.float32) / 255
        return images, split.targets[rows]

    def first_weights(self) -> list[np.ndarray]:
        """Kernel [784, 128], bias [128], kernel [128, 10] and bias [10]."""
        from trainer.steps import TrainingProgram

        return TrainingProgram(self.config, self.dataset()).initial_weights()

    def keras_model(self):
        """The net as a user of Keras writes it, with the first weights; from [b, 784] to logits."""
        import keras

        model = keras.Sequential(
            [
                keras.Input((784,)),
                keras.layers.Dense(128, activation="relu"),
                keras.layers.Dense(10),
            ]
        )
        model.set_weights(self.first_weights())
        return model


def report(work: Work, train: Callable[[int, int], float]) -> None:
    """Times `train(first_step, end_step)`, which returns the mean loss of those steps.

    Prints one JSON object: `examples_per_s` and `loss` of the timed steps.
    """
    train(0, work.warm_up)
    began = time.perf_counter()
    loss = train(work.warm_up, work.steps)
    seconds = time.perf_counter() - began
    timed = (work.steps - work.warm_up) * work.batch
    print(json.dumps({"examples_per_s": timed / seconds, "loss": loss}))
