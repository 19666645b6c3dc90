"""Do the workers of compose.workers.yaml train to the end, even if one of them is killed?"""

import pytest

from tests.containers import engine
from tests.containers.engine import PATIENCE_S, Project

FILE = "compose.workers.yaml"
LONG = "--config.train.epochs=150", "--config.train.steps_per_loop=2"


@pytest.fixture(scope="module")
def single_container(image, tmp_path_factory) -> str:
    """The sha256 of the weights of the same run in a single container."""
    with engine.container(image, *LONG, "--workdir=runs/one") as name:
        with engine.follow_logs(name) as screen:
            screen.wait(PATIENCE_S)
        run = engine.copy_run(name, "one", tmp_path_factory.mktemp("single"))
    return run.summary["weights_sha256"]


def test_two_workers_have_the_weights_of_a_single_container(image, single_container, tmp_path):
    with Project(FILE, image, FLAGS=" ".join(LONG)) as project, project.up() as up:
        project.wait_for_success(up)
        run = engine.copy_run(project.container("worker"), "workers", tmp_path)
    assert run.summary["num_replicas"] == 2
    assert run.summary["weights_sha256"] == single_container


@pytest.mark.parametrize("victim", [1, 3])
def test_a_killed_worker_of_four_is_restarted_and_the_weights_are_the_same(
    image, single_container, tmp_path, victim
):
    variables = {"WORKERS": "4", "FLAGS": " ".join(LONG)}
    with Project(FILE, image, **variables) as project, project.up() as up:
        up.await_line("train      | step     240", PATIENCE_S)
        engine.signal_all(project.container("worker", victim), "KILL")
        project.wait_for_success(up)
        # Not from `up`, which may miss what a container prints once it has restarted.
        with engine.follow_logs(project.container("worker")) as screen:
            screen.wait(PATIENCE_S)
        assert "resuming at step" in screen.said
        assert engine.inspect(project.container("worker", victim))["RestartCount"] > 0
        run = engine.copy_run(project.container("worker"), "workers", tmp_path)
    assert run.summary["num_replicas"] == 4
    assert run.summary["weights_sha256"] == single_container


def test_restarts_after_bad_input_are_limited(image):
    variables = {"CONFIG": "no_such_recipe", "RESTARTS": "2"}
    with Project(FILE, image, **variables) as project, project.up() as up:
        up.wait(PATIENCE_S)
        assert "`--config` must be a recipe" in up.said
        assert project.exit_codes() == {"worker-1": 2, "worker-2": 2}
        assert [one["RestartCount"] for one in project.containers()] == [2, 2]
