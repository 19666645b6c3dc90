"""Does the benchmark compare what it says, and only peers that did the same work?"""

import json
import pathlib
import subprocess
import sys
import time
import types

import numpy as np
import pytest

from benchmarks import aims, environments, prepare, processes, report, run, tables
from benchmarks.aims import Aim
from benchmarks.peers import muster
from benchmarks.tables import Column, Peer, Table
from benchmarks.work import Work

NUM_EXAMPLES, BATCH, EPOCHS = 640, 64, 2
TABLE = Table("one", "Title", (Peer("Muster", "a"), Peer("Other", "b")), (Column("c", 64, 2),))


def _cell(*speeds, failure="", loss=0.5):
    rounds = [{"examples_per_s": speed, "loss": loss} for speed in speeds]
    return {"rounds": rounds, "failure": failure}


@pytest.fixture(scope="module")
def work(tmp_path_factory):
    """A work of ten steps an epoch, and its examples where the trainer finds them."""
    folder = tmp_path_factory.mktemp("work")
    dataset = prepare.prototypes()
    prepare.write_work(folder / "work.npz", dataset, NUM_EXAMPLES, EPOCHS)
    prepare.write_source(folder, dataset)
    return Work(str(folder / "work.npz"), BATCH, EPOCHS)


# What is computed of rounds.


def test_a_ratio_is_of_medians_and_not_of_means():
    shown = "\n".join(
        report.lines(TABLE, {"c": {"Muster": _cell(100, 300, 2000), "Other": _cell(100, 100, 700)}})
    )
    assert "3.00 x" in shown
    assert "2,000" in shown and "700" in shown  # The largest of each.


def test_where_less_is_better_the_ratio_is_turned_over():
    table = Table("t", "T", TABLE.peers, TABLE.columns, value="examples_per_s", higher=False)
    shown = list(report.lines(table, {"c": {"Muster": _cell(2), "Other": _cell(5)}}))
    assert "2.50 x" in shown[3]


@pytest.mark.parametrize(
    "bounds, reached",
    [
        ({"at_least": 4.0}, True),
        ({"at_least": 4.1}, False),
        ({"at_most": 4.0}, True),
        ({"at_most": 3.9}, False),
        ({}, None),
    ],
)
def test_an_aim_is_reached_at_its_bound_and_not_beyond_it(monkeypatch, bounds, reached):
    aim = Aim("what", "one", ("c", "Muster"), ("c", "Other"), factor=0.5, **bounds)
    monkeypatch.setattr(report, "AIMS", (aim,))
    cells = {"c": {"Muster": _cell(800), "Other": _cell(100)}}
    (found,) = report.aims({"one": (TABLE, cells)})
    assert found["ratio"] == 4.0 and found["reached"] is reached


@pytest.mark.parametrize(
    "results", [{}, {"one": (TABLE, {"c": {"Muster": _cell(8), "Other": _cell()}})}]
)
def test_an_aim_without_its_numbers_is_not_run(monkeypatch, results):
    aim = Aim("what", "one", ("c", "Muster"), ("c", "Other"), at_least=1)
    monkeypatch.setattr(report, "AIMS", (aim,))
    found = report.aims(results)
    assert found[0]["ratio"] is None and found[0]["reached"] is None
    assert "not run" in "\n".join(report.aim_lines(found))


def test_every_aim_names_peers_and_columns_that_there_are():
    named = {table.name: table for table in tables.TABLES}
    for aim in aims.AIMS:
        for column, peer in (aim.over, aim.under):
            assert column in {one.name for one in named[aim.table].columns}, aim
            assert peer in {one.name for one in named[aim.table].peers}, aim


def test_every_column_has_an_epoch_of_whole_batches_for_every_peer():
    for table in tables.TABLES:
        for column in table.columns:
            assert column.epochs <= tables.MAX_EPOCHS
            for peer in table.peers:
                assert column.num_examples % (column.batch_per_worker * peer.replicas) == 0


def test_every_peer_has_a_module_and_an_environment():
    folder = environments._FOLDER.parent / "benchmarks" / "peers"
    for table in tables.TABLES:
        for peer in table.peers:
            assert (folder / f"{peer.module}.py").exists(), peer
            assert peer.environment in {environments.MUSTER, *environments.PINS}, peer


# What ends a run, and what does not.


