"""A launched cluster of stand-in tasks: real processes, real signals, real pipes."""

import contextlib
import json
import os
import pathlib
import queue
import re
import select
import signal
import socket
import subprocess
import sys
import threading

import pytest

from strategies.cluster import ClusterSpec, Task
from strategies.errors import InputError
from trainer import launch
from trainer.cli import LaunchOptions

ROOT = pathlib.Path(__file__).parents[2]
PATIENCE_S = 30.0

# What a task does follows its name in a flag, --worker0=<Python>, or stands in SCRIPTS where the flags
# are to be train's own. `nth` counts the starts of the task, from 1.
STAND_IN = """
import json, os, signal, socket, sys, threading, time
config = json.loads(os.environ["TF_CONFIG"])
name = config["task"]["type"] + str(config["task"]["index"])
flags = dict(flag.removeprefix("--").partition("=")[::2] for flag in sys.argv[1:])
scripts = flags | json.loads(os.environ["SCRIPTS"])
with open(name + ".starts", "a") as file:
    file.write("x")
    file.flush()
    nth = file.tell()

def address(name):
    host, port = config["cluster"][name[:-1]][int(name[-1])].split(":")
    return host, int(port)

def greet(count=1):
    listener = socket.create_server(address(name))
    return [listener.accept() for _ in range(count)]

def lose(peer):
    while True:
        try:
            connection = socket.create_connection(address(peer))
            break
        except OSError:
            time.sleep(.02)
    try:
        connection.recv(1)
    except OSError:
        pass

def follow(peer):
    lose(peer)
    print(f"muster: error: {peer[:-1]} {peer[-1]} was lost.", flush=True)
    os._exit(75)

def checkpoint(step):
    os.makedirs(f"{flags['workdir']}/checkpoints/step-{step:010d}")

def die():
    os.kill(os.getpid(), signal.SIGKILL)

exec(scripts.get(name, scripts.get("all", "")))
"""
WAIT = "print('ready'); threading.Event().wait()"
RESUMABLE = f"signal.signal(signal.SIGTERM, lambda *_: os._exit(75)); {WAIT}"
DEAF = f"signal.signal(signal.SIGTERM, signal.SIG_IGN); {WAIT}"
LAUNCHER = """
import json, sys
from trainer import launch
from trainer.cli import LaunchOptions
options, args = json.loads(sys.argv[1])
sys.exit(launch.run(LaunchOptions(**options), args, module="stand_in"))
"""


class Launched:
    """A launcher in a process of its own, and what it has said so far."""

    def __init__(self, folder, options, args, errors, scripts):
        (folder / "stand_in.py").write_text(STAND_IN)
        path = os.pathsep.join([str(ROOT), str(folder)])
        self.process = subprocess.Popen(
            [sys.executable, "-c", LAUNCHER, json.dumps([options, args])],
            cwd=folder,
            env={**os.environ, "PYTHONPATH": path, "SCRIPTS": json.dumps(scripts)},
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            start_new_session=True,
        )
        self.said = []
        self._lines = queue.Queue()
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self):
        for line in self.process.stdout:
            self._lines.put(line.rstrip("\n"))
        self._lines.put(None)

    def says(self, pattern):
        """The match of the first further line that has the pattern."""
        while (line := self._lines.get(timeout=PATIENCE_S)) is not None:
            self.said.append(line)
            if match := re.search(pattern, line):
                return match
        raise AssertionError(f"{pattern!r} was never said: {self.said}")

    def ends(self):
        """The exit code, once everything that was said has been read."""
        code = self.process.wait(PATIENCE_S)
        self._reader.join(PATIENCE_S)
        while line := self._lines.get():
            self.said.append(line)
        return code

    def end(self):
        self.process.terminate()
        try:
            self.process.wait(PATIENCE_S)
        finally:
            self.process.kill()
            self.process.wait()
            self._reader.join()
            self.process.stdout.close()


