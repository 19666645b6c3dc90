"""784-16384-1024-10 on scikit-learn's digits, Adam, to be held in parts.

    python -m trainer launch --workers=2 -- --config=wide_dense --mesh=model:2
    python -m trainer --config=wide_dense

Expect the same weights from both: 48 steps (2 epochs), in one to three minutes on two cores. Weights and
Adam's slots are 356 MB; each of two workers holds 178 MB of them. A batch is one block, as each more
takes the memory of another gradient; for `--mesh=data:2,model:2` also give
`--config.train.reduction_blocks=2`.

It is from no document: it is `digits_dense` with hidden layers so wide that what a process needs for them
counts. docs/model-parallelism.md has the memory of each process, measured.
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
        data=DataConfig(name="digits", global_batch_size=64),
        model=ModelConfig(hidden_units=(16384, 1024), blocks=4),
        optimizer=OptimizerConfig(name="adam", learning_rate=1e-4),
        train=TrainConfig(epochs=2, reduction_blocks=1),
    )
