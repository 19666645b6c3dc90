"""relu(xW + b) by least squares on a synthetic regression, SGD.

    python -m trainer --config=relu_regression
    python -m trainer launch --workers=2 --ps=1 -- --config=relu_regression

Expect the mean squared error on the test examples to fall from about 0.95 to 0.01 in 5,000 steps (50
epochs). The data has no noise, so the error falls further with more steps. The bias of an output that
is nearly always 0 is learned last.

From the article on efficient training, 4.1 (data-parallel gradient descent) and 4.2 (a parameter
server): SGD with 0.01 on the mean squared error. One recipe serves both, because the cluster decides
which of them runs. Batch size and number of epochs are this project's choice.
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
        data=DataConfig(name="relu_regression", global_batch_size=100),
        model=ModelConfig(hidden_units=(), output_activation="relu"),
        optimizer=OptimizerConfig(name="sgd", learning_rate=0.01),
        train=TrainConfig(epochs=50),
    )
