"""Do all layouts of replicas take the same steps, on the same examples?

Each layout trains each recipe for four steps of 48 examples, on 106 examples: two full batches, one of
10 that leaves some replicas without examples, and the first of the next epoch.
"""

import functools
import pathlib
from collections.abc import Callable

import numpy as np
import pytest

from strategies.collectives.leaf_runs import LeafRuns
from tests.cluster import cluster, reference
from tests.cluster.cluster import Run
from trainer.config import load as config_load
from trainer.config.schema import ExperimentConfig
from trainer.data import registry
from trainer.data.dataset import Dataset
from trainer.order.sample_order import PADDING, SampleOrder

EXAMPLES, BATCH, STEPS = 106, 48, 4
ORDER = SampleOrder(EXAMPLES, BATCH, seed=0)
FLAGS = {
    "data.train_examples": str(EXAMPLES),
    "data.global_batch_size": str(BATCH),
    "train.steps": str(STEPS),
    "train.epochs": "2",
    "train.eval_every_epochs": "0",
    "train.checkpoint_every_steps": "0",
    "train.log_examples": "true",
}
DEFAULT = (  # The recipe's own values. They follow those of FLAGS, and the last flag counts.
    "--config.data.train_examples=0",
    "--config.data.global_batch_size=64",
    "--config.train.steps=30",
)
RECIPES = ("digits_dense mnist_dense mnist_dense_ps dense_100 linear_100 relu_regression").split()
# As with GPUs: every device computes its own gradients, and tf.distribute adds them.
SEPARATE = """
import tensorflow as tf
from strategies.mirrored import MirroredRuntime
from trainer.__main__ import main

def create(cls, choice, cluster, devices, peers):
    return cls(choice.reason, tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"]))

MirroredRuntime.create = classmethod(create)
tf.config.set_logical_device_configuration(
    tf.config.list_physical_devices("CPU")[0], [tf.config.LogicalDeviceConfiguration()] * 2
)
main()
"""


def _separate(workdir: pathlib.Path, *flags: str) -> cluster.Process:
    return cluster.Process(["-c", SEPARATE, f"--workdir={workdir}", "--devices=2", *flags])


def _single_worker(workdir: pathlib.Path, *flags: str) -> cluster.Process:
    """A cluster of one task, with the strategy of several."""
    (worker,) = cluster.clusters(worker=1)
    return cluster.task(worker, workdir, "--strategy=multi_worker", "--devices=2", *flags)


# Each layout's replicas, and how it is started.
LAYOUTS: dict[str, tuple[int, Callable[..., cluster.Process]]] = {
    "1 device": (1, cluster.training),
    "2 devices": (2, lambda *args: cluster.training(*args, "--devices=2")),
    "4 devices": (4, lambda *args: cluster.training(*args, "--devices=4")),
    "2 separate devices": (2, _separate),
    "1 worker of 2 devices": (2, _single_worker),
    "2 workers": (2, functools.partial(cluster.launching, workers=2)),
    "3 workers": (3, functools.partial(cluster.launching, workers=3)),
    "4 workers": (4, functools.partial(cluster.launching, workers=4)),
    "chief and worker": (2, functools.partial(cluster.launching, workers=1, also=["--chief"])),
    "2 workers of 2 devices": (
        4,
        functools.partial(cluster.launching, workers=2, also=["--devices_per_worker=2"]),
    ),
    "2 workers through TensorFlow": (
        2,
        lambda *args: cluster.launching(*args, "--transport=tensorflow", workers=2),
    ),
    # One worker takes the steps one after the other, as in a synchronous run.
    "2 ps and worker": (1, functools.partial(cluster.launching, workers=1, ps=2)),
}
FOR_ALL = ("1 device", "2 separate devices", "2 workers")
MATRIX = [(recipe, layout) for recipe in RECIPES for layout in FOR_ALL]
MATRIX += [("digits_dense", layout) for layout in LAYOUTS if layout not in FOR_ALL]
# Repeat with other recipes what the default recipe shows.
FURTHER = {(recipe, "2 separate devices") for recipe in RECIPES[2:]}
FURTHER |= {("relu_regression", "2 ps and worker"), ("linear_100", "2 workers through TensorFlow")}
MATRIX += sorted(FURTHER - {*MATRIX})


def _each(pairs):
    """The cases of a test. Those in FURTHER are only for the long version."""
    return [
        pytest.param(*pair, marks=pytest.mark.long) if pair in FURTHER else pair for pair in pairs
    ]


@pytest.fixture(scope="module")
def overrides(request):
    """The overrides that a recipe is run with; skips where its data is not available."""

    def of(recipe: str) -> dict[str, str]:
        if not recipe.startswith("mnist"):
            return FLAGS
        return {**FLAGS, "data.dir": str(request.getfixturevalue("prepared_mnist"))}

    return of


@pytest.fixture(scope="module")
def run(tmp_path_factory, overrides):
    """The finished run of a recipe in a layout, run at the first use."""

    @functools.cache
    def once(recipe: str, layout: str, *more: str) -> Run:
        workdir = tmp_path_factory.mktemp("run") / "workdir"
        flags = [f"--config.{name}={value}" for name, value in overrides(recipe).items()]
        _, start = LAYOUTS[layout]
        return cluster.finished(start(workdir, f"--config={recipe}", *flags, *more), workdir)

    return once


