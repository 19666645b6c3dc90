"""Does the script for GPUs say where there is none, and does it find weights that differ?"""

import time

import pytest

from benchmarks import gpu
from strategies.devices import gpus


@pytest.mark.skipif(bool(gpus.visible({})), reason="this machine has a GPU")
def test_without_a_gpu_it_says_so_in_one_line_and_measures_nothing(capsys):
    assert gpu.main(["--minutes=0.1"]) == 2
    built, reason = capsys.readouterr().out.splitlines()
    assert built.startswith("TensorFlow 2.") and reason.startswith("no GPU: ")
    assert "Nothing was measured" in reason


@pytest.fixture
def rehearsed(monkeypatch):
    """No rehearsal here depends on how fast the machine is, or changes the environment of other tests."""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "-1")
    monkeypatch.setattr(gpu, "_RUN_S", 600.0)
    monkeypatch.setattr(gpu, "_PEER_S", 600.0)


@pytest.mark.long
@pytest.mark.timeout(1800)  # Several runs, one after the other.
def test_parity_is_rehearsed_on_the_cpu_and_its_lines_say_so(capsys, rehearsed):
    assert gpu.main(["--rehearse", "--steps=build,parity", "--minutes=60"]) == 0
    shown = capsys.readouterr().out
    assert "REHEARSAL on the CPU" in shown
    for other in ("a run that was resumed", "2 devices"):
        assert f"{other} has the same bits as one replica of the CPU, NOT A GPU after 40" in shown
    assert "the loss of the CPU is 0 from" in shown


@pytest.mark.long
@pytest.mark.timeout(1800)  # Several runs, one after the other.
def test_the_tables_are_rehearsed_on_the_cpu(capsys, rehearsed):
    assert gpu.main(["--rehearse", "--steps=devices", "--minutes=60"]) == 0
    shown = capsys.readouterr().out
    assert "NOT A GPU" in shown and "Muster, 2 " in shown and "not measured" in shown


def test_weights_that_differ_end_the_script_with_an_error(monkeypatch, capsys, rehearsed):
    made = iter(range(100))
    monkeypatch.setattr(
        gpu, "_trained", lambda *args, **more: {"weights_sha256": next(made), "final_loss": 0.0}
    )
    assert gpu.main(["--rehearse", "--steps=parity"]) == 1
    assert "a run that was resumed has OTHER WEIGHTS" in capsys.readouterr().out


def test_what_no_time_is_left_for_is_listed(tmp_path):
    session = gpu.Session(tmp_path, 1, rehearses=True, deadline=time.monotonic() + 1)
    with pytest.raises(gpu.Failed, match="no time is left"):
        session.seconds(60)


def test_an_unknown_step_is_refused(capsys):
    with pytest.raises(SystemExit) as ended:
        gpu.main(["--steps=parity,speed"])
    assert ended.value.code == 2 and "no such step: speed" in capsys.readouterr().err