@pytest.fixture
def start(tmp_path):
    """Launches a cluster of stand-ins; it is ended after the test."""
    with contextlib.ExitStack() as stack:

        def start_one(*args, errors=subprocess.STDOUT, scripts=None, **options):
            launched = Launched(tmp_path, options, list(args), errors, scripts or {})
            stack.callback(launched.end)
            return launched

        yield start_one


def has_ended(pid):
    """Waits for a process that is nobody's child here; True once it is gone."""
    try:
        with contextlib.closing(os.fdopen(os.pidfd_open(pid), "rb")) as process:
            return bool(select.select([process], [], [], PATIENCE_S)[0])
    except ProcessLookupError:
        return True


def test_every_task_learns_who_it_is_and_whom_it_is_with(start):
    say = "print(os.environ['TF_CONFIG'], json.dumps(sys.argv[1:]))"
    launched = start(f"--all={say}", "--workdir=here", workers=2, ps=1, evaluator=True)
    assert launched.ends() == 0
    assert launched.said[0] == "launch: 1 chief, 2 workers, 1 ps, 1 evaluator on this machine"
    said = [re.fullmatch(r"\[(.*)\] +(\{.*\}) (\[.*\])", line) for line in launched.said[1:]]
    configs = {match[1]: json.loads(match[2]) for match in said}
    assert sorted(configs) == ["chief 0", "evaluator 0", "ps 0", "worker 0", "worker 1"]
    assert len({json.dumps(config["cluster"]) for config in configs.values()}) == 1
    for name, config in configs.items():
        cluster = ClusterSpec.parse(json.dumps(config))
        assert str(cluster.task) == name
        assert [len(cluster.jobs[job]) for job in ("chief", "worker", "ps")] == [1, 2, 1]
    assert {match[3] for match in said} == {
        json.dumps([f"--all={say}", "--workdir=here", "--devices=1"])
    }


def test_tasks_without_a_workdir_share_one_fresh_folder(start, tmp_path):
    launched = start("--all=print('in', flags['workdir'])", "--config=configs/mnist_dense.py")
    assert launched.ends() == 0
    workdirs = {line.split(" in ")[1] for line in launched.said if " in " in line}
    (workdir,) = workdirs
    assert re.fullmatch(r"runs/mnist_dense-\d{8}-\d{6}", workdir)
    assert [str(path.relative_to(tmp_path)) for path in (tmp_path / "runs").iterdir()] == [workdir]
    assert launched.said[0] == f"launch: 2 workers on this machine, workdir {workdir}"


def test_devices_go_to_every_task_unless_given(start):
    show = "--all=print('devices', flags['devices'])"
    four = start(show, "--workdir=d", workers=1, devices_per_worker=4)
    assert four.says("devices (.)")[1] == "4"
    given = start(show, "--workdir=d", "--devices=3", workers=1, devices_per_worker=4)
    assert given.says("devices (.)")[1] == "3"


def test_lines_stay_whole_aligned_and_in_order(start):
    noise = "[print(f'{i:03}', 'x' * 5000) for i in range(200)]"
    launched = start(f"--all={noise}", "--workdir=d", workers=2, ps=1)
    assert launched.ends() == 0
    for head in ("[chief 0]  ", "[worker 0] ", "[worker 1] ", "[ps 0]     "):
        mine = [line[len(head) :] for line in launched.said if line.startswith(head)]
        assert mine == [f"{i:03} " + "x" * 5000 for i in range(200)]
    assert len(launched.said) == 1 + 4 * 200


def test_output_that_is_no_text_or_ends_without_a_newline_is_shown(start):
    odd = r"sys.stdout.buffer.write(b'\xff\n\nlast')"
    launched = start(f"--worker0={odd}", "--workdir=d", workers=1)
    assert launched.ends() == 0
    assert launched.said[1:] == ["[worker 0] \ufffd", "[worker 0] ", "[worker 0] last"]


def test_a_task_that_fails_ends_all_and_its_error_is_the_last_on_the_screen(start):
    fail = "print('muster: error: `x` is wrong.', file=sys.stderr); print('more'); sys.exit(2)"
    launched = start(f"--worker1={fail}", f"--all={RESUMABLE}", "--workdir=d", workers=3, ps=1)
    assert launched.ends() == 2
    assert launched.said[-1] == "launch: worker 1 failed with exit code 2: `x` is wrong."
    assert "[worker 1] more" in launched.said