@pytest.fixture(scope="module")
def expected(overrides):
    """The reference of a recipe, computed at the first use."""

    @functools.cache
    def once(recipe: str) -> reference.Reference:
        return reference.reference(*_inputs(recipe, overrides(recipe)), _batches())

    return once


def _inputs(
    recipe: str, overrides: dict[str, str]
) -> tuple[ExperimentConfig, Dataset, list[np.ndarray]]:
    """The config, data and initial weights of the trainer."""
    from trainer.training import programs

    config = config_load.resolve(recipe, overrides)
    dataset = registry.load(config.data)
    return config, dataset, programs.training_program(config, dataset).initial_weights()


def _batches() -> list[np.ndarray]:
    return [row[row != PADDING] for row in ORDER.steps_batches(0, STEPS)]


def _losses(run: Run) -> dict[str, float]:
    return {name: run.summary[name] for name in ("final_loss", "test_loss")}


@pytest.mark.parametrize("recipe, layout", _each(MATRIX))
def test_weights_and_losses_are_those_of_exact_arithmetic_up_to_rounding(
    recipe, layout, run, expected
):
    done = run(recipe, layout)
    excess = expected(recipe).excess(done.weights, _losses(done))
    assert max(excess.values()) <= 1, excess
    assert done.summary["steps"] == STEPS
    assert done.summary["num_replicas"] == LAYOUTS[layout][0]


IN_ORDER = [pair for pair in MATRIX if pair[1] != "1 device"]


@pytest.mark.parametrize("recipe, layout", _each(IN_ORDER))
def test_one_two_three_and_four_replicas_end_with_the_same_bits(recipe, layout, run):
    single = run(recipe, "1 device")
    assert run(recipe, layout).summary["weights_sha256"] == single.summary["weights_sha256"]


@pytest.mark.parametrize("threads", [1, pytest.param(2, marks=pytest.mark.long), 8])
def test_the_default_ends_with_the_same_bits_on_any_number_of_threads(threads, run, tmp_path):
    flags = [*cluster.TRAINER, f"--workdir={tmp_path}", "--config.train.steps=30"]
    environ = {"TF_NUM_INTRAOP_THREADS": str(threads)}
    done = cluster.finished(cluster.Process(flags, environ), tmp_path)
    assert done.summary["threads"] == 1  # That share one operation.
    expected = run("digits_dense", "1 device", *DEFAULT)
    assert done.summary["weights_sha256"] == expected.summary["weights_sha256"]


@pytest.mark.parametrize("recipe, layout", _each(MATRIX))
def test_the_replicas_consume_their_slices_of_the_sample_order(recipe, layout, run):
    replicas, _ = LAYOUTS[layout]
    runs = LeafRuns.even(4, replicas).runs  # Of 4 blocks of 12 examples.
    examples = run(recipe, layout).examples
    assert list(examples) == list(range(replicas))
    for replica, consumed in examples.items():
        assert [step for step, _ in consumed] == list(range(STEPS))
        for step, batch in consumed:
            mine = ORDER.step_batch(step)[runs[replica].start * 12 : runs[replica].stop * 12]
            assert batch == mine[mine != PADDING].tolist(), (replica, step)
    first_epoch = [
        example
        for consumed in examples.values()
        for step, batch in consumed
        if step < ORDER.steps_per_epoch
        for example in batch
    ]
    assert sorted(first_epoch) == list(range(EXAMPLES))


@pytest.mark.parametrize("recipe", ["digits_dense", "linear_100"])
def test_the_tolerance_is_exceeded_where_one_example_is_missing(recipe, expected, overrides):
    batches = _batches()
    batches[1] = batches[1][1:]
    wrong = reference.train(*_inputs(recipe, overrides(recipe)), batches, reference.Exact())
    excess = expected(recipe).excess(wrong.weights, wrong.losses)
    assert min(excess.values()) > 5, excess


def test_two_runs_of_two_workers_have_the_same_bits(run):
    first = run("digits_dense", "2 workers")
    second = run("digits_dense", "2 workers", "--config.name=again")
    assert first.summary["weights_sha256"] == second.summary["weights_sha256"]


@pytest.mark.parametrize("layout", ["1 device", "2 workers"])
def test_streamed_and_resident_data_give_the_same_bits(layout, run):
    resident = run("digits_dense", layout)  # By default, as the digits are few.
    streamed = run("digits_dense", layout, "--config.data.placement=stream")
    assert resident.summary["weights_sha256"] == streamed.summary["weights_sha256"]
    assert resident.examples == streamed.examples


def test_one_process_evaluates_to_the_same_bits_as_two_workers(run):
    done = run("digits_dense", "2 workers")
    with cluster.Process([*cluster.TRAINER, "evaluate", f"--workdir={done.workdir}"]) as evaluation:
        assert evaluation.wait() == 0, evaluation.said
    found = cluster.printed_json(evaluation)
    assert found["step"] == STEPS
    assert found["loss"] == done.summary["test_loss"]
    assert found["accuracy"] == done.summary["test_accuracy"]
