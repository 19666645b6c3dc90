"""Can streams, limits or what is in a workdir end in a traceback, a hang or a loss?

Each case is a command in surroundings drawn from the session's seed. It must end within its deadline with
0, 2 or 75, with at most one error line and no traceback. A refused run has changed nothing in its folder;
one that ends with 0 has the weights of an undisturbed one, and `check` did not call it wrong.
"""

import dataclasses
import hashlib
import json
import os
import pathlib
import random
import shutil

import pytest

from tests.cluster import cluster
from tests.faults import conftest, surroundings, warm_starts
from trainer.storage import manifest as manifest_lib

STREAMS = ("as they are", "closed", "full", "no reader")
ENCODINGS = ("", "", "ascii", "latin-1", "utf-16")
LIMITS: tuple[dict[str, int], ...] = (
    {},
    {},
    {"files": 16},
    {"files": 48},
    {"file_bytes": 512},
    {"addresses": 1 << 30},
)
VERBS = ("check", "check", "train", "evaluate")
FLAGS = (
    "--config.model.hidden_units=8",
    "--config.train.steps=40",
    "--config.train.checkpoint_every_steps=20",
    "--config.train.log_examples",
)
SHORT, LONG = 30, 1000
DEADLINE_S = 200.0  # For what takes 2 s on an idle machine.

pytestmark = pytest.mark.timeout(7200)


@dataclasses.dataclass(frozen=True)
class Case:
    """A command, its streams and limits, and how the workdir was damaged before."""

    verb: str
    streams: tuple[str, ...]
    encoding: str
    limits: dict[str, int]
    damage: tuple[str, str]  # What was done, and to which file.


def _nothing(path: pathlib.Path, rng: random.Random) -> None:
    pass


def _removed(path: pathlib.Path, rng: random.Random) -> None:
    shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink(missing_ok=True)


def _folder(path: pathlib.Path, rng: random.Random) -> None:
    _removed(path, rng)
    path.mkdir()


def _pipe(path: pathlib.Path, rng: random.Random) -> None:
    _removed(path, rng)
    os.mkfifo(path)


def _dangling(path: pathlib.Path, rng: random.Random) -> None:
    _removed(path, rng)
    path.symlink_to("not-mounted")


def _empty(path: pathlib.Path, rng: random.Random) -> None:
    _written(path, b"", rng)


def _noise(path: pathlib.Path, rng: random.Random) -> None:
    _written(path, rng.randbytes(rng.choice((1, 300, 70_000))), rng)


def _deep(path: pathlib.Path, rng: random.Random) -> None:
    _written(path, b'{"a":' * 100_000 + b"\n", rng)


def _numbers(path: pathlib.Path, rng: random.Random) -> None:
    _written(path, b'{"step": 1e999, "steps": 1e999, "epochs": NaN, "format": 1e999}\n', rng)


def _flipped(path: pathlib.Path, rng: random.Random) -> None:
    if path.is_file():
        data = bytearray(path.read_bytes() or b"x")
        data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
        path.write_bytes(data)


def _forged(path: pathlib.Path, rng: random.Random) -> None:
    """A manifest with a field of another type, and a valid seal."""
    if path.name == manifest_lib.NAME:
        fields = json.loads(path.read_text())
        fields[rng.choice(sorted(fields))] = rng.choice([None, [], {}, "x", -1, 1e300, [[1]], True])
        fields.pop("seal", None)
        text = manifest_lib.to_json(fields)
        path.write_text(text)


def _written(path: pathlib.Path, data: bytes, rng: random.Random) -> None:
    _removed(path, rng)
    path.write_bytes(data)


DAMAGE = {
    made.__name__.strip("_"): made
    for made in (_nothing, _removed, _folder, _pipe, _dangling, _empty, _noise, _deep, _numbers,
                 _flipped, _forged)
}  # fmt: skip
NEWEST, OLDER = "checkpoints/step-0000000040", "checkpoints/step-0000000020"
VICTIMS = (
    "config.json", "metrics.jsonl", "summary.json", "examples-0.jsonl", "checkpoints", "tensorboard",
    "timeline-worker-0.jsonl", "report.json", "report.html",
    "tensorboard/metrics", ".lock", NEWEST, f"{NEWEST}/manifest.json", f"{NEWEST}/arrays.npz",
    f"{OLDER}/manifest.json", f"{OLDER}/arrays.npz",
)  # fmt: skip