def test_tasks_that_can_go_on_are_told_in_which_workdir(start):
    launched = start(
        "--worker0=print('muster: error: lost.'); os._exit(75)", workers=1, max_restarts=0
    )
    assert launched.ends() == 75
    assert launched.said[-1] == "launch: worker 0 failed with exit code 75: lost."
    workdir = launched.said[0].split(", workdir ")[1]
    assert launched.said[-2] == f"launch: to go on, run the same command with --workdir={workdir}"


@pytest.mark.skipif(sys.platform != "linux", reason="needs a pseudo-terminal as Linux has it")
def test_heads_are_coloured_on_a_terminal_alone(start, tmp_path):
    piped = start("--all=print('hello')", "--workdir=d")
    assert piped.ends() == 0
    assert not any("\x1b" in line for line in piped.said)
    command = [sys.executable, "-c", LAUNCHER, json.dumps([{}, ["--all=print(1)", "--workdir=d"]])]
    environ = {key: value for key, value in os.environ.items() if key != "NO_COLOR"}
    environ["PYTHONPATH"] = os.pathsep.join([str(ROOT), str(tmp_path)])
    environ["SCRIPTS"] = "{}"
    ours, theirs = os.openpty()
    with os.fdopen(ours, "rb", 0) as screen:
        ended = subprocess.run(command, stdout=theirs, env=environ, timeout=PATIENCE_S, check=False)
        os.close(theirs)
        assert ended.returncode == 0
        assert b"\x1b[36m[worker 0]\x1b[0m 1" in screen.read(1 << 16)


def test_a_traceback_ends_with_the_error_on_the_screen(start):
    fail = "--worker0=raise ValueError('broken')"
    launched = start(fail, f"--worker1={WAIT}", "--workdir=d", max_restarts=0)
    assert launched.ends() == 1
    assert launched.said[-1] == "launch: worker 0 failed with exit code 1: ValueError: broken"


def test_a_killed_task_is_named_with_its_signal(start):
    killed = f"print('pid', os.getpid()); {WAIT}"
    launched = start(f"--worker1={killed}", f"--all={RESUMABLE}", "--workdir=d", max_restarts=0)
    os.kill(int(launched.says(r"worker 1\] pid (\d+)")[1]), signal.SIGKILL)
    assert launched.ends() == 128 + signal.SIGKILL
    assert launched.said[-1].startswith("launch: worker 1 was killed by SIGKILL")


def test_the_exit_code_is_75_only_where_every_failure_is(start):
    leave = "print('gone'); os._exit(75)"
    both = start(f"--worker0={leave}", f"--worker1={RESUMABLE}", "--workdir=d", max_restarts=0)
    assert both.ends() == 75
    assert both.said[-1] == "launch: worker 0 failed with exit code 75: gone"
    fault = "signal.signal(signal.SIGTERM, lambda *_: os._exit(3)); print('ready');"
    fault += "threading.Event().wait()"
    wait_for_other = "time.sleep(1); os._exit(75)"
    one = start(f"--worker0={wait_for_other}", f"--worker1={fault}", "--workdir=d", max_restarts=0)
    assert one.ends() == 3


def test_a_task_deaf_to_sigterm_is_killed_after_the_grace(start):
    launched = start(f"--worker0={DEAF}", "--worker1=time.sleep(.5); sys.exit(2)", grace_s=0.5)
    assert launched.ends() == 2


def await_ready(launched, count):
    for _ in range(count):
        launched.says(r"\] ready")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_one_signal_stops_all_tasks_and_the_exit_code_says_resumable(start, number):
    launched = start(f"--all={RESUMABLE}")
    await_ready(launched, 2)
    launched.process.send_signal(number)
    assert launched.ends() == 75
    assert re.fullmatch(
        f"launch: stopped by {number.name}; run the same command with "
        r"--workdir=runs/digits_dense-\d{8}-\d{6} to go on",
        launched.said[-1],
    )


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_tasks_that_cannot_be_resumed_leave_the_signals_exit_code(start, number):
    launched = start(f"--all={WAIT}", "--workdir=d")
    await_ready(launched, 2)
    launched.process.send_signal(number)
    assert launched.ends() == 128 + number
    assert launched.said[-1] == f"launch: stopped by {number.name}"


