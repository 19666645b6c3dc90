"""What does the task that writes leave for people, when its run ends, fails or is stopped?

`write` puts what only this process knows into `report.json`, and draws `report.html` from it and from the
other files of the workdir. Nothing here can fail a run: what goes wrong is one line in the log.
"""

import dataclasses
from typing import TYPE_CHECKING, Any

from absl import logging

from trainer.config import load as config_load
from trainer.config import schema
from trainer.reporting import label_counts
from trainer.storage.atomic_files import write_json
from trainer.storage.workdir import Workdir
from trainer.task import fingerprint
from trainer.task.context import TaskContext
from trainer.task.prepare import Prepared

if TYPE_CHECKING:
    from trainer.model.step import TrainingProgram
    from trainer.training.result import Result


@dataclasses.dataclass(eq=False)
class Trained:
    """What this task trained. `result` is None where it failed."""

    program: "TrainingProgram"
    result: "Result | None" = None


def write(task: TaskContext, prepared: Prepared, workdir: Workdir, trained: Trained | None) -> None:
    """Writes both files. Where the workdir is in a bucket, they are uploaded when it is released."""
    try:
        from trainer.reporting.report import page

        write_json(workdir.report_facts, _facts(task, prepared, trained))
        page.write([workdir], workdir.report)
    except Exception as error:  # A report is not worth a run.
        reason = " ".join(str(error).split()) or type(error).__name__
        logging.warning("no report was written: %s", reason)


def _changed(task: TaskContext) -> dict[str, list[Any]]:
    """By field, what the recipe says and what the command line made of it."""
    own = schema.flatten(config_load.resolve(task.options.config, {}))
    values = schema.flatten(task.config)
    return {name: [own[name], values[name]] for name in own if own[name] != values[name]}


def _facts(task: TaskContext, prepared: Prepared, trained: Trained | None) -> dict[str, Any]:
    dataset = prepared.dataset
    assert dataset is not None  # The task that writes trains.
    found: dict[str, Any] = {
        "strategy": prepared.choice.strategy,
        "reason": prepared.choice.reason,
        "tasks": [str(one) for one in task.cluster.tasks()],
        "devices": prepared.devices,
        "recipe": task.options.config,
        "changed": _changed(task),
        "versions": fingerprint.versions(),
        "shares": [share.as_json() for share in label_counts.of_dataset(dataset)],
        "partition": [share.as_json() for share in label_counts.of_partition(dataset)],
        "partition_description": str(dataset.partition or ""),
        "class_names": list(dataset.class_names),
    }
    if trained is None:
        return found
    weights = trained.program.model.trainable_variables
    found["parameters"] = sum(int(weight.shape.num_elements() or 0) for weight in weights)
    is_whole = trained.program.blocks.part.is_whole  # A part answers nothing alone.
    if is_whole and trained.result and trained.result.finished:
        from trainer.export import sample

        state = trained.result.state
        found["answers"] = sample.answers(trained.program, dataset, state)
    return found
