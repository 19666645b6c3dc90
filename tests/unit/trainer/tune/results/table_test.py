"""Do people and programs find the results of the sweep?"""

import json
import math
import time

import pytest

from trainer.reporting.format import format_duration, format_metric, format_value, short_names
from trainer.storage.atomic_files import WorkdirError
from trainer.tune.results import table
from trainer.tune.results.table import format_table, write_results
from trainer.tune.search.record import COMPLETED, FAILED, STOPPED, Objective, TrialRecord

ACCURACY, LOSS = Objective.named("test_accuracy"), Objective.named("test_loss")
NAMES = ("optimizer.learning_rate", "model.hidden_units")


def _done(number, objective, status=COMPLETED, **known):
    values = {"optimizer.learning_rate": 10.0**-number, "model.hidden_units": (128, 64)}
    return TrialRecord(f"{number:04}", values, status, objective, **known)


def test_the_json_has_every_trial_ordered_by_id(tmp_path):
    failed = TrialRecord("0001", {"--workers": 2}, FAILED, error="out of memory", continues="0000")
    best = _done(0, 0.9, metrics={"loss": math.nan}, seconds=2.5, epochs=3.0, workdir="trials/0")
    write_results(tmp_path, ACCURACY, [failed, best, _done(2, math.nan)], None)
    found = json.loads((tmp_path / "trials.json").read_text())
    assert found[0] == {
        "id": "0000",
        "values": {"optimizer.learning_rate": 1.0, "model.hidden_units": [128, 64]},
        "objective": 0.9,
        "status": "completed",
        "error": "",
        "seconds": 2.5,
        "epoch": 0.0,
        "epochs": 3.0,
        "continues": "",
        "metrics": {"loss": None},
        "workdir": "trials/0",
        "best": True,
    }
    assert [one["id"] for one in found] == ["0000", "0001", "0002"]
    assert found[1]["error"] == "out of memory" and found[1]["continues"] == "0000"
    assert found[2]["objective"] is None and not found[2]["best"]


def test_nan_is_not_the_best_even_if_it_is_first(tmp_path):
    records = [_done(0, math.nan), _done(1, 0.5), _done(2, None)]
    write_results(tmp_path, ACCURACY, records, None)
    found = json.loads((tmp_path / "trials.json").read_text())
    assert [one["best"] for one in found] == [False, True, False]
    assert "*   0001" in format_table(ACCURACY, records, NAMES)


def test_the_best_config_is_written_unchanged_if_there_is_one(tmp_path):
    write_results(tmp_path, ACCURACY, [], None)
    assert [path.name for path in tmp_path.iterdir()] == ["trials.json"]
    assert json.loads((tmp_path / "trials.json").read_text()) == []
    write_results(tmp_path, ACCURACY, [_done(0, 0.9)], '{"name": "digits_dense"}\n')
    assert (tmp_path / "best_config.json").read_text() == '{"name": "digits_dense"}\n'


def test_a_missing_folder_is_reported(tmp_path):
    with pytest.raises(WorkdirError, match="cannot be written"):
        write_results(tmp_path / "none", ACCURACY, [], None)


def test_a_thousand_trials_are_written_in_half_a_second(tmp_path):
    metrics = {f"metric_{number}": number / 7 for number in range(15)}
    records = [_done(number % 300, 0.5, metrics=metrics) for number in range(1000)]
    began = time.process_time()
    write_results(tmp_path, ACCURACY, records, None)
    assert time.process_time() - began < 0.5  # 0.02 s on an idle core.


def test_a_trials_line_is_made_once_however_often_the_results_are_written(tmp_path, monkeypatch):
    made = []
    as_json = table._as_json
    monkeypatch.setattr(table, "_as_json", lambda one: made.append(one.id) or as_json(one))
    lines, records = {}, []
    for number in range(50):
        records.append(_done(number, number / 50))
        write_results(tmp_path, ACCURACY, records, None, lines)
    assert len(made) == 50
    records[7] = _done(7, 0.999)
    write_results(tmp_path, ACCURACY, records, None, lines)
    assert made[50:] == ["0007"]
    text = (tmp_path / "trials.json").read_text()
    write_results(tmp_path, ACCURACY, records, None)
    assert text == (tmp_path / "trials.json").read_text()
    assert [one["id"] for one in json.loads(text) if one["best"]] == ["0007"]


