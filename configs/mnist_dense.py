"""784-128-10 on MNIST, Adam, 10 epochs.

    python -m trainer --config=mnist_dense

Expect 9,380 steps and a test accuracy of 0.97 to 0.98; after one epoch about 0.95. MNIST is read from
the folder where tensorflow-datasets prepared it, from a folder with its four files, or from the
network.

From the article on synchronous and distributed agents, 5.2, which uses MirroredStrategy; here the
cluster decides. Two bugs of the documents' code are fixed: the loss applies the softmax once, to a
model that ends in logits, and it is the loss for integer labels, because MNIST's labels are integers.
The batch of 64 is this project's choice.
"""

from trainer.recipe import (
    DataConfig,
    ExperimentConfig,
    ModelConfig,
    OptimizerConfig,
    TrainConfig,
)


def get_config() -> ExperimentConfig:
    return ExperimentConfig(
        data=DataConfig(name="mnist", global_batch_size=64),
        model=ModelConfig(hidden_units=(128,)),
        optimizer=OptimizerConfig(name="adam"),
        train=TrainConfig(epochs=10),
    )
