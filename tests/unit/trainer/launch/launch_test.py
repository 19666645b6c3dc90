"""A launched cluster of stand-in tasks: real processes, real signals, real pipes."""

import contextlib
import json
import os
import queue
import re
import select
import signal
import subprocess
import sys
import threading

import pytest

from strategies.cluster import tf_config
from strategies.errors import InputError
from tests.paths import ROOT
from trainer.cli.options import LaunchOptions
from trainer.commands import launch as launch_command
from trainer.process import exit_record

PATIENCE_S = 120.0  # For what takes a second on an idle machine.

# The script of a task is in a flag, --worker0=<Python>, or in the variable SCRIPTS where the flags have
# to be those of `train`. `nth` counts the starts of the task, from 1.
STAND_IN = """
import json, os, signal, socket, sys, threading, time
from strategies.cluster.spec import Task
from trainer.process import exit_record
from trainer.process.exit_record import ExitRecord
exit_record.accept_request()
config = json.loads(os.environ["TF_CONFIG"])
name = config["task"]["type"] + str(config["task"]["index"])
flags = dict(flag.removeprefix("--").partition("=")[::2] for flag in sys.argv[1:])
scripts = flags | json.loads(os.environ["SCRIPTS"])
with open(os.path.join(os.path.dirname(__file__), name + ".starts"), "a") as file:
    file.write("x")
    file.flush()
    nth = file.tell()

def address(name):
    host, port = config["cluster"][name[:-1]][int(name[-1])].split(":")
    return host, int(port)

def greet(count=1):
    listener = socket.create_server(address(name))
    return [listener.accept() for _ in range(count)]

def meet(peer):
    while True:
        try:
            return socket.create_connection(address(peer))
        except OSError:
            time.sleep(.02)

def lose(peer):
    connection = meet(peer)
    try:
        connection.recv(1)
    except OSError:
        pass

def end(code, message, blamed=""):
    task = Task(blamed[:-1], int(blamed[-1])) if blamed else None
    exit_record.write(ExitRecord(code, message, task))
    print("a line for people", flush=True)
    os._exit(code)

def follow(peer):
    lose(peer)
    end(75, "somebody was lost", blamed=peer)

def checkpoint(step):
    os.makedirs(f"{flags['workdir']}/checkpoints/step-{step:010d}")

def die():
    os.kill(os.getpid(), signal.SIGKILL)

exec(scripts.get(name, scripts.get("all", "")))
"""
WAIT = "print('ready'); threading.Event().wait()"
LEAVE = "signal.signal(signal.SIGTERM, lambda *_: os._exit(75))"
IGNORE = "signal.signal(signal.SIGTERM, signal.SIG_IGN)"
RESUMABLE, DEAF = f"{LEAVE}; {WAIT}", f"{IGNORE}; {WAIT}"
LAUNCHER = """
import json, sys
from trainer.commands import launch
from trainer.cli.options import LaunchOptions
from trainer.process import console
console.set_up()
exec(sys.argv[2])
options, args = json.loads(sys.argv[1])
sys.exit(launch.run(LaunchOptions(**options), args, module="stand_in", preload=()))
"""


