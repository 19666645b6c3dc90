"""Does a live view leave the terminal usable and every line readable, however its process ends?

Real processes on real pseudo-terminals; the work is a stand-in without TensorFlow.
"""

import sys
import time

import pytest

from tests.paths import ROOT
from tests.terminals import Terminal

WORK = """
import os, pathlib, signal, sys, threading, time
from trainer.process import console, event_stream, log_format, report
from trainer.reporting import live
console.set_up()
live._LAST_WORDS_S = 100.0  # The screen of the tests is slower than a terminal.
assert live.is_possible(2) and live.start(2)
log_format.set_up()
event_stream.follow_progress()

def work(steps, first=0, total=20):
    for step in range(first, steps + 1):
        report.progress("training", step=step, total_steps=total, epoch=0.5, examples=step * 64)
        time.sleep(0.05)

def await_file(name):  # Until the test has seen what it waits for.
    while not pathlib.Path(os.environ["FOLDER"], name).exists():
        time.sleep(0.02)

def end():
    console.finish()
    print("the shell's next line", flush=True)
    os._exit(0)

"""


def _environ(folder):
    return {"PYTHONPATH": str(ROOT), "FOLDER": str(folder)}


def _terminal(work, folder, columns=80, rows=12):
    return Terminal([sys.executable, "-c", WORK + work], columns, rows, _environ(folder))


def test_lines_stay_above_the_block_which_goes_at_the_end(tmp_path):
    work = (
        "report.common('one'); work(15); await_file('seen'); "
        "print('two'); os.write(2, b'three\\n'); work(20, 15); end()"
    )
    with _terminal(work, tmp_path) as terminal:
        rows = terminal.await_row("step 15/20")
        assert rows[0].endswith(" one")
        (tmp_path / "seen").touch()
        assert terminal.wait() == 0
        assert [row.split()[-1] for row in terminal.rows[:3]] == ["one", "two", "three"]
        assert terminal.rows[3:] == ["the shell's next line"] and terminal.is_cursor_visible


def test_an_error_is_the_last_line(tmp_path):
    work = "work(20); await_file('seen'); console.print_line('muster: error: bad'); end()"
    with _terminal(work, tmp_path) as terminal:
        terminal.await_row("step ")
        (tmp_path / "seen").touch()
        assert terminal.wait() == 0
        assert terminal.rows == ["muster: error: bad", "the shell's next line"]


@pytest.mark.parametrize("how", ["os.kill(os.getpid(), signal.SIGKILL)", "os.abort()"])
def test_the_last_words_of_a_process_that_is_killed_are_shown_and_the_cursor_is_below(
    how, tmp_path
):
    work = f"work(20); await_file('seen'); os.write(2, b'F 123 native code failed\\n'); {how}"
    with _terminal(work, tmp_path) as terminal:
        terminal.await_row("/20  epoch")
        (tmp_path / "seen").touch()
        assert terminal.wait() < 0
        rows = terminal.rows
        assert rows[0] == "F 123 native code failed" and "/20  epoch" in rows[1]
        assert terminal.is_cursor_visible and terminal.cursor == (len(rows), 0)


def test_a_suspended_process_leaves_the_screen_to_the_shell_and_draws_anew_when_it_is_continued(
    tmp_path,
):
    shell = "set -m; \"$@\"; echo 'a prompt'; sleep 1; echo more; fg >/dev/null; echo 'at the end'"
    work = "work(20, 0, 100); await_file('more'); work(50, 40, 100); await_file('seen'); end()"
    command = ["bash", "-c", shell, "bash", sys.executable, "-c", WORK + work]
    with Terminal(command, 80, 14, _environ(tmp_path)) as terminal:
        terminal.await_row("step 20/100")
        terminal.type("\x1a")
        terminal.await_row("a prompt")
        rows = terminal.await_row("more")
        assert "step 20/100" in rows[0] and terminal.is_cursor_visible
        (tmp_path / "more").touch()
        rows = terminal.await_row("step 50/100")
        prompt = next(n for n, row in enumerate(rows) if "a prompt" in row)
        (block,) = [n for n, row in enumerate(rows) if "step 50/100" in row]
        assert block > prompt  # Below what the shell has printed, which stays.
        (tmp_path / "seen").touch()
        assert terminal.wait() == 0
        assert "a prompt" in terminal.rows and terminal.rows[-1] == "at the end"


