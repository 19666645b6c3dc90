"""100-100-10 on a synthetic classification with 100 features, SGD.

    python -m trainer --config=dense_100

Expect 5,000 steps (50 epochs), a training loss near 1.0 and a test accuracy near 0.56; a guess has
0.10. The labels are a 100-100-10 teacher's, so a net of this size could have them all right, but
10,000 examples do not tell it how: training for longer only fits those better.

From the article on distributed deep learning, 4.1, for the shape and the 100 features. The teacher
is this project's, so that there is something to learn. So are optimizer, batch and length: SGD 0.01
and 100 as in that article's other net, for as long as the test accuracy gains from it.
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
