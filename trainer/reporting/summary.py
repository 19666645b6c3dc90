"""What is the result of a run, for people and for other programs?

`write` puts it into `summary.json` and logs its main figures.
"""

import numpy as np

from strategies.devices import threads
from strategies.runtime import Runtime
from trainer.config import schema
from trainer.config.schema import ExperimentConfig
from trainer.data.dataset import Dataset
from trainer.process import report
from trainer.reporting.goodput import TaskTime
from trainer.storage.atomic_files import write_json
from trainer.storage.workdir import Workdir
from trainer.training.result import Result


def write(
    workdir: Workdir,
    config: ExperimentConfig,
    dataset: Dataset,
    runtime: Runtime,
    result: Result,
    seconds: float,
    spent: TaskTime | None = None,
) -> dict:
    """Writes `summary.json` and logs the main figures.

    Args:
      seconds: how long this process trained.
      spent: the time of this task over all starts of the run, where it is recorded.

    Raises WorkdirError.
    """
    flat = schema.flatten(config)
    summary = {
        "config": config.name,
        "strategy": runtime.name,
        "reason": runtime.reason,
        "sync_mode": runtime.sync_mode,
        **runtime.exchanged(result.step),
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
        **({"share_sizes": dataset.partition.sizes} if dataset.partition else {}),
        "final_loss": result.train.get("loss"),
        **{f"validation_{name}": value for name, value in result.validation.items()},
        **{f"test_{name}": value for name, value in result.test.items()},
        **result.spent,
        "examples_per_s": result.examples_per_s,
        "seconds": seconds,
        **({"time_spent": spent.as_json()} if spent and spent.spans else {}),
        "weights_sha256": result.weights_sha256,
    }
    if dataset.truth and not dataset.num_classes:
        summary["distance_to_teacher"] = distance_to_teacher(result.state.weights, dataset)
    write_json(workdir.summary, summary)
    shown = ", ".join(f"test {name} {value:.4f}" for name, value in result.test.items())
    early = f" | ended by {result.ended_by}" if result.ended_by else ""
    path = f"{workdir.name}/summary.json"
    report.result(f"done | {result.step} steps{early} | {shown} | {path}", summary)
    return summary


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
