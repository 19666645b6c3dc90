"""Is a forked process like one that was started anew, and what if the warm process fails?

The tests are the starter. The programs are real processes: modules in a test's folder.
"""

import contextlib
import json
import os
import pathlib
import resource
import select
import signal
import subprocess
import sys
import threading
import time

import pytest

from tests.paths import ROOT
from trainer.process.start import warm_process
from trainer.process.start.program import Limits, Program
from trainer.process.start.starter import Starter

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="only Linux has what it needs")

PATIENCE_S = 120.0
NO_LIMITS = Limits()
WAIT = "print('ready', flush=True); import time; time.sleep(600)"
STARTER = """
import os, sys, time
from trainer.process.start.program import Program
from trainer.process.start.starter import Starter
sys.path[0] = os.getcwd()
starter = Starter(() if sys.argv[2] == "warm" else None, print)
print(starter._warm._process.pid if starter._warm else os.getppid(), flush=True)
for _ in range(int(sys.argv[1])):
    print(starter.start(Program("module", [], dict(os.environ)), 1).pid, flush=True)
time.sleep(600)
"""


class Programs:
    """Starts modules in a folder, and reads what they print."""

    def __init__(self, folder: pathlib.Path, is_warm: bool = True):
        self.reports: list[str] = []
        self.folder = folder
        self.starter = Starter(() if is_warm else None, self.reports.append)

    @property
    def warm_pid(self) -> int:
        assert self.starter._warm
        return self.starter._warm._process.pid

    def start(self, code, *args, environ=(), label="", limits=NO_LIMITS, given_up=lambda: False):
        (self.folder / "module.py").write_text(code)
        ours, theirs = os.pipe()
        program = Program(
            "module", args, {**os.environ, **dict(environ)}, label, str(self.folder), limits
        )
        try:
            return self.starter.start(program, theirs, given_up), open(ours)
        finally:
            os.close(theirs)

    def result(self, code, *args, **options) -> tuple[int, str]:
        """The exit code of a program and its output."""
        child, output = self.start(code, *args, **options)
        with output:
            text = output.read()
        return child.wait(PATIENCE_S), text


@contextlib.contextmanager
def programs_in(folder, is_warm=True):
    programs = Programs(folder, is_warm)
    with contextlib.closing(programs.starter):
        yield programs


@pytest.fixture
def warm(tmp_path):
    with programs_in(tmp_path) as programs:
        yield programs


@pytest.fixture(params=["warm", "cold"])
def either(request, tmp_path):
    with programs_in(tmp_path, request.param == "warm") as programs:
        yield programs


def ended(pid: int) -> bool:
    """Whether a process that is no child of this one ends in time."""
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    with os.fdopen(descriptor) as process:
        return bool(select.select([process], [], [], PATIENCE_S)[0])


SHOW = """
import json, os, signal, sys
print(json.dumps({
    "argv": sys.argv[1:], "folder": os.getcwd(), "path": sys.path[0], "parent": os.getppid(),
    "name": __name__, "main": sys.modules["__main__"].__spec__.name, "NAME": os.environ.get("NAME"),
    "leads": os.getsid(0) == os.getpgid(0) == os.getpid(), "cores": sorted(os.sched_getaffinity(0)),
    "oom": open("/proc/self/oom_score_adj").read().strip(), "input": sys.stdin.read(),
    "blocked": sorted(signal.pthread_sigmask(signal.SIG_BLOCK, ())),
    "interrupt": signal.getsignal(signal.SIGINT) is signal.default_int_handler,
    "files": sorted(os.listdir("/proc/self/fd")), "encoding": sys.stdout.encoding,
    "command": open("/proc/self/cmdline").read().replace(chr(0), " ").strip(),
}))
"""


def test_a_program_has_its_own_arguments_environment_session_and_limits(either, tmp_path):
    before = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
    core = min(os.sched_getaffinity(0))
    try:
        code, text = either.result(
            SHOW, "a b", "--c=é", environ={"NAME": "value"}, limits=Limits([core], 500)
        )
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
    shown = json.loads(text)
    command = shown.pop("command")
    assert code == 0 and command.endswith("-m module a b --c=é")
    assert len(shown.pop("files")) == 4  # The standard streams, and the folder that is listed.
    assert shown == {
        "argv": ["a b", "--c=é"],
        "folder": str(tmp_path),
        "path": str(tmp_path),
        "parent": os.getpid(),
        "name": "__main__",
        "main": "module",
        "NAME": "value",
        "leads": True,
        "cores": [core],
        "oom": "500",
        "input": "",
        "blocked": [],
        "interrupt": True,
        "encoding": "utf-8",
    }


