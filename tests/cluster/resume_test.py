"""Does a resumed run end with the weights of one that was never stopped?"""

import json
import re
import signal

import pytest

from tests.cluster import cluster, held
from tests.cluster.cluster import Run

STEPS = 600
FLAGS = (
    f"--config.train.steps={STEPS}",
    "--config.train.steps_per_loop=5",  # So that it may stop within an epoch of 24.
    "--config.train.eval_every_epochs=2",
    "--config.train.checkpoint_every_steps=300",
    "--config.train.log_examples=true",
)
STARTS = {
    "mirrored": cluster.training,
    "multi_worker": cluster.launching,
    "mesh": lambda *args: cluster.launching(*args, "--mesh=model:2", "--config.model.blocks=2"),
    "parameter_server": lambda *args: cluster.launching(*args, ps=1),
}


def _stopped(start, workdir) -> int:
    """Stops a run after its first epoch, and returns the step at which it stopped."""
    with held.before(epoch=5), start(workdir, *FLAGS) as process:
        process.await_line("epoch   1.00")
        process.send(signal.SIGTERM)
        assert process.wait() == 75, process.said
    (found,) = {*re.findall(r"stopped at step (\d+)", process.said)}  # The same on all tasks.
    step = int(found)
    assert 0 < step < STEPS
    return step


def _events(run: Run) -> list[dict]:
    """The events of the run, without times. Sums may differ by one rounding."""
    events = []
    for line in (run.workdir / "metrics.jsonl").read_text().splitlines():
        event = json.loads(line)
        del event["time"]
        event.pop("examples_per_s", None)
        events.append(
            {n: pytest.approx(v, rel=1e-12) if n == "loss" else v for n, v in event.items()}
        )
    return events


def _resumed(start, workdir) -> Run:
    """A run that SIGTERM stopped, and that the same command resumed to the end."""
    step = _stopped(start, workdir)
    assert not (workdir / "summary.json").exists()
    run = cluster.finished(start(workdir, *FLAGS), workdir)
    assert f"resuming at step {step}" in run.screen
    assert run.summary["steps"] == STEPS
    assert run.iterations == {STEPS}
    for consumed in run.examples.values():
        assert [step for step, _ in consumed] == list(range(STEPS))
    return run


@pytest.mark.parametrize(
    "strategy", ["mirrored", pytest.param("multi_worker", marks=pytest.mark.long), "mesh"]
)
def test_a_stopped_run_ends_with_the_bits_of_one_that_was_not(strategy, tmp_path):
    start = STARTS[strategy]
    resumed = _resumed(start, tmp_path / "stopped")
    whole = cluster.finished(start(tmp_path / "whole", *FLAGS), tmp_path / "whole")
    assert _events(resumed) == _events(whole)
    assert resumed.summary["strategy"] == strategy
    assert resumed.summary["weights_sha256"] == whole.summary["weights_sha256"]


def test_a_run_that_resumes_on_other_replicas_ends_with_the_same_bits(tmp_path):
    moved, steps = tmp_path / "moved", []
    for start in (
        cluster.training,
        cluster.launching,
        lambda *args: cluster.training(*args, "--devices=4"),
        lambda *args: cluster.launching(*args, ps=1, workers=1),
    ):
        epoch = 2 * len(steps) + 2
        with held.before(epoch + 1), start(moved, *FLAGS) as process:
            process.await_line(f"epoch   {epoch}.00")
            process.send(signal.SIGTERM)
            assert process.wait() == 75, process.said
        steps.append(int(re.search(r"stopped at step (\d+)", process.said)[1]))
    assert steps == sorted({*steps}) and steps[-1] < STEPS
    end = cluster.finished(cluster.launching(moved, *FLAGS), moved)
    whole = cluster.finished(cluster.training(tmp_path / "whole", *FLAGS), tmp_path / "whole")
    assert (end.summary["num_replicas"], whole.summary["num_replicas"]) == (2, 1)
    assert end.summary["weights_sha256"] == whole.summary["weights_sha256"]
    assert end.summary["final_loss"] == pytest.approx(whole.summary["final_loss"], rel=1e-12)


@pytest.mark.long
def test_a_resumed_parameter_server_run_applies_every_step_once(tmp_path):
    resumed = _resumed(STARTS["parameter_server"], tmp_path)
    assert resumed.summary["strategy"] == "parameter_server"


def test_a_run_that_resumes_at_its_last_step_deletes_what_a_killed_save_left(tmp_path):
    flags = ("--config.train.steps=24",)
    cluster.finished(cluster.training(tmp_path, *flags), tmp_path)
    (tmp_path / "summary.json").unlink()  # As if it had been killed right after its last save.
    for name in (".building-a1", ".removing-step-0000000012"):
        (tmp_path / "checkpoints" / name).mkdir()
    run = cluster.finished(cluster.training(tmp_path, *flags), tmp_path)
    assert "resuming at step 24" in run.screen
    assert not [*(tmp_path / "checkpoints").glob(".*")]
