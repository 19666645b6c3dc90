"""Does a run that is killed at any rename, fsync, mkdir, append or fork lose nothing and leave nothing?

A `train`, a `launch` or a `tune` runs once undisturbed, which counts the calls of its processes. Then the
process that makes the Nth of them is killed, for an N drawn from the session's seed.
"""

import dataclasses
import itertools
import json
import pathlib
import random

import pytest

from tests.cluster import cluster
from tests.faults import kill_points, warm_starts
from tests.faults.kill_points import KINDS

STEPS = 60
CONFIG = (
    "--config.model.hidden_units=8",
    f"--config.train.steps={STEPS}",
    "--config.train.steps_per_loop=5",
    "--config.train.checkpoint_every_steps=20",
)
TRIALS = ("--tuner=grid", "--parallel_trials=2")
VERBS = ("train", "launch", "tune")
LONG = 25  # Kills of each verb.
MAX_STARTS = 3


@dataclasses.dataclass(frozen=True)
class Kill:
    """A kill in a run of `verb`, at a call of `kind`; `share` says at which of them, from 0 to 1."""

    verb: str
    kind: str
    moment: str
    share: float

    def __str__(self) -> str:
        return f"{self.verb}, {self.moment} {self.kind} at {self.share:.2f}"


def kills(seed: int, is_long: bool) -> list[Kill]:
    rng = random.Random(f"{seed}, kill points")
    kinds = itertools.cycle(rng.sample(KINDS, len(KINDS)))
    return [
        Kill(verb, next(kinds), rng.choice(("before", "after")), rng.random())
        for _ in range(LONG if is_long else 1)
        for verb in VERBS
    ]


@pytest.fixture(autouse=True)
def processes_with_kill_points(monkeypatch):
    monkeypatch.setattr(cluster, "_starter", lambda: warm_starts.starter(kill_points.__name__))


def _start(verb: str, folder: pathlib.Path, kill: str = "") -> cluster.Process:
    workdir, temporary = f"--workdir={folder / 'run'}", folder / "tmp"
    temporary.mkdir(parents=True, exist_ok=True)
    space = folder / "space.yaml"
    space.write_text("train.seed: {choices: ['1', '2']}")
    environ = {"TMPDIR": str(temporary), kill_points.VARIABLE: kill}
    args = {
        "train": ["train", workdir, *CONFIG],
        "launch": ["launch", "--workers=2", "--", workdir, *CONFIG],
        "tune": ["tune", workdir, f"--space={space}", *CONFIG, *TRIALS],
    }[verb]
    return cluster.Process([*cluster.TRAINER, *args], environ)


def _result(verb: str, folder: pathlib.Path) -> dict[str, str]:
    """The weights of each run in the folder, by its path."""
    summaries = sorted((folder / "run").rglob("summary.json"))
    return {
        str(path.relative_to(folder)): json.loads(path.read_text())["weights_sha256"]
        for path in summaries
    }


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """(the counts of its calls, its result) of a run of a verb, made once."""
    made = {}

    def of(verb):
        if verb not in made:
            folder = tmp_path_factory.mktemp(verb)
            journal = folder / "journal"
            with _start(verb, folder, f"fork:0:before:{journal}") as process:
                assert process.wait() == 0, process.said
            made[verb] = kill_points.journal(journal)[0], _result(verb, folder)
        return made[verb]

    return of


def _leftovers(folder: pathlib.Path) -> list[str]:
    """Hidden files and folders in the run's, but for its locks."""
    names = (path for path in (folder / "run").rglob(".*") if path.name != ".lock")
    return [str(path) for path in names]


def test_a_run_that_is_killed_at_a_call_loses_nothing_and_leaves_nothing(
    kill, tmp_path, undisturbed
):
    counts, result = undisturbed(kill.verb)
    if not counts[kill.kind]:
        pytest.skip(f"`{kill.verb}` makes no {kill.kind}")
    number = 1 + int(kill.share * counts[kill.kind])
    journal = tmp_path / "journal"
    with _start(kill.verb, tmp_path, f"{kill.kind}:{number}:{kill.moment}:{journal}") as process:
        starts = [process]
        code = process.wait()
    _, pids = kill_points.journal(journal)
    while code != 0:
        assert len(starts) < MAX_STARTS and code != 2, starts[-1].said
        with _start(kill.verb, tmp_path) as process:
            code = process.wait()
        starts.append(process)
    for process in starts:
        assert "Traceback" not in process.said, process.said
    cluster.await_end_of(pids)
    assert _result(kill.verb, tmp_path) == result
    assert not _leftovers(tmp_path)
    steps = [json.loads(line)["step"] for line in _metrics(tmp_path)]
    assert steps == sorted(steps)


def _metrics(folder: pathlib.Path) -> list[str]:
    path = folder / "run" / "metrics.jsonl"
    return path.read_text().splitlines() if path.exists() else []