def test_the_label_is_shown_after_the_command(warm):
    _, text = warm.result(SHOW, "--x", label="worker 1")
    assert json.loads(text)["command"] == f"{sys.executable} -m module --x [worker 1]"


@pytest.mark.parametrize(
    "code, expected, last",
    [
        ("print('x')", 0, "x"),
        ("import sys; sys.exit(75)", 75, ""),
        ("import sys; sys.exit('why')", 1, "why"),
        ("import os; print('x', flush=True); os._exit(3)", 3, "x"),
        ("raise ValueError('broken')", 1, "ValueError: broken"),
        ("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)", -signal.SIGSEGV, ""),
    ],
)
def test_the_exit_code_and_the_output_are_the_programs(either, code, expected, last):
    found, text = either.result(code)
    assert (found, text.splitlines()[-1:]) == (expected, [last] if last else [])


@pytest.mark.parametrize("environ, shown", [({"PYTHONUNBUFFERED": "1"}, "x"), ({}, "")])
def test_output_is_buffered_as_the_environment_says(either, environ, shown):
    code = "import os; print('x', end=''); os._exit(0)"
    assert either.result(code, environ={"PYTHONUNBUFFERED": "", **environ}) == (0, shown)


def test_signals_reach_the_program_and_its_end_is_not_waited_for_twice(either):
    child, output = either.start(WAIT)
    with output:
        assert output.readline() == "ready\n"
        assert child.poll() is None
        with pytest.raises(subprocess.TimeoutExpired):
            child.wait(0.05)
        child.terminate()
        assert child.wait(PATIENCE_S) == child.poll() == child.returncode == -signal.SIGTERM
        child.kill()  # Nothing is left to kill.


def test_a_program_that_needs_another_environment_at_its_start_is_started_anew(warm):
    code = "import sys; print(sys.flags.optimize, 'trainer.process.start.origin' in sys.modules)"
    assert warm.result(code, environ={"PYTHONOPTIMIZE": "1"}) == (0, "1 False\n")
    assert warm.result(code, environ={"OTHER": "1"}) == (0, "0 True\n")
    assert not warm.reports


