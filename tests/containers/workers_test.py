"""Do the workers of compose.workers.yaml train to the end, whatever becomes of one of them?"""

import pytest

from tests.containers import engine
from tests.containers.engine import PATIENCE_S, Project

FILE = "compose.workers.yaml"
LONG = "--config.train.epochs=150", "--config.train.steps_per_loop=2"


@pytest.fixture(scope="module")
def alone(image, tmp_path_factory) -> str:
    """The weights of the same run in one container."""
    with engine.container(image, *LONG, "--workdir=runs/one") as name:
        with engine.following(name) as screen:
            screen.wait(PATIENCE_S)
        run = engine.copied(name, "one", tmp_path_factory.mktemp("alone"))
    return run.summary["weights_sha256"]


def test_two_workers_come_to_the_weights_of_one_container(image, alone, tmp_path):
    with Project(FILE, image, FLAGS=" ".join(LONG)) as project, project.up() as up:
        project.finished(up)
        run = engine.copied(project.container("worker"), "workers", tmp_path)
    assert run.summary["num_replicas"] == 2
    assert run.summary["weights_sha256"] == alone


@pytest.mark.parametrize("victim", [1, 3])
def test_a_killed_worker_of_four_starts_again_and_the_weights_are_the_same(
    image, alone, tmp_path, victim
):
    asked = {"WORKERS": "4", "FLAGS": " ".join(LONG)}
    with Project(FILE, image, **asked) as project, project.up() as up:
        up.await_line("train      | step     240", PATIENCE_S)
        engine.signal_all(project.container("worker", victim), "KILL")
        up.await_line("resuming at step", PATIENCE_S)
        project.finished(up)
        assert engine.inspect(project.container("worker", victim))["RestartCount"] > 0
        run = engine.copied(project.container("worker"), "workers", tmp_path)
    assert run.summary["num_replicas"] == 4
    assert run.summary["weights_sha256"] == alone


def test_bad_input_is_not_tried_for_ever(image):
    asked = {"CONFIG": "no_such_recipe", "RESTARTS": "2"}
    with Project(FILE, image, **asked) as project, project.up() as up:
        up.wait(PATIENCE_S)
        assert "`--config` must be a recipe" in up.said
        assert project.exit_codes() == {"worker-1": 2, "worker-2": 2}
        assert [one["RestartCount"] for one in project.containers()] == [2, 2]
