"""W[100, 10] and b[10] by least squares on a synthetic regression, SGD.

    python -m trainer --config=linear_100

Expect the mean squared error on the test examples to fall from about 3.1 to 0.06 in 1,000 steps. With
--config.train.steps=5000 it reaches 0.0001, the variance of the noise, and every weight is within
0.001 of the weight that generated the data.

From the article on distributed machine learning, 4: SGD with 0.01 for 1,000 steps on the mean squared
error, which here is also the mean over the outputs. The documents use Estimators, one of which
returns itself; here it is a model like any other. The batch of 100 is this project's choice.
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
        data=DataConfig(name="linear_100", global_batch_size=100),
        model=ModelConfig(hidden_units=()),
        optimizer=OptimizerConfig(name="sgd", learning_rate=0.01),
        train=TrainConfig(steps=1000),
    )
