"""Does each part of the growth benchmark measure a small size, and say what it cannot measure?"""

import pytest

from benchmarks.growth import __main__ as growth
from benchmarks.growth import data, models, trained
from benchmarks.growth.part import Part


def _table(capsys, *argv: str) -> list[list[str]]:
    growth.main(argv)
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]


@pytest.mark.parametrize(
    "part, size, rows",
    [
        pytest.param("sweeps", 5, 4, id="sweeps"),
        pytest.param("ledger", 20, 2, id="ledger"),
        pytest.param("checkpoints", 0.001, 1, id="checkpoints"),
        pytest.param("models", 0.01, 1, id="models", marks=pytest.mark.long),
        pytest.param("mesh", 8, 1, id="mesh", marks=pytest.mark.long),
        pytest.param("workers", 2, 2, id="workers", marks=pytest.mark.long),
    ],
)
def test_a_part_has_a_row_of_figures_for_a_small_size(capsys, part, size, rows):
    found = _table(capsys, part, f"--sizes={size}")
    assert len(found) == rows
    for row in found:
        if row[0] != "on disk":
            assert len(row) == len(growth.PARTS[part].columns) and all(row), row
            assert float(row[-1].replace(",", "")) >= 0


@pytest.mark.long
def test_a_run_on_a_sparse_source_is_measured(capsys, monkeypatch):
    monkeypatch.setattr(data, "_STEPS", 50)
    ((size, rows, *figures),) = _table(capsys, "data", "--sizes=0.1")
    assert size == "0.1" and rows == "127,551"
    assert all(float(figure.replace(",", "")) > 0 for figure in figures)


def test_a_sparse_source_takes_no_disk_for_its_zeros(tmp_path):
    assert data.write(tmp_path, 1) == 1_275_510
    images = (tmp_path / "x_train.npy").stat()
    assert images.st_size > 0.99e9 and images.st_blocks * 512 < 1e6


def test_a_source_that_does_not_fit_on_the_disk_is_not_measured(capsys):
    ((size, reason, *rest),) = _table(capsys, "data", "--sizes=1e6")
    assert size == "1e+06" and "GB of disk are free" in reason and not any(rest)


@pytest.mark.parametrize("weights", [1e5, 1e6, 1e7, 1e8])
def test_a_net_has_about_the_weights_that_were_asked_for(weights):
    assert models.num_weights(models.width(weights)) == pytest.approx(weights, rel=0.01)


def test_a_command_that_fails_or_is_not_done_in_time_is_named_in_one_line():
    with pytest.raises(trained.RunFailed, match=r"^exit code 2: .*--no_such_flag[^\n]*$"):
        trained.run(["train", "--no_such_flag=1"], 60)
    with pytest.raises(trained.RunFailed, match=r"^not done within 0\.1 s$"):
        trained.run(["train", "--help"], 0.1)


@pytest.mark.parametrize(
    "argv, reason",
    [
        (["weather"], "no such part: weather; there are workers, "),
        (["ledger", "--sizes=x"], "numbers, such as 2,4. Received: x"),
        (["ledger", "--sizes=0,2"], "numbers above 0. Received: 0,2"),
        (["--sizes=2"], "--sizes needs the parts that it is for"),
    ],
)
def test_what_cannot_be_measured_is_refused(argv, reason, capsys):
    with pytest.raises(SystemExit) as ended:
        growth.main(argv)
    assert ended.value.code == 2 and reason in capsys.readouterr().err


def test_a_size_without_figures_has_a_row_of_the_same_length():
    part = Part("", ("a", "b", "c"), (1,), lambda sizes: iter([]))
    assert part.failed("1", "no") == ["1", "no", ""]