class Launched:
    """A launcher in its own process, and its output so far."""

    def __init__(self, folder, options, args, errors, scripts, before):
        """`before`: what the launcher's process executes first."""
        (folder / "stand_in.py").write_text(STAND_IN)
        path = os.pathsep.join([str(ROOT), str(folder)])
        self.process = subprocess.Popen(
            [sys.executable, "-c", LAUNCHER, json.dumps([options, args]), before],
            cwd=folder,
            env={
                **os.environ,
                "PYTHONPATH": path,
                "SCRIPTS": json.dumps(scripts),
                "TMPDIR": str(folder),  # A launcher that is killed leaves its temporary files.
            },
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
        """Waits for the next line with the pattern, and returns the match."""
        return self.says_in_any_order(pattern)[0]

    def says_in_any_order(self, *patterns):
        """Waits for a line with each pattern, as of different tasks, and returns the matches."""
        found = {}
        while (line := self._lines.get(timeout=PATIENCE_S)) is not None:
            self.said.append(line)
            for pattern in patterns:
                if pattern not in found and (match := re.search(pattern, line)):
                    found[pattern] = match
            if len(found) == len(patterns):
                return [found[pattern] for pattern in patterns]
        raise AssertionError(f"of {patterns} only {[*found]} were printed: {self.said}")

    def ends(self):
        """The exit code, once the whole output has been read."""
        code = self.process.wait(PATIENCE_S)
        self._reader.join(PATIENCE_S)
        while (line := self._lines.get()) is not None:
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
    """Launches a cluster of stand-ins, and ends it after the test."""
    with contextlib.ExitStack() as stack:

        def start_one(*args, errors=subprocess.STDOUT, scripts=None, before="", **options):
            launched = Launched(tmp_path, options, list(args), errors, scripts or {}, before)
            stack.callback(launched.end)
            return launched

        yield start_one


def has_ended(pid):
    """Waits for a process that is not a child of this one; True once it is gone."""
    try:
        with contextlib.closing(os.fdopen(os.pidfd_open(pid), "rb")) as process:
            return bool(select.select([process], [], [], PATIENCE_S)[0])
    except ProcessLookupError:
        return True


def test_every_task_is_given_its_place_in_the_cluster(start):
    say = "print(os.environ['TF_CONFIG'], json.dumps(sys.argv[1:]))"
    launched = start(f"--all={say}", "--workdir=here", workers=2, ps=1, evaluator=True)
    assert launched.ends() == 0
    assert launched.said[0] == "launch: 1 chief, 2 workers, 1 ps, 1 evaluator on this machine"
    said = [re.fullmatch(r"\[(.*)\] +(\{.*\}) (\[.*\])", line) for line in launched.said[1:]]
    configs = {match[1]: json.loads(match[2]) for match in said}
    assert sorted(configs) == ["chief 0", "evaluator 0", "ps 0", "worker 0", "worker 1"]
    assert len({json.dumps(config["cluster"]) for config in configs.values()}) == 1
    for name, config in configs.items():
        cluster = tf_config.parse(json.dumps(config))
        assert str(cluster.task) == name
        assert [len(cluster.jobs[job]) for job in ("chief", "worker", "ps")] == [1, 2, 1]
    assert {match[3] for match in said} == {
        json.dumps([f"--all={say}", "--workdir=here", "--devices=1"])
    }


def test_tasks_without_a_workdir_share_one_new_folder(start, tmp_path):
    launched = start("--all=print('in', flags['workdir'])", "--config=configs/mnist_dense.py")
    assert launched.ends() == 0
    workdirs = {line.split(" in ")[1] for line in launched.said if " in " in line}
    (workdir,) = workdirs
    assert re.fullmatch(r"runs/mnist_dense-\d{8}-\d{6}", workdir)
    assert [str(path.relative_to(tmp_path)) for path in (tmp_path / "runs").iterdir()] == [workdir]
    assert launched.said[0] == f"launch: 2 workers on this machine, workdir {workdir}"


def test_an_empty_workdir_counts_as_none_so_that_a_restart_finds_the_folder(start, tmp_path):
    die = "print('in', flags['workdir']); nth == 1 and (checkpoint(5), die())"
    launched = start(f"--worker0={die}", "--workdir=", workers=1)
    assert launched.ends() == 0
    first, second = (line.split(" in ")[1] for line in launched.said if " in runs/" in line)
    assert first == second and first.startswith("runs/")


def test_every_task_gets_the_devices_unless_they_are_given(start):
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


def test_output_that_is_not_text_or_ends_without_a_newline_is_shown(start):
    odd = r"sys.stdout.buffer.write(b'\xff\n\nlast')"
    launched = start(f"--worker0={odd}", "--workdir=d", workers=1)
    assert launched.ends() == 0
    assert launched.said[1:] == ["[worker 0] \ufffd", "[worker 0] ", "[worker 0] last"]


def test_a_screen_without_the_tasks_characters_shows_them_in_ascii(start, monkeypatch):
    """All output is read: a task whose output stays in the pipe would block."""
    monkeypatch.setenv("PYTHONIOENCODING", "ascii")
    more = "sys.stdout.buffer.write(b'\\xc3\\xa9 ' * 100_000 + b'\\nlast\\n')"
    launched = start(f"--worker0={more}", workers=1)
    assert launched.says(r"\\xe9") and launched.says("last")
    assert launched.ends() == 0


def test_a_task_that_fails_ends_all_and_its_error_is_the_last_on_the_screen(start):
    fail = "print('more'); end(2, '`x` is wrong.')"
    launched = start(f"--worker1={fail}", f"--all={RESUMABLE}", "--workdir=d", workers=3, ps=1)
    assert launched.ends() == 2
    assert launched.said[-1] == "launch: worker 1 failed with exit code 2: `x` is wrong."
    assert "[worker 1] more" in launched.said


def test_a_run_that_can_be_resumed_is_reported_with_its_workdir(start):
    launched = start("--worker0=end(75, 'lost.')", workers=1, max_restarts=0)
    assert launched.ends() == 75
    assert launched.said[-1] == "launch: worker 0 failed with exit code 75: lost."
    workdir = launched.said[0].split(", workdir ")[1]
    assert launched.said[-2] == f"launch: to resume, run the same command with --workdir={workdir}"


@pytest.mark.skipif(sys.platform != "linux", reason="needs a pseudo-terminal as Linux has it")
def test_task_names_are_coloured_only_on_a_terminal(start, tmp_path):
    piped = start("--all=print('hello')", "--workdir=d")
    assert piped.ends() == 0
    assert not any("\x1b" in line for line in piped.said)
    launch = json.dumps([{}, ["--all=print(1)", "--workdir=d"]])
    command = [sys.executable, "-c", LAUNCHER, launch, ""]
    environ = {key: value for key, value in os.environ.items() if key != "NO_COLOR"}
    environ["PYTHONPATH"] = os.pathsep.join([str(ROOT), str(tmp_path)])
    environ["SCRIPTS"] = "{}"
    ours, theirs = os.openpty()
    with os.fdopen(ours, "rb", 0) as screen:
        ended = subprocess.run(command, stdout=theirs, env=environ, timeout=PATIENCE_S, check=False)
        os.close(theirs)
        assert ended.returncode == 0
        shown = b""
        with contextlib.suppress(OSError):  # At its end, as nobody has it open any more.
            while part := screen.read(1 << 16):
                shown += part
        assert b"\x1b[36m[worker 0]\x1b[0m 1" in shown


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
    fault = "signal.signal(signal.SIGTERM, lambda *_: os._exit(3)); held = greet();"
    fault += "threading.Event().wait()"
    wait_for_other = "held = meet('worker1'); os._exit(75)"
    one = start(f"--worker0={wait_for_other}", f"--worker1={fault}", "--workdir=d", max_restarts=0)
    assert one.ends() == 3


def test_a_task_that_ignores_sigterm_is_killed_after_the_grace(start):
    deaf = f"{IGNORE}; held = greet(); threading.Event().wait()"
    launched = start(f"--worker0={deaf}", "--worker1=meet('worker0'); sys.exit(2)", grace_s=0.5)
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
        r"--workdir=runs/digits_dense-\d{8}-\d{6} to resume",
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
    launched.says("a second signal kills them")
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


def test_parameter_servers_that_stay_after_training_are_stopped_without_a_failure(start):
    launched = start(f"--ps0={RESUMABLE}", "--workdir=d", workers=1, ps=1, grace_s=1)
    assert launched.ends() == 0


def test_a_process_left_behind_with_the_pipe_does_not_block_the_launcher(start):
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


def starts(folder, name):
    """How often a task was started."""
    return len((folder / f"{name}.starts").read_text())


def tf_configs(launched, name):
    """The TF_CONFIG of each start of a task that printed it."""
    said = (re.match(rf"\[{name}\] +config (.*)", line) for line in launched.said)
    return [match[1] for match in said if match]


SHOW = "print('config', os.environ['TF_CONFIG']); "


@pytest.mark.parametrize(
    "death, how",
    [
        ("die()", "was killed by SIGKILL"),
        ("sys.exit(1)", "failed with exit code 1"),
        ("os.kill(os.getpid(), signal.SIGTERM)", "was killed by SIGTERM"),
        ("sys.exit(137)", "was killed by SIGKILL"),
    ],
)
def test_when_a_task_dies_all_restart_on_new_ports(start, tmp_path, death, how):
    scripts = [
        f"--worker1={SHOW} nth == 1 and (greet(), {death})",
        f"--worker0={SHOW} nth == 1 and (checkpoint(40), follow('worker1'))",
    ]
    launched = start(*scripts, "--workdir=d")
    assert launched.ends() == 0
    assert (
        f"launch: worker 1 {how}; restart 1 of 3 in 0.1 s: all tasks restart from the "
        "checkpoint of step 40"
    ) in launched.said
    for index in (0, 1):
        before, after = map(json.loads, tf_configs(launched, f"worker {index}"))
        assert before["task"] == after["task"] == {"type": "worker", "index": index}
        # Drawn anew, so that one of them may be drawn again.
        assert before["cluster"]["worker"] != after["cluster"]["worker"]
    assert starts(tmp_path, "worker0") == starts(tmp_path, "worker1") == 2


def test_a_task_that_received_sigterm_is_restarted(start):
    launched = start(
        f"--worker0={LEAVE}; nth == 1 and (print('pid', os.getpid()), threading.Event().wait())",
        workers=1,
    )
    os.kill(int(launched.says(r"pid (\d+)")[1]), signal.SIGTERM)
    launched.says("worker 0 failed with exit code 75; restart 1 of 3")
    assert launched.ends() == 0


def test_a_run_without_progress_ends_after_its_restarts_with_its_first_failure(start, tmp_path):
    scripts = ["--worker1=greet(); end(1, 'broken.')", "--all=follow('worker1')"]
    launched = start(*scripts, "--workdir=d", max_restarts=2)
    assert launched.ends() == 1
    assert launched.said[-2:] == [
        "launch: no new checkpoint after --max_restarts=2 restarts; stopping (newest checkpoint: none)",
        "launch: worker 1 failed with exit code 1: broken.",
    ]
    assert starts(tmp_path, "worker1") == 3


def test_a_new_checkpoint_renews_the_restarts(start):
    script = "--worker0=nth != 4 and checkpoint(nth); nth < 6 and sys.exit(1)"
    launched = start(script, "--workdir=d", workers=1, max_restarts=2)
    assert launched.ends() == 0
    told = [line for line in launched.said if "; restart" in line]
    assert [re.search(r"restart (.*) s:.* (\d)$", line).groups() for line in told] == [
        ("1 of 2 in 0.1", "1"),
        ("1 of 2 in 0.1", "2"),
        ("1 of 2 in 0.1", "3"),
        ("2 of 2 in 0.5", "3"),
        ("1 of 2 in 0.1", "5"),
    ]


def test_bad_input_after_a_restart_ends_all(start, tmp_path):
    script = "--worker1=end(75 if nth == 1 else 2, '`x`.')"
    launched = start(script, f"--all={RESUMABLE}", "--workdir=d", grace_s=1)
    assert launched.ends() == 2
    assert launched.said[-1] == "launch: worker 1 failed with exit code 2: `x`."
    assert starts(tmp_path, "worker1") == 2


@pytest.mark.parametrize("handler", [LEAVE, IGNORE])
def test_a_survivor_that_does_not_notice_is_asked_to_stop_and_then_killed(start, handler):
    launched = start(
        f"--worker0={handler}; nth == 1 and (lose('worker1'), threading.Event().wait())",
        "--worker1=nth == 1 and (greet(), die())",
        grace_s=0.5,
    )
    launched.says("worker 1 was killed by SIGKILL; restart 1 of 3")
    assert launched.ends() == 0


def test_a_task_that_hangs_and_that_another_blames_is_killed_without_being_asked(start):
    lost = "end(75, 'no answer', blamed='worker1')"
    asked = "signal.signal(signal.SIGTERM, lambda *_: print('asked'))"
    launched = start(
        f"--worker0=if nth == 1: greet(); {lost}",
        f"--worker1={asked}; nth == 1 and (lose('worker0'), threading.Event().wait())",
        grace_s=0.5,
    )
    launched.says("launch: worker 1 was killed by SIGKILL; restart 1 of 3")
    assert launched.ends() == 0
    assert "asked" not in "".join(launched.said)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_after_a_restart_stops_the_run_like_one_before(start, tmp_path, number):
    launched = start(f"--worker0=nth == 1 and die(); {RESUMABLE}", "--workdir=d", workers=1)
    await_ready(launched, 1)
    launched.process.send_signal(number)
    assert launched.ends() == 75
    assert launched.said[-1] == (
        f"launch: stopped by {number.name}; run the same command again to resume"
    )
    assert starts(tmp_path, "worker0") == 2


def test_a_signal_in_the_pause_before_a_restart_stops_at_once(start, tmp_path):
    pauses = "from trainer.launch import restarts as r; r._FIRST_PAUSE_S = r._LONGEST_PAUSE_S = 600"
    launched = start("--worker0=die()", "--workdir=d", workers=1, before=pauses)
    launched.says("restart 1 of 3 in 600 s")
    launched.process.send_signal(signal.SIGTERM)
    assert launched.ends() == 75
    assert starts(tmp_path, "worker0") == 1


def test_a_signal_while_the_other_tasks_end_allows_no_restart(start, tmp_path):
    dying = "--worker0=meet('worker1'); print('ready', flush=True); die()"
    deaf = f"--worker1={IGNORE}; held = greet(); threading.Event().wait()"
    launched = start(dying, deaf, "--workdir=d", grace_s=600)
    await_ready(launched, 1)
    launched.process.send_signal(signal.SIGINT)
    launched.says("a second signal kills them")
    launched.process.send_signal(signal.SIGINT)
    assert launched.ends() == 130
    assert starts(tmp_path, "worker0") == 1


@pytest.mark.skipif(sys.platform != "linux", reason="PR_SET_PDEATHSIG is Linux's own")
def test_restarted_tasks_end_with_a_launcher_that_was_killed(start):
    launched = start(f"--all=nth == 1 and die(); print('pid', os.getpid()); {WAIT}", workers=2)
    pids = [int(launched.says(r"pid (\d+)")[1]) for _ in range(2)]
    launched.process.kill()
    assert all(has_ended(pid) for pid in pids)


def test_a_task_lost_after_the_leader_ended_with_0_is_not_a_failure(start, tmp_path):
    launched = start("--worker0=greet()", "--worker1=lose('worker0'); die()", "--workdir=d")
    assert launched.ends() == 0
    assert starts(tmp_path, "worker1") == 1


def test_a_worker_with_parameter_servers_restarts_alone_at_its_address(start, tmp_path):
    launched = start(
        f"--worker1={SHOW} greet(); nth == 1 and die()",
        "--chief0=lose('worker1'); lose('worker1'); greet(2)",
        "--all=lose('chief0')",
        "--workdir=d",
        ps=1,
    )
    launched.says(
        "worker 1 was killed by SIGKILL; restart 1 of 3 in 0.1 s: only this task restarts"
    )
    assert launched.ends() == 0
    before, after = tf_configs(launched, "worker 1")
    assert before == after
    assert [starts(tmp_path, name) for name in ("chief0", "worker0", "ps0", "worker1")] == [
        1,
        1,
        1,
        2,
    ]


GO = "signal.signal(signal.SIGUSR1, lambda *_: os._exit(0)); print('pid', os.getpid());"


def test_a_worker_that_keeps_failing_is_not_restarted_where_others_train(start, tmp_path):
    launched = start(
        f"--chief0={GO} {WAIT}", "--worker1=sys.exit(1)", f"--all={RESUMABLE}",
        "--workdir=d", ps=1, max_restarts=2, grace_s=1,
    )  # fmt: skip
    chief, _ = launched.says_in_any_order(
        r"pid (\d+)",
        "launch: worker 1 failed with exit code 1; it is not restarted, and the other tasks continue "
        "without it",
    )
    os.kill(int(chief[1]), signal.SIGUSR1)
    assert launched.ends() == 0
    assert starts(tmp_path, "worker1") == 3


def test_the_last_worker_that_keeps_failing_ends_the_run(start, tmp_path):
    launched = start(
        "--worker0=print('no'); sys.exit(3)", f"--all={RESUMABLE}", workers=1, ps=1, max_restarts=1
    )
    assert launched.ends() == 3
    assert launched.said[-1] == "launch: worker 0 failed with exit code 3: no"
    assert starts(tmp_path, "worker0") == 2


@pytest.mark.parametrize("lost, other", [("chief0", "ps0"), ("ps0", "chief0")])
def test_all_tasks_restart_after_a_lost_chief_or_server(start, tmp_path, lost, other):
    launched = start(
        f"--{lost}=nth == 1 and (greet(3), die())",
        f"--all=nth == 1 and follow('{lost}')",
        "--workdir=d",
        ps=1,
    )
    assert launched.ends() == 0
    name = f"{lost[:-1]} 0"
    assert f"launch: {name} was killed by SIGKILL; restart 1 of 3 in 0.1 s" in "\n".join(
        launched.said
    )
    assert {starts(tmp_path, task) for task in ("chief0", "worker0", "worker1", "ps0")} == {2}


def test_an_evaluator_that_dies_restarts_alone(start, tmp_path):
    launched = start(
        f"--worker0={GO} {WAIT}",
        "--evaluator0=nth == 1 and die(); print('again')",
        "--workdir=d",
        workers=1,
        evaluator=True,
    )
    trainer, _ = launched.says_in_any_order(r"pid (\d+)", r"evaluator 0\] again")
    os.kill(int(trainer[1]), signal.SIGUSR1)
    assert launched.ends() == 0
    assert starts(tmp_path, "worker0") == 1 and starts(tmp_path, "evaluator0") == 2


def test_an_evaluator_that_dies_after_the_leader_ended_still_evaluates(start, tmp_path):
    script = "--evaluator0=nth == 1 and (lose('worker0'), die())"
    launched = start(script, "--worker0=greet()", "--workdir=d", workers=1, evaluator=True)
    assert launched.ends() == 0
    assert starts(tmp_path, "evaluator0") == 2


def test_an_evaluator_that_keeps_failing_decides_only_the_exit_code(start, tmp_path):
    launched = start(
        f"--worker0={GO} {WAIT}", "--evaluator0=print('dim'); sys.exit(1)",
        "--workdir=d", workers=1, evaluator=True, max_restarts=1,
    )  # fmt: skip
    trainer, _ = launched.says_in_any_order(
        r"pid (\d+)",
        "evaluator 0 failed with exit code 1; it is not restarted, and the other tasks",
    )
    os.kill(int(trainer[1]), signal.SIGUSR1)
    assert launched.ends() == 1
    assert launched.said[-1] == "launch: evaluator 0 failed with exit code 1: dim"


def test_an_evaluator_outlives_a_cluster(start, tmp_path):
    scripts = [f"--evaluator0={GO} {WAIT}", "--worker0=nth == 1 and die(); print('again')"]
    launched = start(*scripts, "--workdir=d", workers=1, evaluator=True)
    evaluator, _ = launched.says_in_any_order(r"pid (\d+)", r"worker 0\] +again")
    os.kill(int(evaluator[1]), signal.SIGUSR1)
    assert launched.ends() == 0
    assert starts(tmp_path, "worker0") == 2 and starts(tmp_path, "evaluator0") == 1


# Worker 1 dies while the file exists, and the other loses it. At its third start it removes the file
# once the other has seen it too. A cluster without worker 1 trains until it is asked to stop.
UNSTEADY = {
    "worker1": "os.path.exists('away') and (greet(), nth == 3 and os.remove('away'), die())",
    "worker0": f"""
if len(config["cluster"]["worker"]) == 1:
    {RESUMABLE}
elif os.path.exists("away"):
    follow("worker1")
""",
}


def test_a_worker_that_keeps_failing_is_dropped_and_tried_again(start, tmp_path):
    (tmp_path / "away").touch()
    launched = start("--workdir=d", scripts=UNSTEADY, min_workers=1, rejoin_after_s=1)
    launched.says("launch: worker 1 was killed by SIGKILL; restart 1 of 3")
    launched.says(
        "launch: worker 1 keeps failing; continuing with 1 of 2 workers from the beginning; all workers "
        "are tried again in 1 s"
    )
    launched.says("launch: stopping the smaller cluster to try all workers again")
    launched.says("launch: continuing with all 2 workers from the beginning")
    launched.says(
        "worker 1 keeps failing; continuing with 1 of 2 workers .*; all workers are tried again in 2 s"
    )
    launched.says("continuing with all 2 workers")
    assert launched.ends() == 0
    # Two attempts, one when it was back and failed, and one when it stayed.
    assert starts(tmp_path, "worker1") == 4


def test_a_smaller_cluster_may_lose_a_task_and_complete_the_run(start, tmp_path):
    (tmp_path / "away").touch()
    alone = "len(config['cluster']['worker']) == 1"
    scripts = UNSTEADY | {
        "worker0": f"if {alone}: nth == 3 and die()\nelse: follow('worker1')",
    }
    launched = start("--workdir=d", scripts=scripts, min_workers=1)
    launched.says("continuing with 1 of 2 workers")
    launched.says("worker 0 was killed by SIGKILL; restart 1 of 3")
    assert launched.ends() == 0
    assert starts(tmp_path, "worker0") == 4


def test_without_a_possible_smaller_cluster_all_tasks_restart_until_no_restart_is_left(start):
    scripts = {"worker1": "greet(); die()", "worker0": "follow('worker1')"}
    launched = start("--workdir=d", scripts=scripts, min_workers=2, max_restarts=2)
    assert launched.ends() == 128 + signal.SIGKILL
    why = (
        "launch: worker 1 keeps failing, and the run cannot continue without it: --min_workers=2 leaves "
        "no number of workers below 2"
    )
    assert launched.said.count(why) == 2


def test_a_chief_is_never_dropped(start, tmp_path):
    scripts = {"chief0": "greet(); die()", "worker0": "follow('chief0')"}
    launched = start(
        "--workdir=d", scripts=scripts, workers=1, chief=True, min_workers=1, max_restarts=2
    )
    assert launched.ends() == 128 + signal.SIGKILL
    assert "keeps failing" not in "\n".join(launched.said)
    assert starts(tmp_path, "chief0") == 3


def test_of_several_workers_the_one_that_another_blames_is_dropped(start, tmp_path):
    blame = "end(75, 'no answer', blamed='worker1')"
    scripts = {
        "worker0": f"if len(config['cluster']['worker']) == 3: {blame}",
        "worker1": f"if len(config['cluster']['worker']) == 3: {RESUMABLE}",
    }
    launched = start(
        "--workdir=d", "--config.data.global_batch_size=12", scripts=scripts,
        workers=3, min_workers=1, grace_s=0.2,
    )  # fmt: skip
    launched.says("worker 1 keeps failing; continuing with 2 of 3 workers")
    assert launched.ends() == 0


def test_the_record_decides_who_is_blamed_and_not_the_message(start):
    """Worker 0's message names a task that it does not blame, worker 1's names none and blames one."""
    names = "end(75, 'muster: error: worker 2 was lost', blamed='worker1')"
    launched = start(
        "--workdir=d", "--config.data.global_batch_size=12",
        scripts={
            "worker0": f"if len(config['cluster']['worker']) == 3: {names}",
            "all": RESUMABLE,
            "worker1": f"if len(config['cluster']['worker']) == 3: {RESUMABLE}",
            "worker2": "",
        },
        workers=3, min_workers=1, grace_s=0.2,
    )  # fmt: skip
    launched.says("launch: worker 1 keeps failing; continuing with 2 of 3 workers")
    assert launched.ends() == 0


def test_a_task_whose_words_blame_another_is_blamed_itself(start):
    lie = "print('muster: error: worker 1 was lost'); os._exit(75)"
    launched = start(f"--worker0=nth == 1 and ({lie.replace('; ', ', ')})", "--workdir=d")
    launched.says("launch: worker 0 failed with exit code 75; restart 1 of 3")
    assert launched.ends() == 0


def test_a_record_of_an_earlier_start_is_not_read_again(start):
    script = "--worker0=end(75, 'first') if nth == 1 else os._exit(75)"
    launched = start(script, "--workdir=d", workers=1, max_restarts=1)
    assert launched.ends() == 75
    assert launched.said[-1] == "launch: worker 0 failed with exit code 75"


def test_a_launcher_under_a_supervisor_records_its_own_end(tmp_path):
    (tmp_path / "stand_in.py").write_text(STAND_IN)
    file = exit_record.RecordFile()
    main = LAUNCHER.replace("options, args", "from trainer.process import exit_record\n"
                            "exit_record.accept_request()\noptions, args", 1)  # fmt: skip
    args = [{"workers": 1}, ["--workdir=d", "--worker0=end(2, '`x` is wrong.')"]]
    with subprocess.Popen(
        [sys.executable, "-c", main, json.dumps(args), ""],
        cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        env=file.name_in({**os.environ, "SCRIPTS": "{}",
                          "PYTHONPATH": os.pathsep.join([str(ROOT), str(tmp_path)])}),
    ) as launcher:  # fmt: skip
        launcher.wait(PATIENCE_S)
    assert file.take(launcher.pid, launcher.returncode) == exit_record.ExitRecord(
        2, "worker 0 failed with exit code 2: `x` is wrong."
    )


def test_a_workdir_that_cannot_be_made_is_refused(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs").write_text("a file")
    with pytest.raises(InputError, match="`--workdir` must be a folder that can be written"):
        launch_command.run(LaunchOptions(), [])
