"""Does a supervisor read exactly the record of the process that it started, and nothing else?"""

import json
import os
import pathlib
import subprocess
import sys

import pytest

from strategies.cluster.spec import Task
from tests.paths import ROOT
from trainer.process import exit_record
from trainer.process.exit_record import ExitRecord, RecordFile

ACCEPT = """
import os, sys
from strategies.cluster.spec import Task
from trainer.process import exit_record
from trainer.process.exit_record import ExitRecord
exit_record.accept_request()
"""
LOST = 'exit_record.write(ExitRecord(75, "no answer", Task("worker", 1)))\n'


def run(script, file, **environ):
    """The process after its end, and the record that its supervisor reads."""
    process = subprocess.Popen(
        [sys.executable, "-c", ACCEPT + script],
        env=file.name_in({**os.environ, "PYTHONPATH": str(ROOT), **environ}),
        stdout=subprocess.PIPE,
        text=True,
    )
    with process:
        output, _ = process.communicate(timeout=120)
    return process.returncode, output, file.take(process.pid, process.returncode)


def path_of(file):
    return pathlib.Path(file.name_in({})[exit_record.VARIABLE])


@pytest.mark.parametrize("end", ["os._exit(75)", "sys.exit(75)"])
def test_a_record_says_how_the_process_ended_and_which_task_it_blames(end):
    code, _, record = run(LOST + end, RecordFile())
    assert code == 75
    assert record == ExitRecord(75, "no answer", Task("worker", 1))
    assert record.kind == "resume"