def _run(monkeypatch, tmp_path, found, argv=("--rounds=2",)):
    """`benchmarks.run` with peers that find what `found` says by their names."""
    monkeypatch.setattr(run, "_prepare", lambda folder, chosen: {tables.ALL_EXAMPLES: "file"})
    calls = []

    def run_peer(peer, work, deadline_s):
        calls.append(peer.name)
        one = found[peer.name]
        if isinstance(one, Exception):
            raise one
        return one

    monkeypatch.setattr(run, "run_peer", run_peer)
    out = tmp_path / "out.json"
    run.main([*argv, f"--out={out}"], (TABLE,))
    return calls, json.loads(out.read_text())


def test_peers_take_turns_within_a_round_and_every_number_is_saved(monkeypatch, tmp_path, capsys):
    one = {"examples_per_s": 200.0, "loss": 0.5, "first_loss": 0.9}
    calls, saved = _run(monkeypatch, tmp_path, {"Muster": one, "Other": one | {"loss": 0.5001}})
    assert calls == ["Muster", "Other"] * 2
    assert [r["loss"] for r in saved["tables"]["one"]["c"]["Other"]["rounds"]] == [0.5001] * 2
    assert {"date", "machine", "versions", "commit", "is_dirty", "rounds"} < saved.keys()
    assert "1.00 x" in capsys.readouterr().out


@pytest.mark.parametrize("value", ["loss", "first_loss"])
def test_a_peer_with_another_loss_ends_the_run_and_is_named(monkeypatch, tmp_path, value):
    one = {"examples_per_s": 200.0, "loss": 0.5, "first_loss": 0.9}
    with pytest.raises(report.DifferentWork, match=f"`{value}`.* Other 0.49"):
        _run(monkeypatch, tmp_path, {"Muster": one, "Other": one | {value: 0.49}})


def test_a_loss_that_is_not_a_number_ends_the_run(monkeypatch, tmp_path):
    one = {"examples_per_s": 200.0, "loss": 0.5}
    with pytest.raises(report.DifferentWork, match="nan"):
        _run(monkeypatch, tmp_path, {"Muster": one, "Other": one | {"loss": float("nan")}})


@pytest.mark.parametrize(
    "error",
    [processes.PeerFailed("exit code 3: boom"), environments.EnvironmentFailed("no such wheel")],
)
def test_a_peer_that_fails_is_shown_with_its_reason_and_not_run_again(
    monkeypatch, tmp_path, capsys, error
):
    calls, _ = _run(monkeypatch, tmp_path, {"Muster": {"examples_per_s": 2.0}, "Other": error})
    assert f"not run: {error}" in capsys.readouterr().out
    assert calls == ["Muster", "Other", "Muster"]


# Processes.


def _python(code):
    return [sys.executable, "-c", code]


def test_a_hanging_peer_is_stopped_at_its_deadline_with_all_it_started(monkeypatch, tmp_path):
    started = tmp_path / "pid"
    child = f"import os, time; open({str(started)!r}, 'w').write(str(os.getpid())); time.sleep(600)"
    began = time.monotonic()

    def now():
        """No time passes until the child has started, so that no machine is too slow for that."""
        return time.monotonic() if started.exists() and started.read_text() else began

    monkeypatch.setattr(processes, "time", types.SimpleNamespace(monotonic=now, sleep=time.sleep))
    code = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {child!r}])"
    with pytest.raises(processes.PeerFailed, match="not done within 2 s"):
        processes.run(_python(code), deadline_s=2)
    assert time.monotonic() - began < 250
    assert _is_gone(int(started.read_text()))


def _is_gone(pid):
    """True once a process has ended, whether or not anybody has asked how."""
    for _ in range(1200):
        try:
            state = pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        except OSError:
            return True
        if state in "ZX":
            return True
        time.sleep(0.05)
    return False


def test_a_failing_peer_is_told_by_its_last_line():
    with pytest.raises(processes.PeerFailed, match="exit code 1: ValueError: boom"):
        processes.run(_python("raise ValueError('boom')"))


def test_a_cluster_ends_with_its_first_failure_although_the_leader_waits():
    code = (
        "import json, os, time\n"
        "task = json.loads(os.environ['TF_CONFIG'])['task']\n"
        "assert task['type'] == 'chief', 'boom'\n"
        "time.sleep(600)"
    )
    with pytest.raises(processes.PeerFailed, match="task 1 of 2, .*boom"):
        processes.run(_python(code), ("chief", "worker"), deadline_s=250)