def test_several_threads_start_programs_at_once(warm):
    (warm.folder / "module.py").write_text("import sys; sys.exit(int(sys.argv[1]))")
    codes = {}

    def start(number):
        program = Program("module", [str(number)], dict(os.environ), folder=str(warm.folder))
        codes[number] = warm.starter.start(program, 1).wait(PATIENCE_S)

    threads = [threading.Thread(target=start, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE_S)
    assert codes == {number: number for number in range(8)}


def test_the_warm_process_has_imported_what_it_was_asked_to(tmp_path):
    starter = Starter(("wave",), print)
    with contextlib.closing(starter):
        ours, theirs = os.pipe()
        (tmp_path / "module.py").write_text("import sys; print('wave' in sys.modules)")
        child = starter.start(Program("module", [], dict(os.environ), "", str(tmp_path)), theirs)
        os.close(theirs)
        with open(ours) as output:
            assert output.read() == "True\n"
        assert child.wait(PATIENCE_S) == 0


# The warm process fails.


def test_after_the_warm_process_was_killed_programs_run_on_and_further_ones_start_anew(warm):
    child, output = warm.start(WAIT)
    with output:
        assert output.readline() == "ready\n"
        os.kill(warm.warm_pid, signal.SIGKILL)
        assert warm.result(SHOW)[0] == 0 and warm.result(SHOW)[0] == 0
        assert child.poll() is None
        child.kill()
        assert child.wait(PATIENCE_S) == -signal.SIGKILL
    assert warm.reports == [
        "the warm process was killed by SIGKILL; every process now starts by importing TensorFlow "
        "itself"
    ]


def test_a_warm_process_that_is_stopped_is_replaced_after_its_deadline(warm, monkeypatch):
    monkeypatch.setattr(warm_process, "_FORK_S", 0.2)
    assert warm.result("print('x')") == (0, "x\n")
    stopped = warm.warm_pid
    os.kill(stopped, signal.SIGSTOP)
    assert warm.result("print('x')") == (0, "x\n")
    assert warm.reports[0].startswith("the warm process did not answer; ")
    assert not pathlib.Path(f"/proc/{stopped}").exists()


def test_a_warm_process_without_memory_is_replaced(warm):
    assert warm.result("print('x')") == (0, "x\n")
    resource.prlimit(warm.warm_pid, resource.RLIMIT_AS, (1 << 20, 1 << 20))
    assert warm.result("print('x')") == (0, "x\n")
    assert len(warm.reports) == 1


def test_a_warm_process_that_cannot_import_is_replaced(tmp_path):
    reports: list[str] = []
    with contextlib.closing(Starter(("no_such_module",), reports.append)) as starter:
        (tmp_path / "module.py").write_text("")
        child = starter.start(Program("module", [], dict(os.environ), "", str(tmp_path)), 1)
        assert child.wait(PATIENCE_S) == 0
    assert reports[0].startswith("the warm process ended with exit code 1; ")


def test_a_start_that_is_given_up_starts_nothing(warm):
    os.kill(warm.warm_pid, signal.SIGSTOP)
    began = time.monotonic()
    child, output = warm.start(WAIT, given_up=lambda: time.monotonic() > began + 0.3)
    with output:
        assert child is None and not warm.reports
        os.kill(warm.warm_pid, signal.SIGCONT)
        assert output.read() == ""  # What was forked meanwhile has ended, and printed nothing.
    assert warm.result("print('x')") == (0, "x\n")


# The starter ends.


@pytest.mark.parametrize("kind", ["warm", "cold"])
@pytest.mark.parametrize("count", [1, 3])
def test_what_was_started_ends_with_a_starter_that_is_killed(tmp_path, count, kind):
    (tmp_path / "module.py").write_text("import time; time.sleep(600)")
    environ = {**os.environ, "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(
        [sys.executable, "-c", STARTER, str(count), kind], cwd=tmp_path, env=environ, text=True,
        stdout=subprocess.PIPE,
    ) as starter:  # fmt: skip
        pids = [int(starter.stdout.readline()) for _ in range(1 + count)]
        starter.kill()
        assert all(ended(pid) for pid in pids if pid != os.getpid())


def test_a_starter_that_is_killed_at_any_moment_of_a_start_leaves_nothing_behind(tmp_path):
    (tmp_path / "module.py").write_text("import time; time.sleep(600)")
    environ = {**os.environ, "PYTHONPATH": str(ROOT), "MARK": str(tmp_path)}
    for place in range(12):
        with subprocess.Popen(
            [sys.executable, "-c", STARTER, "100", "warm"], cwd=tmp_path, env=environ, text=True,
            stdout=subprocess.PIPE,
        ) as starter:  # fmt: skip
            starter.stdout.readline()
            time.sleep(0.007 * place)
            starter.kill()
            starter.stdout.read()  # To its end: every process that was started held it open.
    marked = [path for path in pathlib.Path("/proc").glob("[0-9]*") if _is_marked(path, tmp_path)]
    assert not [path for path in marked if not ended(int(path.name))]


def _is_marked(process: pathlib.Path, folder: pathlib.Path) -> bool:
    with contextlib.suppress(OSError):
        return f"MARK={folder}".encode() in (process / "environ").read_bytes()
    return False


def test_two_hundred_starts_leak_no_process_descriptor_or_folder(warm, monkeypatch):
    monkeypatch.setenv("TMPDIR", str(warm.folder))
    assert warm.result("pass")[0] == 0

    def held():
        children = pathlib.Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()
        theirs = os.listdir(f"/proc/{warm.warm_pid}/fd")
        counts = len(os.listdir("/proc/self/fd")), len(theirs), threading.active_count()
        return [len(children), *counts]

    before = held()
    for number in range(200):
        assert warm.result(f"import sys; sys.exit({number % 7})")[0] == number % 7
    deadline = time.monotonic() + PATIENCE_S
    # A program may end a moment before the warm process has closed the last of its descriptors.
    while any(now > then for now, then in zip(held(), before, strict=True)):
        assert time.monotonic() < deadline, (held(), before)
        time.sleep(0.01)
    assert sorted(os.listdir(warm.folder)) == ["module.py"]


def test_a_forked_process_forks_its_own_without_importing_again(warm):
    code = """
import os, sys
import json as marked; marked.mark = "kept"
from trainer.process.start.program import Program
from trainer.process.start.starter import Starter
open("inner.py", "w").write("import json, sys; print(getattr(json, 'mark', 'lost')); sys.exit(5)")
starter = Starter(("no_such_module",), print)
child = starter.start(Program("inner", [], dict(os.environ)), 1)
print(child.wait())
starter.close()
"""
    assert warm.result(code, environ={"PYTHONUNBUFFERED": "1"}) == (0, "kept\n5\n")
    assert not warm.reports
