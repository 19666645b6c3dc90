"""Which model did a run train? It is built again as the run built it, with a checkpoint's weights."""

import dataclasses

import keras
import tensorflow as tf

from trainer.cli.option_groups import CheckpointOptions
from trainer.config.schema import ExperimentConfig
from trainer.data.dataset import Dataset
from trainer.export import serving
from trainer.export.serving import Signature
from trainer.model.step import TrainingProgram
from trainer.storage.chosen_step import chosen_step
from trainer.storage.workdir import Workdir
from trainer.training import assemble


@dataclasses.dataclass(frozen=True, eq=False)
class Trained:
    """The model of a run at one step. `model` takes raw features, as `signature` describes them."""

    program: TrainingProgram
    dataset: Dataset
    step: int
    signature: Signature
    model: keras.Model


def use_cpu() -> None:
    """Keeps TensorFlow from GPUs. Call it before anything is computed."""
    tf.config.set_visible_devices([], "GPU")


def trained(options: CheckpointOptions, config: ExperimentConfig, workdir: Workdir) -> Trained:
    """The model of the checkpoint that the options name. Raises InputError."""
    program, dataset, store = assemble.trained_model(config, workdir)
    step = options.checkpoint or chosen_step(store, workdir, options.best)
    taken = serving.signature(program, dataset)
    model = serving.serving_model(program, store.read(step).state, taken)
    return Trained(program, dataset, step, taken, model)
