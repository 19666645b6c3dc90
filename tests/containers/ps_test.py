"""Do the six containers of compose.ps.yaml train to the end, and keep to themselves?"""

import json

import pytest

from tests.containers import engine
from tests.containers.engine import PATIENCE_S, Project

FILE = "compose.ps.yaml"
STEPS = 1200
LONG = f"--config.train.steps={STEPS} --config.train.steps_per_loop=2"
ENDLESS = "--config.train.epochs=1000000"
EVERYONE = {"chief-1", "evaluator-1", "ps-1", "ps-2", "worker-1", "worker-2"}
CONNECT = "import socket; socket.create_connection(({!r}, {}), 5)"


def test_a_killed_worker_and_a_killed_server_start_again_and_each_step_is_taken_once(
    image, tmp_path
):
    with Project(FILE, image, FLAGS=LONG) as project, project.up() as up:
        up.await_line("train      | step     120", PATIENCE_S)
        engine.signal_all(project.container("worker", 2), "KILL")
        up.await_line("worker 1 is back and takes work again", PATIENCE_S)
        engine.signal_all(project.container("ps", 1), "KILL")
        up.await_line("resuming at step", PATIENCE_S)
        project.finished(up)
        assert {*project.exit_codes()} == EVERYONE
        run = engine.copied(project.container("chief"), "ps", tmp_path)
    assert run.summary["steps"] == STEPS and run.iterations == {STEPS}
    evaluated = (run.workdir / "evaluator.jsonl").read_text().splitlines()
    assert json.loads(evaluated[-1])["step"] == STEPS


def test_a_worker_that_starts_again_after_the_end_ends_well(image):
    flags = f"{LONG} --peer_timeout_s=5"
    with Project(FILE, image, FLAGS=flags) as project, project.up() as up:
        up.await_line("train      | step     120", PATIENCE_S)
        late = project.container("worker", 2)
        engine.signal_all(late, "STOP")
        up.await_line("done | 1200 steps", PATIENCE_S)
        engine.await_so(lambda: "chief-1" in project.exit_codes(), "the chief's end")
        engine.signal_all(late, "KILL")
        project.finished(up, timeout_s=100)  # 30 s and a start; the roll call's deadline is 120 s.
        assert engine.inspect(late)["RestartCount"] == 1
        assert "has already finished; nothing to do" in up.said


@pytest.fixture(scope="module")
def project(image):
    """One that trains for ever, while TensorFlow's servers listen."""
    with Project(FILE, image, FLAGS=ENDLESS) as project, project.up() as up:
        up.await_line("train      | step", PATIENCE_S)
        yield project


def test_nothing_is_published_and_what_a_container_may_do_is_bounded(project):
    containers = project.containers()
    assert len(containers) == len(EVERYONE)
    for one in containers:
        host = one["HostConfig"]
        assert not host["PortBindings"] and not any(one["NetworkSettings"]["Ports"].values())
        assert {*one["NetworkSettings"]["Networks"]} == {project.network}
        assert host["ReadonlyRootfs"] and host["CapDrop"] == ["ALL"] and not host["Privileged"]
        assert host["SecurityOpt"] == ["no-new-privileges:true"]
        assert host["Memory"] == 2 << 30 and host["PidsLimit"] == 2048
        assert one["Config"]["User"] == "10001:10001"
    assert json.loads(engine.docker("network", "inspect", project.network))[0]["Internal"]


def test_the_program_cannot_be_written_to_by_who_took_over_a_task(project):
    ps = project.container("ps")
    for folder in ("/", "/opt/program/trainer", "/workspace"):
        file = folder.rstrip("/") + "/written"
        assert engine.run_python(ps, f"open({file!r}, 'w')") == 1
    assert engine.run_python(ps, "open('/tmp/written', 'w')") == 0


def test_a_container_of_another_network_reaches_no_port(project, image):
    addresses = [
        network["IPAddress"]
        for one in project.containers()
        for network in one["NetworkSettings"]["Networks"].values()
    ]
    ps = engine.inspect(project.container("ps"))
    (network,) = ps["NetworkSettings"]["Networks"].values()
    knock = CONNECT.format(network["IPAddress"], 2222)
    assert engine.run_python(project.container("worker"), knock) == 0
    for address in addresses:
        stranger = "--rm", "--entrypoint=python", image, "-c", CONNECT.format(address, 2222)
        assert engine.exit_code("run", *stranger) == 1


def test_a_task_reaches_no_container_of_another_network(project, image):
    serve = "import http.server as s; s.test(s.SimpleHTTPRequestHandler, port=8000)"
    with engine.container(image, "-c", serve, options=("--entrypoint=python",)) as other:
        address = engine.inspect(other)["NetworkSettings"]["IPAddress"]
        knock = CONNECT.format(address, 8000)
        engine.await_so(lambda: engine.run_python(other, knock) == 0, "an answer")
        assert engine.run_python(project.container("worker"), knock) == 1
