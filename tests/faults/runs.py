"""Which runs do the fault tests disturb? One of each `Layout`, long enough to be hit in every phase."""

import dataclasses
import pathlib

import pytest

from strategies.cluster.spec import Task
from tests.cluster import cluster
from tests.cluster.cluster import Process, Run

STEPS, CHECKPOINT_EVERY = 1000, 50
# Some seconds of training with 20 saves and 21 evaluations; a stop is possible every 5 steps.
FLAGS = (
    f"--config.train.steps={STEPS}",
    "--config.train.steps_per_loop=5",
    f"--config.train.checkpoint_every_steps={CHECKPOINT_EVERY}",
    "--config.train.eval_every_epochs=2",
)
WARM = "warm process"
TALLY = pytest.StashKey[list[str]]()


@dataclasses.dataclass(frozen=True)
class Layout:
    """How a run is started: the tasks and flags of `launch`, if it is used, and the flags of `train`."""

    tasks: tuple[str, ...] = ()
    launch: tuple[str, ...] = ()
    flags: tuple[str, ...] = ()

    @property
    def victims(self) -> tuple[str, ...]:
        """The processes that may be killed, by name."""
        return (*self.tasks, "launch", WARM) if self.tasks else ("alone",)

    @property
    def is_synchronous(self) -> bool:
        return not any(task.startswith("ps") for task in self.tasks)

    @property
    def leader(self) -> str:
        return self.tasks[0] if self.tasks else "alone"

    def start(self, workdir: pathlib.Path, *flags: str) -> Process:
        """A run that has just started in the workdir."""
        train = [f"--workdir={workdir}", *FLAGS, *self.flags, *flags]
        verb = ["launch", *self.launch, "--"] if self.tasks else ["train"]
        # TensorFlow leaves a file in the temporary folder when it is killed.
        return Process([*cluster.TRAINER, *verb, *train], {"TMPDIR": str(workdir.parent)})


LAYOUTS = {
    "1 process": Layout(),
    "2 devices": Layout(flags=("--devices=2",)),
    "2 workers": Layout(("worker 0", "worker 1"), ("--workers=2",)),
    "chief and worker": Layout(("chief 0", "worker 0"), ("--chief", "--workers=1")),
    "2 workers through TensorFlow": Layout(
        ("worker 0", "worker 1"), ("--workers=2",), ("--transport=tensorflow",)
    ),
    "2 workers and evaluator": Layout(
        ("worker 0", "worker 1", "evaluator 0"), ("--workers=2", "--evaluator")
    ),
    "1 ps": Layout(("chief 0", "worker 0", "worker 1", "ps 0"), ("--workers=2", "--ps=1")),
    "2 ps and evaluator": Layout(
        ("chief 0", "worker 0", "worker 1", "ps 0", "ps 1", "evaluator 0"),
        ("--workers=2", "--ps=2", "--evaluator"),
    ),
}


def task(name: str) -> Task:
    kind, _, index = name.partition(" ")
    return Task(kind, int(index))


def finished(layout: str, workdir: pathlib.Path) -> Run:
    """A finished run without faults."""
    return cluster.finished(LAYOUTS[layout].start(workdir), workdir)
