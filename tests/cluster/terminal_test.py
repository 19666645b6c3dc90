"""What does a person see of a real run, on a terminal and in a log, and what does a program get?"""

import json
import os
import re
import signal
import subprocess
import sys

import pytest

from strategies.cluster.spec import Task
from tests.cluster import cluster, held
from tests.paths import ROOT
from tests.terminals import Terminal

SHORT = ("--config.model.hidden_units=8", "--config.train.epochs=4")
LONG = ("--config.model.hidden_units=8", "--config.train.epochs=4000")
BAR = re.compile(r"^[━╸╺]{8,} step [\d,]+/[\d,]+ ")
TRAINER = (sys.executable, "-m", "trainer")
ENVIRON = {"PYTHONPATH": str(ROOT), "CUDA_VISIBLE_DEVICES": "-1"}


def _blocks(terminal):
    """What has been drawn over time: the last row of each step of the bar."""
    return [row for row in terminal.rows if BAR.match(row)]


def test_a_run_on_a_terminal_is_drawn_and_its_lines_stay(tmp_path):
    flags = (f"--workdir={tmp_path}", *LONG, "--config.train.epochs=60")
    command = [sys.executable, "-m", held.NAME, *flags]
    # All that is awaited is shown until the hold is released.
    with held.before(epoch=30) as hold, Terminal(command, 160, 30, ENVIRON) as terminal:
        terminal.await_row("reading the data|starting|training")
        terminal.await_row(BAR.pattern)
        terminal.await_row(r"examples/s  .* left  (training|evaluating|saving)")
        terminal.await_row(r"^train +loss \d\.\d+ +accuracy \d\.\d+")
        terminal.await_row(r"^eval +loss \d\.\d+ +accuracy \d\.\d+")
        terminal.resize(40, 30)
        terminal.await_row(r"^[━╸╺]{8,} step")
        hold.release()
        assert terminal.wait() == 0
        assert not _blocks(terminal) and terminal.is_cursor_visible
        history = "".join(terminal.history)
        assert "epoch  60.00" in history and "done | 1440 steps" in history
        assert history.count("[?25l") == 0 and b"\x1e" not in terminal.sent


def test_a_killed_worker_is_marked_and_restarted_and_a_stop_is_the_last_line(tmp_path):
    command = [*TRAINER, "launch", "--workers=2", "--", f"--workdir={tmp_path}", *LONG]
    with Terminal(command, 110, 40, ENVIRON) as terminal:
        terminal.await_row(r"^● worker 1 +training step")
        rows = terminal.await_row(r"^● worker 0 +training step")
        assert sum(bool(BAR.match(row)) for row in rows) == 1
        terminal.await_row(r"^\[worker 0\] \S+ train  ")
        os.kill(cluster.pid_of(terminal, Task("worker", 1)), signal.SIGKILL)
        terminal.await_row(
            r"✗ worker 1 +lost: killed by SIGKILL|restarted once \(killed by SIGKILL\)"
        )
        terminal.await_row(r"^● worker 1 +training step \S+ +restarted once \(killed by SIGKILL\)")
        terminal.await_row(r"^● worker 0 +training step \S+ +restarted once \(worker 1 was lost\)")
        terminal.type("\x03")
        assert terminal.wait() == 75
        assert terminal.rows[-1].startswith("launch: stopped by SIGINT; run the same command again")
        history = terminal.history
        assert any(
            "launch: worker 1 was killed by SIGKILL; restart 1 of 3" in row for row in history
        )
        # The figures are the leader's alone.
        assert not any(re.match(r"\[worker 1\].* (train|eval|data|peers) ", row) for row in history)
        assert not any(row.startswith(("● ", "✗ ")) for row in terminal.rows)


@pytest.mark.cold
def test_errors_come_last_with_the_task_that_had_them(tmp_path):
    bad = "--config.data.train_examples=9999999"
    command = [*TRAINER, "launch", "--workers=2", "--", f"--workdir={tmp_path}", *SHORT, bad]
    with Terminal(command, 200, 40, ENVIRON) as terminal:
        assert terminal.wait() == 2
        last = terminal.rows[-1]
        assert re.match(r"launch: worker \d failed with exit code 2: `data.train_examples` ", last)


