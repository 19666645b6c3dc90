"""Do workers that pull and push rows of embeddings end with the bits of those that send whole tables?

The recipe has 32 examples in a step, of 12 words each, from 20,000; weights and slots are compared as the
checkpoint has them.
"""

import functools
import os
import signal

import numpy as np
import pytest

from strategies.cluster.spec import Task
from tests.cluster import cluster, held, own_models
from tests.cluster.cluster import Run
from tests.paths import ROOT
from trainer.config import load
from trainer.data import recipe_data

RECIPE = ROOT / "tests" / "recipes" / "tables.py"
CONFIG = f"--config={RECIPE}"
SPARSE = "--config.ps.sparse_embeddings=true"
WINDOW = "--config.sync.window_steps=3"  # An epoch of 4 steps ends with a window of 1.
ONE_AFTER_THE_OTHER = "--config.sync.max_staleness=0"
OPTIMIZERS = {
    "adagrad": (),
    "sgd": ("--config.optimizer.name=sgd", "--config.optimizer.global_clipnorm=0.1"),
}
# Bytes of a row of each table: its number, and float32 numbers of the weight.
WIDTHS = {"words": 16, "users": 4, "items": 4}


@pytest.fixture(scope="module")
def single(tmp_path_factory):
    """The run on one process with an optimizer, at the first use."""

    @functools.cache
    def once(optimizer: str) -> Run:
        workdir = tmp_path_factory.mktemp(optimizer)
        return cluster.finished(cluster.training(workdir, CONFIG, *OPTIMIZERS[optimizer]), workdir)

    return once


def _rows_of_windows(run: Run) -> dict[str, int]:
    """Of each table the rows that the windows of a run used, by the log of its examples."""
    features = recipe_data.load(load.resolve(str(RECIPE), {})).train.features
    columns = {
        "words": features["words"],
        "users": features["pairs"][:, :1],
        "items": features["pairs"][:, 1:],
    }
    (consumed,) = run.examples.values()
    found = dict.fromkeys(columns, 0)
    for start in range(0, len(consumed), 4):  # An epoch.
        for steps in (consumed[start : start + 3], consumed[start + 3 : start + 4]):
            examples = [one for _, batch in steps for one in batch]
            if steps and len(steps[-1][1]) < 32:
                examples.append(0)  # The padding reads that one, and counts nothing.
            for name, column in columns.items():
                found[name] += len(np.unique(column[examples]))
    return found


@pytest.mark.parametrize(
    "optimizer, workers, servers, more",
    [
        ("adagrad", 1, 2, ()),
        ("sgd", 1, 1, ()),
        ("adagrad", 2, 2, (ONE_AFTER_THE_OTHER,)),
        ("sgd", 2, 1, (ONE_AFTER_THE_OTHER,)),
    ],
)
def test_rows_alone_give_the_bits_of_a_single_process_in_fewer_bytes(
    optimizer, workers, servers, more, single, tmp_path
):
    flags = (CONFIG, WINDOW, *OPTIMIZERS[optimizer], *more)
    start = functools.partial(cluster.launching, workers=workers, ps=servers)
    run = cluster.finished(start(tmp_path / "rows", *flags, SPARSE), tmp_path / "rows")
    own_models.assert_same_arrays(run, single(optimizer))
    whole = cluster.finished(start(tmp_path / "whole", *flags), tmp_path / "whole")
    own_models.assert_same_arrays(whole, single(optimizer))
    assert run.summary["agreements"] == whole.summary["agreements"] == 7
    arrays = 2 if optimizer == "adagrad" else 1  # The weight, and the accumulator.
    sizes = {"words": 20_000, "users": 501, "items": 300}
    saved = 7 * sum(rows * 4 * arrays * WIDTHS[name] for name, rows in sizes.items())
    saved -= sum(
        rows * (4 + 4 * arrays * WIDTHS[name]) for name, rows in _rows_of_windows(run).items()
    )
    assert "only the rows that a window uses are sent of words_table/embeddings" in run.screen
    for name in ("warning", "error"):
        assert name not in run.screen.lower()
    found = whole.summary["update_bytes"] - run.summary["update_bytes"]
    assert found == pytest.approx(saved / workers, abs=1)  # Rounded down, each.


