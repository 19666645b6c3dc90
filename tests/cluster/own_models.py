"""How do tests run a recipe's own model in every layout of replicas, and kill it?"""

import functools
import pathlib
import signal
from collections.abc import Callable, Sequence

import numpy as np

from tests.cluster import cluster, held
from tests.cluster.cluster import PATIENCE_S, Run
from tests.cluster.parity_test import LAYOUTS


def runner(
    tmp_path_factory, flags_of: Callable[[str], Sequence[str]], patience_s: float = PATIENCE_S
) -> Callable[..., Run]:
    """A function of (recipe, layout, *more flags): the finished run, made at the first call."""

    @functools.cache
    def once(recipe: str, layout: str, *more: str) -> Run:
        workdir = tmp_path_factory.mktemp("run") / "workdir"
        _, start = LAYOUTS[layout]
        return cluster.finished(start(workdir, *flags_of(recipe), *more), workdir, patience_s)

    return once


def assert_same_bits(other: Run, single: Run, steps: int = 6) -> None:
    assert other.summary["steps"] == single.summary["steps"] == steps
    assert other.summary["weights_sha256"] == single.summary["weights_sha256"]
    assert other.summary["test_loss"] == single.summary["test_loss"]


def assert_same_arrays(other: Run, single: Run) -> None:
    """Also the slots, and whatever else the checkpoints have."""
    assert_same_bits(other, single, single.summary["steps"])
    assert other.arrays.keys() == single.arrays.keys()
    for name, array in single.arrays.items():
        found = other.arrays[name]
        assert found.dtype == array.dtype and np.array_equal(found, array), name


def killed_and_resumed(
    workdir: pathlib.Path,
    flags: Sequence[str],
    patience_s: float = PATIENCE_S,
    then: Callable[[], object] = lambda: None,
) -> Run:
    """A run that was killed after its third step, and resumed on two devices. `then`: in between."""
    flags = [*flags, "--config.train.checkpoint_every_steps=1"]
    hold = held.before(step=3)  # It has few more.
    with hold, cluster.training(workdir, *flags) as process:
        process.await_line("train      | step       3", patience_s)
        process.send(signal.SIGKILL)
        process.wait()
    assert not (workdir / "summary.json").exists()
    then()
    two_devices = cluster.training(workdir, *flags, "--devices=2")
    resumed = cluster.finished(two_devices, workdir, patience_s)
    assert "resuming at step" in resumed.screen
    return resumed