def test_the_file_holds_the_documented_format():
    file = RecordFile()
    process = subprocess.run(
        [sys.executable, "-c", ACCEPT + LOST + "print(os.getpid())"],
        env=file.name_in({**os.environ, "PYTHONPATH": str(ROOT)}),
        check=True, capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert json.loads(path_of(file).read_text()) == {
        "format": 1,
        "pid": int(process.stdout),
        "exit_code": 75,
        "kind": "resume",
        "task": ["worker", 1],
        "message": "no answer",
    }


@pytest.mark.parametrize(
    "code, kind",
    [(0, "done"), (1, "fault"), (2, "bad_input"), (75, "resume"), (137, "killed"), (3, "fault")],
)
def test_every_exit_code_has_a_kind(code, kind):
    assert ExitRecord(code).kind == kind


def test_a_forked_child_writes_the_record_of_the_process_that_was_started():
    fork = "if os.fork() == 0:\n    " + LOST + "    os._exit(75)\n"
    code, _, record = run(fork + "os.wait()\nos._exit(75)", RecordFile())
    assert code == 75
    assert record and record.task == Task("worker", 1)


def test_the_first_record_stays():
    again = 'exit_record.write(ExitRecord(75, "later"))\nos._exit(75)'
    assert run(LOST + again, RecordFile())[2].message == "no answer"


def test_what_the_process_starts_does_not_find_the_request():
    child = (
        "import subprocess\n"
        "subprocess.run([sys.executable, '-c', 'import os; print(dict(os.environ))'], check=True)"
    )
    _, output, _ = run(child, RecordFile())
    assert "PYTHONPATH" in output and exit_record.VARIABLE not in output


def test_a_request_of_the_supervisors_own_supervisor_is_replaced():
    file = RecordFile()
    assert file.name_in({exit_record.VARIABLE: "/other", "A": "1"}) == {
        exit_record.VARIABLE: str(path_of(file)),
        "A": "1",
    }


@pytest.mark.parametrize(
    "end",
    ["os.kill(os.getpid(), 9)", "os._exit(1)", "os._exit(0)"],
    ids=["killed", "fault", "done"],
)
def test_a_record_about_another_end_counts_as_none(end):
    assert run(LOST + end, RecordFile())[2] is None


def test_a_process_that_writes_none_has_none():
    assert run("os._exit(75)", RecordFile())[::2] == (75, None)


GUARDED = """
import ctypes, socket
from trainer.process import guardian
peer, theirs = socket.socketpair()
child = guardian.fork_child()
theirs.close()
if {dies}:
    os.kill(os.getpid(), 9)
if {writes}:
    exit_record.write(ExitRecord(75, "by the child", Task("ps", 0)))
with child.watch_while_blocked("starting", 60, {{Task("worker", 1): peer}}, {silence_s}):
    ctypes.PyDLL(None).sleep(60)  # It keeps Python's lock.
"""


def test_the_guardian_writes_the_record_of_a_child_that_hears_nothing():
    code, _, record = run(GUARDED.format(dies=False, writes=False, silence_s=0.5), RecordFile())
    assert code == 75
    assert record.task == Task("worker", 1)
    assert record.message.startswith("worker 1 was lost (not heard from for 0.5 s) while starting")


def test_the_guardian_keeps_the_record_that_its_child_wrote():
    _, _, record = run(GUARDED.format(dies=False, writes=True, silence_s=0.5), RecordFile())
    assert record == ExitRecord(75, "by the child", Task("ps", 0))


def test_the_guardian_records_that_its_child_was_killed():
    code, _, record = run(GUARDED.format(dies=True, writes=False, silence_s=60), RecordFile())
    assert code == 137
    assert (record.kind, record.task) == ("killed", None)
    assert record.message.startswith("the task was killed by SIGKILL")


GOOD = {"format": 1, "pid": 7, "exit_code": 75, "kind": "resume", "task": None, "message": "x"}


@pytest.mark.parametrize(
    "text, expected",
    [
        (json.dumps(GOOD), ExitRecord(75, "x")),
        (json.dumps(GOOD | {"task": ["ps", 0]}), ExitRecord(75, "x", Task("ps", 0))),
        (json.dumps(GOOD | {"task": ["ps", True]}), ExitRecord(75, "x")),
        (json.dumps(GOOD | {"task": ["sp", 0]}), ExitRecord(75, "x")),
        (json.dumps(GOOD | {"task": "worker 1"}), ExitRecord(75, "x")),
        (json.dumps(GOOD)[:-5], None),
        (json.dumps(GOOD | {"format": 2}), None),
        (json.dumps(GOOD | {"pid": 8}), None),
        (json.dumps(GOOD | {"message": 5}), None),
        ("[]", None),
        ("[" * 100_000, None),
        ("", None),
        ("\ud800".encode("utf-16-le", "surrogatepass").decode("latin-1"), None),
    ],
)
def test_a_damaged_record_or_one_of_another_process_counts_as_none(text, expected):
    file = RecordFile()
    path_of(file).write_bytes(text.encode("latin-1"))
    assert file.take(pid=7, exit_code=75) == expected


def test_a_file_on_a_disk_is_written_too(tmp_path):
    """As a container's supervisor names one."""
    path = tmp_path / "record.json"
    environ = {**os.environ, "PYTHONPATH": str(ROOT), exit_record.VARIABLE: str(path)}
    script = ACCEPT + LOST + LOST
    subprocess.run([sys.executable, "-c", script], env=environ, check=True, timeout=120)
    assert json.loads(path.read_text())["message"] == "no answer"


def test_a_record_is_taken_once_and_leaves_no_descriptor():
    before = os.listdir("/proc/self/fd")
    read, dropped = RecordFile(), RecordFile()
    assert len(os.listdir("/proc/self/fd")) == len(before) + 2
    path_of(read).write_text(json.dumps(GOOD))
    assert read.take(7, 75) == ExitRecord(75, "x")
    assert read.take(7, 75) is None
    del dropped
    assert os.listdir("/proc/self/fd") == before


@pytest.mark.parametrize("path", ["/nonexistent/record", "/proc/1/fd/99999", "/dev/full"])
def test_a_record_that_cannot_be_written_does_not_change_the_end(path):
    environ = {**os.environ, "PYTHONPATH": str(ROOT), exit_record.VARIABLE: path}
    command = [sys.executable, "-c", ACCEPT + LOST + "os._exit(75)"]
    done = subprocess.run(command, env=environ, capture_output=True, check=False, timeout=120)
    assert (done.returncode, done.stderr) == (75, b"")


def test_without_files_in_memory_the_process_is_started_without_a_request(monkeypatch):
    monkeypatch.delattr("os.memfd_create")
    file = RecordFile()
    assert file.name_in({"A": "1", exit_record.VARIABLE: "/other"}) == {"A": "1"}
    assert file.take(1, 75) is None


def test_a_message_of_any_length_and_text_is_read():
    script = r"exit_record.write(ExitRecord(2, '\udcff\U0001f600' * 100_000)); os._exit(2)"
    _, _, record = run(script, RecordFile())
    assert record.message == "\udcff\U0001f600" * (1 << 13)


@pytest.mark.parametrize(
    "argv, code, kind, message",
    [
        (["--devices=-1"], 2, "bad_input", "`--devices` must be at least 0. Received: -1; try 0."),
        (["launch", "--help"], 0, None, ""),
    ],
)
def test_the_program_records_the_message_that_it_prints(argv, code, kind, message):
    file = RecordFile()
    process = subprocess.Popen(
        [sys.executable, "-m", "trainer", *argv],
        cwd=ROOT, env=file.name_in(os.environ), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
        text=True,
    )  # fmt: skip
    with process:
        _, screen = process.communicate(timeout=120)
    record = file.take(process.pid, process.returncode)
    assert process.returncode == code
    if kind:
        assert (record.kind, record.message) == (kind, message)
        assert screen == f"muster: error: {message}\n"
    else:
        assert record is None


def test_a_process_that_ends_from_another_thread_records_the_lost_task():
    script = """
import threading
from trainer.process.signals import exit_now
lost = lambda: exit_now(75, "lost", Task("ps", 1))
threading.Thread(target=lost).start()
threading.Event().wait()
"""
    assert run(script, RecordFile())[2] == ExitRecord(75, "lost", Task("ps", 1))