def _draw(rng: random.Random) -> Case:
    """Only some of the surroundings are unusual at a time, or every case would end at its first."""
    odd = rng.choice(("streams", "limits", "damage", "damage", "all"))
    streams = tuple(rng.choice(STREAMS) for _ in range(3)) if odd in ("streams", "all") else ()
    return Case(
        rng.choice(VERBS),
        streams or ("as they are",) * 3,
        rng.choice(ENCODINGS) if odd in ("streams", "all") else "",
        rng.choice(LIMITS) if odd in ("limits", "all") else {},
        (
            rng.choice(sorted(DAMAGE)) if odd in ("damage", "all") else "nothing",
            rng.choice(VICTIMS),
        ),
    )


@pytest.fixture(autouse=True)
def warm(monkeypatch):
    monkeypatch.setattr(cluster, "_starter", warm_starts.starter)


@pytest.fixture
def finished(tmp_path):
    """A finished run, and its weights."""
    run = cluster.finished(cluster.training(tmp_path / "whole", *FLAGS), tmp_path / "whole")
    return run.workdir, run.summary["weights_sha256"]


def _args(verb: str, workdir: pathlib.Path) -> list[str]:
    return [verb, f"--workdir={workdir}", *([] if verb == "evaluate" else FLAGS)]


def _run(case: Case, verb: str, workdir: pathlib.Path) -> tuple[int, str]:
    """The exit code, and what could be read of its output."""
    wanted = {"streams": case.streams, "encoding": case.encoding, "limits": case.limits}
    args = [json.dumps(wanted), *_args(verb, workdir)]
    with cluster.Process(["-m", surroundings.__name__, *args]) as process:
        return process.wait(DEADLINE_S), process.said


def _contents(workdir: pathlib.Path) -> dict[str, str]:
    """What is in a run's folder, by path: a hash of each file, and the sort of everything else."""
    found = {}
    for path in sorted(workdir.rglob("*")):
        is_file = path.is_file() and not path.is_symlink()
        what = hashlib.sha256(path.read_bytes()).hexdigest() if is_file else str(path.is_dir())
        if path.name != ".lock" and "tensorboard/" not in str(path):
            found[str(path.relative_to(workdir))] = what
    return found


def _saved(contents: dict[str, str]) -> dict[str, str]:
    return {path: what for path, what in contents.items() if path.startswith("checkpoints/")}


def _assert_ends_well(case: Case, workdir: pathlib.Path, weights: str) -> int:
    before = _contents(workdir)
    is_plain = "as they are" == case.streams[1] == case.streams[2]
    said_wrong = case.verb == "train" and not case.limits and _run(case, "check", workdir)[0] == 2
    code, said = _run(case, case.verb, workdir)
    assert code in (0, 2, 75), said
    assert "Traceback" not in said and said.count("muster: error: ") <= 1, said
    assert code == 0 or not is_plain or "muster: error: " in said or "WRONG" in said, said
    if case.verb == "train" and code == 0:
        assert not (is_plain and said_wrong), said
        summary = json.loads((workdir / "summary.json").read_text())
        assert summary["weights_sha256"] == weights
    elif case.verb == "train" and not case.limits:
        assert _saved(_contents(workdir)) == _saved(before)
    elif case.verb != "train":
        assert _contents(workdir) == before
    return code


def test_no_surroundings_end_in_a_traceback_a_hang_or_a_loss(request, rng, tmp_path, finished):
    whole, weights = finished
    codes = []
    for number in range(LONG if conftest.is_long(request.config) else SHORT):
        case = _draw(rng)
        workdir = tmp_path / "é" / f"{number}"
        shutil.copytree(whole, workdir)
        damage, victim = case.damage
        if (workdir / victim).parent.is_dir():
            DAMAGE[damage](workdir / victim, rng)
        try:
            codes.append(_assert_ends_well(case, workdir, weights))
        except AssertionError as error:
            raise AssertionError(f"case {number}: {case}\n{error}") from None
        shutil.rmtree(workdir)
    assert codes.count(0) > len(codes) / 10 < codes.count(2)