def test_a_second_ctrl_c_kills_at_once(start):
    launched = start(f"--all={DEAF}", "--workdir=d", grace_s=600)
    await_ready(launched, 2)
    launched.process.send_signal(signal.SIGINT)
    launched.says("once more to kill")
    launched.process.send_signal(signal.SIGINT)
    assert launched.ends() == 130


def test_a_task_is_killed_with_what_it_started(start):
    child = "import subprocess; child = subprocess.Popen(['sleep', '600'])"
    launched = start(f"--worker0={child}; print('child', child.pid); {DEAF}", workers=1, grace_s=0)
    pid = int(launched.says(r"child (\d+)")[1])
    await_ready(launched, 1)
    launched.process.send_signal(signal.SIGINT)
    assert launched.ends() == 130
    assert has_ended(pid)


def test_parameter_servers_that_stay_after_training_are_stopped_and_no_failure(start):
    launched = start(f"--ps0={RESUMABLE}", "--workdir=d", workers=1, ps=1, grace_s=1)
    assert launched.ends() == 0


def test_a_process_left_behind_with_the_pipe_does_not_hold_the_launcher(start):
    leave = "import subprocess; print('left', subprocess.Popen(['sleep', '600']).pid)"
    launched = start(f"--worker0={leave}", workers=1, errors=subprocess.DEVNULL)
    pid = int(launched.says(r"left (\d+)")[1])
    assert launched.ends() == 0
    os.kill(pid, signal.SIGKILL)


@pytest.mark.skipif(sys.platform != "linux", reason="PR_SET_PDEATHSIG is Linux's own")
def test_tasks_end_with_a_launcher_that_was_killed(start):
    launched = start(f"--all=print('pid', os.getpid()); {WAIT}", "--workdir=d")
    pids = [int(launched.says(r"pid (\d+)")[1]) for _ in range(2)]
    launched.process.kill()
    assert all(has_ended(pid) for pid in pids)


def test_free_ports_can_be_bound_and_are_none_the_system_hands_out():
    ports = launch.free_ports(20)
    assert len(set(ports)) == 20
    for port in ports:
        with socket.socket() as listener:
            listener.bind(("127.0.0.1", port))
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        assert max(ports) < other.getsockname()[1]


def test_a_workdir_that_cannot_be_made_is_refused(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs").write_text("a file")
    with pytest.raises(InputError, match="`--workdir` must be a folder that can be written"):
        launch.run(LaunchOptions(), [])


def clusters_of(**options):
    return launch.plan(LaunchOptions(**options), range(2000, 2010))


def test_gpus_are_shared_out_to_the_tasks_that_train():
    clusters = clusters_of(workers=2, ps=1)
    shares = launch.share_gpus(clusters[0], 2, ["0", "1", "2", "3", "4"])
    assert shares == {Task("worker", 0): "0,1", Task("worker", 1): "2,3"}
    assert launch.share_gpus(clusters[0], 2, []) == {}


def test_a_chief_without_parameter_servers_gets_gpus():
    cluster = clusters_of(workers=1, chief=True)[0]
    shares = launch.share_gpus(cluster, 1, ["GPU-a", "GPU-b"])
    assert shares == {Task("chief", 0): "GPU-a", Task("worker", 0): "GPU-b"}


def test_too_few_gpus_are_told_with_how_many_there_are():
    with pytest.raises(InputError) as caught:
        launch.share_gpus(clusters_of(workers=2)[0], 2, ["0", "1", "2"])
    assert str(caught.value) == (
        "`--devices_per_worker` asks for more GPUs than the 3 of this machine. Received: 2 for each "
        'of 2 tasks; lower it or `--workers`, or set CUDA_VISIBLE_DEVICES="-1" to train on the CPU.'
    )