def test_each_task_knows_its_place_and_has_its_core_and_the_leader_speaks():
    code = (
        "import json, os\n"
        "cluster = json.loads(os.environ['TF_CONFIG'])\n"
        "cores = len(os.sched_getaffinity(0))\n"
        "print(json.dumps({'cluster': cluster, 'cores': cores, 'rank': os.environ['RANK']}))"
    )
    found = processes.run(_python(code), ("chief", "worker", "worker", "ps"), pinned=True)
    assert found["cluster"]["task"] == {"type": "chief", "index": 0} and found["rank"] == "0"
    assert {job: len(tasks) for job, tasks in found["cluster"]["cluster"].items()} == {
        "chief": 1, "worker": 2, "ps": 1,
    }  # fmt: skip
    assert found["cores"] == 1


def test_servers_that_serve_for_ever_end_with_the_leader(monkeypatch):
    monkeypatch.setattr(processes, "_GRACE_S", 0.5)
    code = (
        "import json, os, time\n"
        "time.sleep(600 * (json.loads(os.environ['TF_CONFIG'])['task']['type'] == 'ps'))\n"
        "print('{}')"
    )
    began = time.monotonic()
    assert processes.run(_python(code), ("chief", "ps"), deadline_s=250) == {}
    assert time.monotonic() - began < 250


def test_an_environment_that_cannot_be_made_says_why(monkeypatch, tmp_path):
    monkeypatch.setattr(environments, "PINS", {"broken": ("./no-such-package",)})
    monkeypatch.setattr(environments, "_make", _without_upgrading_pip)
    with pytest.raises(environments.EnvironmentFailed, match="no-such-package"):
        environments.python("broken", tmp_path)


def _without_upgrading_pip(home, pins):
    environments._do(sys.executable, "-m", "pip", "install", "--quiet", "--no-index", *pins)


# The work itself.


@pytest.mark.timeout(1000)
def test_muster_and_keras_do_the_same_work_which_is_that_of_the_file(work, tmp_path):
    flags = ["--config.train.log_examples=true"]
    workdir = tmp_path / "run"
    trained = subprocess.Popen(
        muster.command(work, str(workdir), flags), stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    keras = processes.run(
        processes.module(sys.executable, "keras_fit", work.to_arg(), "jit_compile=true"),
        deadline_s=400,
    )
    said, _ = trained.communicate(timeout=400)
    assert trained.returncode == 0, said.decode()
    mine = muster.measured(workdir, work)
    assert mine["first_loss"] == pytest.approx(keras["first_loss"], abs=1e-5)
    assert mine["loss"] == pytest.approx(keras["loss"], abs=1e-5)
    log = (workdir / "examples-0.jsonl").read_text().splitlines()
    assert [json.loads(line)["examples"] for line in log] == work.rows.tolist()


@pytest.mark.timeout(1000)  # Each takes half a minute on an idle machine.
@pytest.mark.parametrize("net", ["cnn", pytest.param("gru", marks=pytest.mark.long)])
def test_muster_and_keras_do_the_same_work_on_other_nets(net, work, tmp_path):
    subprocess.run(muster.command(work, str(tmp_path), [f"--net={net}"]), timeout=400, check=True)
    peer = processes.module(sys.executable, "keras_nets", work.to_arg(), net, "graph")
    keras = processes.run(peer, deadline_s=400)
    mine = muster.measured(tmp_path, work)
    # The same weights and batches: only sums in another order differ, by 1e-7 a step at first.
    assert mine["first_loss"] == pytest.approx(keras["first_loss"], abs=1e-5)
    assert mine["loss"] == pytest.approx(keras["loss"], abs=1e-4)


def test_ranks_get_consecutive_slices_of_every_batch(work):
    images, labels = work.in_order()
    halves = [work.in_order(rank, 2) for rank in range(2)]
    joined = [half[0].reshape(work.steps, BATCH // 2, 784) for half in halves]
    np.testing.assert_array_equal(np.concatenate(joined, 1).reshape(-1, 784), images)
    assert images.max() <= 1 and images.dtype == np.float32
    assert labels.shape == (work.steps * BATCH,)
    assert work.steps == 20 and work.warm_up == 10


def test_the_trainer_finds_the_examples_of_the_file(work):
    with np.load(f"{work.file.rpartition('/')[0]}/examples.npz") as arrays:
        trained_on = arrays["x_train"].reshape(-1, 784)[work.rows.ravel()]
        labels = arrays["y_train"][work.rows.ravel()]
    np.testing.assert_array_equal(trained_on, work.pixels()[0])
    np.testing.assert_array_equal(labels, work.pixels()[1])
