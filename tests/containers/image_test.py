"""Does a container train, save, resume and report its health, with the least privileges?"""

import pytest

from tests.containers import engine
from tests.containers.engine import PATIENCE_S

LONG = ("--config.train.epochs=100", "--config.train.steps_per_loop=2", "--workdir=runs/one")


@pytest.fixture(scope="module")
def uninterrupted(image, tmp_path_factory) -> str:
    with engine.container(image, *LONG) as name:
        with engine.follow_logs(name) as screen:
            screen.wait(PATIENCE_S)
        assert engine.inspect(name)["State"]["ExitCode"] == 0, screen.said
        run = engine.copy_run(name, "one", tmp_path_factory.mktemp("uninterrupted"))
    return run.summary["weights_sha256"]


def test_sigterm_saves_and_the_same_container_resumes_to_the_same_weights(
    image, uninterrupted, tmp_path
):
    with engine.container(image, *LONG) as name:
        with engine.follow_logs(name) as screen:
            screen.await_line("train      | step     120", PATIENCE_S)
            engine.docker("stop", "--time=60", name)
            screen.wait(PATIENCE_S)
        assert engine.inspect(name)["State"]["ExitCode"] == 75, screen.said
        engine.docker("start", name)
        with engine.follow_logs(name) as screen:
            screen.await_line("resuming at step", PATIENCE_S)
            screen.wait(PATIENCE_S)
        assert engine.inspect(name)["State"]["ExitCode"] == 0, screen.said
        run = engine.copy_run(name, "one", tmp_path)
    assert run.summary["weights_sha256"] == uninterrupted


def test_health_depends_on_progress_and_not_on_the_process(image):
    check = (
        "--health-cmd=python -m trainer.health 3",
        "--health-interval=1s",
        "--health-retries=1",
    )
    endless = "--config.train.epochs=1000000", "--config.train.steps_per_loop=2"

    def has(status):
        return lambda: engine.inspect(name)["State"]["Health"]["Status"] == status

    with engine.container(image, *endless, options=("--init", *check)) as name:
        assert has("starting")()
        engine.wait_until(has("healthy"), "a healthy container")
        engine.signal_all(name, "STOP")
        engine.wait_until(has("unhealthy"), "a suspended run to be unhealthy")
        engine.signal_all(name, "CONT")
        engine.wait_until(has("healthy"), "a healthy container")


def test_its_user_is_not_root_and_it_has_no_build_tools(image):
    assert engine.inspect(image)["Config"]["User"] == "10001:10001"
    found = engine.docker(
        "run", "--rm", "--entrypoint=sh", image, "-c",
        "id -u; command -v gcc cc g++ ld make; python -m pip 2>&1; "
        "find /opt -path '*/site-packages/tensorflow/include'",
    )  # fmt: skip
    assert found.splitlines() == ["10001", "/opt/packages/bin/python: No module named pip"]


def test_it_trains_as_a_user_that_does_not_exist_in_it(image):
    quick = "--config.train.epochs=1", "--workdir=/tmp/one"
    anyone = ("--rm", "--user=54321:54321", *engine.HARDENED)
    engine.docker("run", *anyone, image, *quick)
