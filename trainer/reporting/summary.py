"""What is the result of a run, for people and for other programs?

`write` puts it into `summary.json` and logs its main figures.
"""

import hashlib

import numpy as np
from absl import logging

from strategies.devices import threads
from strategies.runtime import Runtime
from trainer.config import schema
from trainer.config.schema import ExperimentConfig
from trainer.data.dataset import Dataset
from trainer.storage.atomic_files import write_json
from trainer.storage.workdir import Workdir
from trainer.training.loop import Result


def write(
    workdir: Workdir,
    config: ExperimentConfig,
    dataset: Dataset,
    runtime: Runtime,
    result: Result,
    seconds: float,
) -> dict:
    """Writes `summary.json` and logs the main figures. `seconds`: how long this process trained.

    Raises WorkdirError.
    """
    flat = schema.flatten(config)
    summary = {
        "config": config.name,
        "strategy": runtime.name,
        "reason": runtime.reason,
        "sync_mode": runtime.sync_mode,
        "num_replicas": runtime.num_replicas,
        "threads": threads.num_threads(),
        "global_batch_size": config.data.global_batch_size,
        "steps": result.step,
        "epochs": result.epochs,
        # The field of the config that ended the run before its last step, and its value.
        "ended_by": {name: value for name, value in flat.items() if name == result.ended_by},
        **({} if result.best_step is None else {"best_step": result.best_step}),
        "dataset": dataset.name,
        "dataset_description": dataset.description,
        "final_loss": result.train.get("loss"),
        **{f"validation_{name}": value for name, value in result.validation.items()},
        **{f"test_{name}": value for name, value in result.test.items()},
        "examples_per_s": result.examples_per_s,
        "seconds": seconds,
        "weights_sha256": weights_sha256([*result.state.weights, *result.state.layer_state]),
    }
    if dataset.truth and not dataset.num_classes:
        summary["distance_to_teacher"] = distance_to_teacher(result.state.weights, dataset)
    write_json(workdir.summary, summary)
    shown = ", ".join(f"test {name} {value:.4f}" for name, value in result.test.items())
    early = f" | ended by {result.ended_by}" if result.ended_by else ""
    path = f"{workdir.name}/summary.json"
    logging.info("done | %d steps%s | %s | %s", result.step, early, shown, path)
    return summary


def weights_sha256(arrays: list[np.ndarray]) -> str:
    """sha256 over the weights in the order of the model's trainable variables (layer by layer,
    kernel before bias), and then over its layer state, in the order of its other variables. Each is
    taken as little-endian float32 in C order, or as int64 where it holds integers."""
    digest = hashlib.sha256()
    for array in arrays:
        kind = "<i8" if np.issubdtype(array.dtype, np.integer) else "<f4"
        digest.update(np.ascontiguousarray(array, kind).tobytes())
    return digest.hexdigest()


def distance_to_teacher(weights: list[np.ndarray], dataset: Dataset) -> float | None:
    """The largest absolute difference from the weights that made a regression's data.

    None where there are no such weights, or where the model's have other shapes and cannot be compared.
    """
    if dataset.truth is None:
        return None
    truth = [dataset.truth["kernel"], dataset.truth["bias"]]
    if [weight.shape for weight in weights] != [weight.shape for weight in truth]:
        return None
    pairs = zip(weights, truth, strict=True)
    return max(float(np.abs(mine - true).max()) for mine, true in pairs)
