"""100-100-10 on a synthetic classification with 100 features, SGD.

    python -m trainer --config=dense_100

Expect 5,000 steps (50 epochs), a training loss near 1.0 and a test accuracy near 0.56; guessing gives
0.10. The labels come from a random 100-100-10 network (the teacher), so a network of this size could
predict all of them, but 10,000 examples are too few to learn it: longer training only overfits.

The shape and the 100 features are from the article on distributed deep learning, 4.1. The teacher is
this project's choice, so that there is something to learn. SGD with 0.01 and batches of 100 are those
of the article's other network; it trains for as long as the test accuracy improves.
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
        data=DataConfig(name="dense_100", global_batch_size=100),
        model=ModelConfig(hidden_units=(100,)),
        optimizer=OptimizerConfig(name="sgd", learning_rate=0.01),
        train=TrainConfig(epochs=50),
    )