def test_a_resized_and_a_narrow_window_show_the_block(tmp_path):
    with _terminal("work(20); await_file('seen'); end()", tmp_path, columns=100) as terminal:
        terminal.await_row("examples/s")
        terminal.resize(40, 12)
        terminal.await_rows(
            lambda rows: any("examples/s" in row for row in rows) and max(map(len, rows)) < 40,
            "a block of less than 40 columns",
        )
        (tmp_path / "seen").touch()
        assert terminal.wait() == 0 and terminal.rows[-1] == "the shell's next line"


FINISHES = """
began = time.monotonic()
for number in range(900):
    report.progress("training", step=number, total_steps=900, epoch=0.5, examples=number * 64)
    report.common("line %d %s", number, "x" * 50)
took = pathlib.Path(os.environ["FOLDER"], "took")
took.write_text(str(time.monotonic() - began))
took.rename(took.with_name("seconds"))
end()
"""


@pytest.mark.parametrize("how", ["stopped", "closed"])
def test_a_terminal_that_is_stopped_or_closed_blocks_no_work(how, tmp_path):
    survives = "signal.signal(signal.SIGHUP, signal.SIG_IGN)\n"
    begins = "report.common('begins')\nwork(20)\nawait_file('seen')\n"
    with _terminal(survives + begins + FINISHES, tmp_path) as terminal:
        terminal.await_row("begins")
        terminal.stop_reading() if how == "stopped" else terminal.close()
        (tmp_path / "seen").touch()
        deadline = time.monotonic() + 60
        while not (tmp_path / "seconds").exists() and time.monotonic() < deadline:
            time.sleep(0.1)
        assert float((tmp_path / "seconds").read_text()) < 10  # The pipe alone holds 64 KiB.
        if how == "stopped":
            terminal.resume_reading()
            assert terminal.wait() == 0
            assert "line 899" in terminal.rows[-2] and terminal.rows[-1] == "the shell's next line"


def test_in_the_background_nothing_is_drawn():
    """The shell's prompt is where the block would be."""
    check = (
        "from trainer.reporting import live; import os; "
        "os.write(2, b'possible\\n' if live.is_possible(2) else b'left alone\\n')"
    )
    shell = 'set -m; "$@" & wait; "$@"'
    with Terminal(["bash", "-c", shell, "bash", sys.executable, "-c", check], 80, 12,
                  {"PYTHONPATH": str(ROOT)}) as terminal:  # fmt: skip
        assert terminal.wait() == 0
        said = [row for row in terminal.rows if row in ("possible", "left alone")]
        assert said == ["left alone", "possible"]


def test_a_dumb_terminal_has_no_view():
    check = "from trainer.reporting import live; print(live.is_possible(2))"
    with Terminal(
        [sys.executable, "-c", check], environ={"TERM": "dumb", "PYTHONPATH": str(ROOT)}
    ) as terminal:
        assert terminal.wait() == 0 and terminal.rows == ["False"]


def test_where_the_view_itself_fails_the_lines_are_shown_all_the_same(tmp_path):
    fault = "event_stream.write({'event': 'progress', 'step': 'x', 'total_steps': 1})\n"
    with _terminal(fault + "print('still shown'); end()", tmp_path, rows=30) as terminal:
        assert terminal.wait() == 0
        assert "still shown" in terminal.rows and any("Error" in row for row in terminal.rows)


def test_ctrl_c_ends_the_work_and_not_the_view(tmp_path):
    handled = "signal.signal(signal.SIGINT, lambda *_: (print('stopping'), end()))\n"
    with _terminal(handled + "work(20); await_file('nothing')", tmp_path) as terminal:
        terminal.await_row("step 20/20")
        terminal.type("\x03")
        assert terminal.wait() == 0
        assert terminal.rows == ["stopping", "the shell's next line"]


def test_the_view_ends_with_its_process(tmp_path):
    """Also where something that the process left behind holds the pipe open."""
    work = "import subprocess\nsubprocess.Popen(['sleep', '200'])\nwork(5); end()"
    with _terminal(work, tmp_path) as terminal:
        began = time.monotonic()
        terminal.await_row("the shell's next line")
        assert time.monotonic() - began < 100