def test_in_a_log_the_leaders_figures_are_printed_once(tmp_path):
    run = cluster.finished(cluster.launching(tmp_path, *SHORT), tmp_path)
    figures = [line for line in run.screen.splitlines() if "train      |" in line]
    assert len(figures) == 4 and all(line.startswith("[worker 0] ") for line in figures)
    for once in ("data | ", "peers | ", "transport direct", "done | 96 steps"):
        assert run.screen.count(once) == 1, once
    assert "[worker 1] " in run.screen and "\x1b" not in run.screen and "\x1e" not in run.screen


def test_verbose_prints_what_every_task_logs_and_quiet_the_result_alone(tmp_path):
    loud = cluster.launching(tmp_path / "loud", *SHORT, also=["--verbose"])
    run = cluster.finished(loud, tmp_path / "loud")
    assert run.screen.count("train      |") == 8 and run.screen.count("data | ") == 2
    quiet = cluster.launching(tmp_path / "quiet", *SHORT, "--quiet")
    run = cluster.finished(quiet, tmp_path / "quiet")
    (line,) = run.screen.splitlines()
    assert re.match(r"\[worker 0\] \d\d:\d\d:\d\d done \| 96 steps \| ", line)
    with cluster.training(tmp_path / "one", *SHORT, "--quiet") as process:
        assert process.wait() == 0
    assert len(process.screen) == 1 and "done | 96 steps" in process.said


def _events(*args, code=0):
    """The events that a command prints, and what it prints on stderr."""
    done = subprocess.run(
        [*TRAINER, *args], cwd=ROOT, env={**os.environ, **ENVIRON}, capture_output=True, text=True,
        timeout=2 * cluster.PATIENCE_S, check=False,
    )  # fmt: skip
    assert done.returncode == code, done.stdout + done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()], done.stderr


@pytest.mark.cold
def test_json_prints_one_object_for_each_event(tmp_path):
    recipe = tmp_path / "prints.py"
    recipe.write_text(
        "from trainer.recipe import ExperimentConfig\n\n\ndef get_config():\n"
        "    print('not an event')\n    return ExperimentConfig()\n"
    )
    events, errors = _events(
        "--json", f"--config={recipe}", f"--workdir={tmp_path / 'one'}", *SHORT
    )
    assert "not an event" in errors
    # While the report is written, there may be progress after all is done.
    others = [event for event in events if event["event"] != "progress"]
    kinds = [event["event"] for event in others]
    assert kinds[-1] == "end" and kinds[-2] == "done" and kinds.count("train") == 4
    summary = json.loads((tmp_path / "one" / "summary.json").read_text())
    assert others[-2]["weights_sha256"] == summary["weights_sha256"]
    assert events[-1].items() >= {"exit_code": 0, "message": "", "blamed": None}.items()
    lines = (tmp_path / "one" / "metrics.jsonl").read_text().splitlines()
    logged = [json.loads(line) for line in lines]
    for event, record in zip([e for e in events if e["event"] == "train"],
                             [r for r in logged if r["event"] == "train"], strict=True):  # fmt: skip
        assert event["step"] == record["step"] and event["loss"] == record["loss"]
    for event in events:
        assert isinstance(event["time"], float)
        if event["event"] == "progress" and "step" in event:
            assert event.keys() >= {"doing", "step", "total_steps", "epoch", "examples"}

    events, errors = _events("evaluate", f"--workdir={tmp_path / 'one'}", "--json")
    (evaluated,) = [event for event in events if event["event"] == "eval"]
    assert evaluated["step"] == 96 and evaluated["loss"] == summary["test_loss"]

    events, errors = _events("--json", "--config.train.epochs=-1", code=2)
    (event,) = events
    assert event["event"] == "end" and "`train.epochs`" in event["message"]
    assert errors.startswith("muster: error: `train.epochs`")


@pytest.mark.cold
def test_json_under_launch_names_the_task_of_each_event(tmp_path):
    events, _ = _events("launch", "--json", "--workers=2", "--", f"--workdir={tmp_path}", *SHORT)
    states = [(one["task"], one["state"]) for one in events if one["event"] == "task"]
    assert sorted(states) == sorted(
        (f"worker {index}", state) for index in (0, 1) for state in ("running", "done")
    )
    figures = [event for event in events if event["event"] in ("train", "eval", "done")]
    assert len(figures) == 9 and {event["task"] for event in figures} == {"worker 0"}
    assert (
        events[-1]["event"] == "end" and events[-1]["exit_code"] == 0 and "task" not in events[-1]
    )