def test_the_table_has_the_best_first_and_the_failed_last():
    records = [
        _done(0, 0.5),
        TrialRecord(
            "0001", {"optimizer.learning_rate": 9.0}, FAILED, error="loss is nan\nat step 3"
        ),
        _done(2, 0.75, seconds=80, epoch=20.0),
        _done(3, 0.99, STOPPED),
        TrialRecord("0004", {}, COMPLETED, 0.25),
    ]
    assert format_table(ACCURACY, records, NAMES).splitlines() == [
        "   trial  test_accuracy  epochs        time   status  learning_rate  hidden_units",
        "*   0002         0.7500      20  1 min 20 s                    0.01        128,64",
        "    0000         0.5000       0         0 s                       1        128,64",
        "    0004         0.2500       0         0 s",
        "    0003         0.9900       0         0 s  stopped          0.001        128,64",
        "  0001 failed: loss is nan at step 3 learning_rate=9",
    ]


def test_the_smallest_loss_is_first():
    lines = format_table(LOSS, [_done(0, 0.5), _done(1, 0.1), _done(2, math.nan)], ()).splitlines()
    assert [line.split()[:2] for line in lines[1:]] == [
        ["*", "0001"],
        ["0000", "0.5000"],
        ["0002", "nan"],
    ]


def test_the_table_has_at_most_120_columns():
    values = {f"section{number}.some_field": "value " * 9 for number in range(30)}
    records = [TrialRecord(f"{number:04}", values, COMPLETED, 0.5) for number in range(3)]
    records.append(TrialRecord("0003", values, FAILED, error="x" * 500))
    lines = format_table(ACCURACY, records, tuple(values)).splitlines()
    assert len(lines) == 5 and max(map(len, lines)) <= 120
    assert "section0.some_field=value" in lines[1] and "xxx..." in lines[4]


def test_a_long_table_is_cut_and_counts_the_omitted_trials():
    records = [_done(number, 0.5) for number in range(40)]
    records += [TrialRecord(f"{number:04}", {}, FAILED, error="nan") for number in range(40, 60)]
    lines = format_table(ACCURACY, records, NAMES, limit=8).splitlines()
    assert len(lines) == 1 + 8 + 2 + 1
    assert lines[-1] == "  and 50 more in trials.json"


def test_there_is_a_table_without_trials_and_with_only_failed_ones():
    assert format_table(ACCURACY, [], NAMES) == "  no trials yet"
    failed = TrialRecord("0000", {}, FAILED)
    assert format_table(ACCURACY, [failed], NAMES) == "  0000 failed: no error was reported"


@pytest.mark.parametrize(
    "value, shown",
    [
        (0.00316228, "0.00316"),
        (3.16e-5, "3.16e-5"),
        (1e-4, "0.0001"),
        (0.1, "0.1"),
        (64.0, "64"),
        (1234567.0, "1.23e6"),
        (2e300, "2e300"),
        (60000, "60000"),
        (True, "true"),
        (None, "none"),
        ("adam", "adam"),
        ("a\x1b[1m", "a [1m"),
        ((128, 64), "128,64"),
        ([], "()"),
        ("x" * 50, "x" * 21 + "..."),
    ],
)
def test_a_value_is_formatted_in_a_few_characters(value, shown):
    assert format_value(value) == shown


@pytest.mark.parametrize(
    "value, shown",
    [(0.96333, "0.9633"), (12.345, "12.35"), (148000.4, "148,000"), (1.2345e-5, "1.23e-5")]
    + [(0.0, "0.0000"), (None, "none"), (math.nan, "nan"), (-2.5e12, "-2.5e12")],
)
def test_a_metric_is_formatted_in_a_few_characters(value, shown):
    assert format_metric(value) == shown


@pytest.mark.parametrize(
    "seconds, shown",
    [(0.9, "0 s"), (59.9, "59 s"), (80, "1 min 20 s"), (3599, "59 min 59 s"), (7500, "2 h 05 min")],
)
def test_a_duration_is_formatted_in_a_few_characters(seconds, shown):
    assert format_duration(seconds) == shown


def test_a_short_name_is_the_last_part_if_that_is_unique():
    names = ("data.name", "model.name", "optimizer.learning_rate", "--workers")
    assert list(short_names(names).values()) == [
        "data.name",
        "model.name",
        "learning_rate",
        "workers",
    ]