LONG_RUN = (
    CONFIG, "--config.train.steps=240", "--config.train.epochs=99", "--config.train.eval_every_epochs=0",
)  # fmt: skip


@pytest.fixture(scope="module")
def long_run(tmp_path_factory):
    workdir = tmp_path_factory.mktemp("long")
    return cluster.finished(cluster.training(workdir, *LONG_RUN), workdir)


@pytest.mark.parametrize(
    "victim",
    [Task("worker", 1), Task("ps", 0), pytest.param(Task("chief", 0), marks=pytest.mark.long)],
)
def test_after_a_kill_every_step_was_taken_once_to_the_bit(victim, long_run, tmp_path):
    """A worker may die between its pushes to the two servers, whose window is then taken again."""
    flags = (*LONG_RUN, ONE_AFTER_THE_OTHER, SPARSE)
    with (
        held.before(epoch=20) as hold,
        cluster.launching(tmp_path, *flags, workers=2, ps=2) as process,
    ):
        process.await_line("epoch   3.00")
        os.kill(cluster.pid_of(process, victim), signal.SIGKILL)
        hold.release()
        assert process.wait() == 0, process.said
    assert f"{victim} " in process.said
    run = Run(tmp_path)
    assert run.iterations == {240}
    own_models.assert_same_arrays(run, long_run)


def test_a_run_moves_between_rows_and_whole_tables(tmp_path):
    """Killed with rows, then stopped in two layouts with whole tables, and ended with rows again."""
    flags = [CONFIG, "--config.train.steps=160", "--config.train.epochs=99"]
    moved, launching = tmp_path / "moved", cluster.launching
    once = functools.partial(launching, also=["--max_restarts=0"])
    hold = held.before(epoch=6)
    with hold, once(moved, *flags, SPARSE, workers=1, ps=2) as process:
        process.await_line("epoch   3.00")
        process.send(signal.SIGKILL)
        process.wait()
    on_servers = functools.partial(launching, workers=1, ps=1)
    for epoch, start in ((8, on_servers), (12, cluster.training)):
        with held.before(epoch + 2), start(moved, *flags) as process:
            process.await_line(f"epoch {epoch:6.2f}")
            process.send(signal.SIGTERM)
            assert process.wait() == 75, process.said
        assert "resuming at step" in process.said
    run = cluster.finished(launching(moved, *flags, SPARSE, workers=1, ps=3), moved)
    assert "resuming at step" in run.screen
    alone = tmp_path / "alone"
    own_models.assert_same_arrays(run, cluster.finished(cluster.training(alone, *flags), alone))


@pytest.mark.parametrize(
    "start, flags, expected",
    [
        (
            cluster.training,
            (CONFIG, SPARSE),
            "`ps.sparse_embeddings` must be false with mirrored, which has no parameter servers. "
            "Received: true; leave it out, or start some, e.g. with `launch --ps=1`.",
        ),
        (
            functools.partial(cluster.launching, workers=1, ps=1),
            (CONFIG, SPARSE, "--config.optimizer.name=adam"),
            "`ps.sparse_embeddings` must be false for the optimizer Adam, which changes the embeddings "
            "momentum of all rows of `words_table/embeddings` in each step. Received: true; leave it "
            "out, or choose sgd without momentum, or adagrad.",
        ),
        (
            functools.partial(cluster.launching, workers=1, ps=1),
            ("--config=digits_dense", SPARSE),
            "`ps.sparse_embeddings` must be false for a model without embeddings. Received: true; "
            "leave it out.",
        ),
    ],
)
def test_where_no_rows_can_be_sent_it_is_one_line(start, flags, expected, tmp_path):
    with start(tmp_path, *flags) as process:
        assert process.wait() == 2
    assert expected in process.said and "Traceback" not in process.said
