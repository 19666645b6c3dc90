"""Do the six containers of compose.ps.yaml train to the end, isolated from other containers?"""

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


def test_a_killed_worker_and_a_killed_server_are_restarted_and_each_step_is_taken_once(
    image, tmp_path
):
    with Project(FILE, image, FLAGS=LONG) as project, project.up() as up:
        up.await_line("train      | step     120", PATIENCE_S)
        engine.signal_all(project.container("worker", 2), "KILL")
        up.await_line("worker 1 is back and takes work again", PATIENCE_S)
        engine.signal_all(project.container("ps", 1), "KILL")
        up.await_line("resuming at step", PATIENCE_S)
        project.wait_for_success(up)
        assert {*project.exit_codes()} == EVERYONE
        run = engine.copy_run(project.container("chief"), "ps", tmp_path)
    assert run.summary["steps"] == STEPS and run.iterations == {STEPS}
    evaluated = (run.workdir / "evaluator.jsonl").read_text().splitlines()
    assert json.loads(evaluated[-1])["step"] == STEPS


def test_a_worker_that_is_restarted_after_the_end_exits_with_0(image):
    flags = f"{LONG} --peer_timeout_s=5"
    with Project(FILE, image, FLAGS=flags) as project, project.up() as up:
        up.await_line("train      | step     120", PATIENCE_S)
        late = project.container("worker", 2)
        engine.signal_all(late, "STOP")
        up.await_line("done | 1200 steps", PATIENCE_S)
        engine.wait_until(lambda: "chief-1" in project.exit_codes(), "the chief to exit")
        engine.signal_all(late, "KILL")
        # It takes 30 s and a start. The deadline of the rendezvous is 120 s.
        project.wait_for_success(up, timeout_s=100)
        assert engine.inspect(late)["RestartCount"] == 1
        assert "has already finished; nothing to do" in up.said


@pytest.fixture(scope="module")
def project(image):
    """A project that trains forever, so that TensorFlow's servers listen."""
    with Project(FILE, image, FLAGS=ENDLESS) as project, project.up() as up:
        up.await_line("train      | step", PATIENCE_S)
        yield project


def test_no_port_is_published_and_the_containers_are_restricted(project):
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


def test_a_task_cannot_write_to_the_program(project):
    ps = project.container("ps")
    for folder in ("/", "/opt/program/trainer", "/workspace"):
        file = folder.rstrip("/") + "/written"
        assert engine.run_python(ps, f"open({file!r}, 'w')") == 1
    assert engine.run_python(ps, "open('/tmp/written', 'w')") == 0


def test_a_container_in_another_network_cannot_connect(project, image):
    addresses = [
        network["IPAddress"]
        for one in project.containers()
        for network in one["NetworkSettings"]["Networks"].values()
    ]
    ps = engine.inspect(project.container("ps"))
    (network,) = ps["NetworkSettings"]["Networks"].values()
    connect = CONNECT.format(network["IPAddress"], 2222)
    assert engine.run_python(project.container("worker"), connect) == 0
    for address in addresses:
        outside = "--rm", "--entrypoint=python", image, "-c", CONNECT.format(address, 2222)
        assert engine.exit_code("run", *outside) == 1


def test_a_task_cannot_connect_to_a_container_in_another_network(project, image):
    serve = "import http.server as s; s.test(s.SimpleHTTPRequestHandler, port=8000)"
    with engine.container(image, "-c", serve, options=("--entrypoint=python",)) as other:
        address = engine.inspect(other)["NetworkSettings"]["IPAddress"]
        connect = CONNECT.format(address, 8000)
        engine.wait_until(lambda: engine.run_python(other, connect) == 0, "the server to answer")
        assert engine.run_python(project.container("worker"), connect) == 1
