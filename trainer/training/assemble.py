"""What is a run made of?"""

from absl import logging

from strategies.runtime import Runtime
from trainer.config.schema import ExperimentConfig
from trainer.data import input_pipeline
from trainer.data.dataset import Dataset
from trainer.model import reduction_blocks
from trainer.order.sample_order import SampleOrder
from trainer.order.schedule import Schedule


def block_size(config: ExperimentConfig, runtime: Runtime) -> int:
    """Examples in each block of a batch (`reduction_blocks.py`); 0 where these replicas have no blocks.

    On GPUs and TPUs only if the config asks: there several small products cost more than a large one.
    """
    count, replicas = reduction_blocks.num_blocks(config), runtime.num_replicas
    is_wanted = config.train.reduction_blocks or runtime.device_type == "CPU"
    if is_wanted and reduction_blocks.fits(count, replicas) and runtime.adds_in_order:
        return config.data.global_batch_size // count
    logging.info(
        "%d replicas on %ss do not add %d blocks in a fixed order: on another number of replicas the "
        "weights agree up to rounding",
        replicas,
        runtime.device_type,
        count,
    )
    return 0


def sample_order(config: ExperimentConfig, dataset: Dataset) -> SampleOrder:
    return SampleOrder(
        len(dataset.train), config.data.global_batch_size, config.train.seed, config.data.shuffle
    )


def make_schedule(
    config: ExperimentConfig, dataset: Dataset, order: SampleOrder, runtime: Runtime
) -> Schedule:
    per_epoch = order.steps_per_epoch
    checkpoint_every = config.train.checkpoint_every_steps or per_epoch
    return Schedule(
        total_steps=total_steps(config, per_epoch),
        steps_per_epoch=per_epoch,
        steps_per_loop=input_pipeline.choose_steps_per_loop(
            dataset.train,
            order,
            runtime.num_replicas,
            config.train.steps_per_loop,
            runtime.steps_per_loop(min(per_epoch, checkpoint_every)),
        ),
        evaluate_every=config.train.eval_every_epochs * per_epoch,
        checkpoint_every=checkpoint_every,
    )


def total_steps(config: ExperimentConfig, steps_per_epoch: int) -> int:
    return config.train.steps or config.train.epochs * steps_per_epoch


def train_input(config, dataset, order, runtime, steps_per_loop) -> input_pipeline.InputPipeline:
    placement = input_pipeline.choose_placement(dataset.train, config.data.placement)
    return input_pipeline.InputPipeline(
        dataset.train,
        order,
        runtime.num_replicas,
        runtime.local_replicas,
        steps_per_loop,
        placement,
    )
