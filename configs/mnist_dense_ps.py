"""784-100-10 on 4,000 MNIST examples, SGD, for 2 parameter servers and 2 workers.

    python -m trainer launch --workers=2 --ps=2 -- --config=mnist_dense_ps
    python -m trainer --config=mnist_dense_ps

Expect 1,000 steps (25 epochs), a checkpoint every 100 steps and a test accuracy near 0.87, which
still improves at the end, because the learning rate is small.

From the article on distributed deep learning, 4.1: SGD with 0.01, batches of 100, shuffled, 4 nodes
with 1,000 examples each. Here the nodes' examples are the first 4,000 training examples. Within an
epoch no two workers use the same example, whatever the number of workers. As in every recipe the
softmax is applied once and the labels are integers. The hidden layer's relu is this project's choice.
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
        data=DataConfig(name="mnist", global_batch_size=100, shuffle=True, train_examples=4000),
        model=ModelConfig(hidden_units=(100,)),
        optimizer=OptimizerConfig(name="sgd", learning_rate=0.01),
        train=TrainConfig(steps=1000, checkpoint_every_steps=100),
    )
