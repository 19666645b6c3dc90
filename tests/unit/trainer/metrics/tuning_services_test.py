"""Do Vertex AI and Katib find the metrics where, and in the form in which, they look for them?"""

import json
import re

import pytest

from strategies.errors import InputError
from trainer.metrics.tuning_services import TuningServices

# Of Katib's first release, and so the strictest: no exponents. It reads RFC 3339 before the first space.
KATIBS_FILTER = r"([\w|-]+)\s*=\s*((-?\d+)(\.\d+)?)"
VALUES = {"loss": 1.5e-5, "accuracy": 1.0, "odd": float("nan")}


def test_vertex_finds_each_metric_on_a_line_of_its_file(tmp_path):
    path = tmp_path / "made" / "output.metrics"
    environ = {"CLOUD_ML_TRIAL_ID": "7", "CLOUD_ML_HP_METRIC_FILE": str(path)}
    services = TuningServices(environ)
    for step in range(1, 80):
        services.report("eval", step, VALUES)
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert len(lines) == 100  # The newest.
    assert [line.pop("timestamp") > 0 for line in lines[-2:]] == [True, True]
    common = {"trial": "7", "global_step": "79", "checkpoint_path": ""}
    assert lines[-2:] == [
        common | {"test_loss": "1.5e-05"},
        common | {"test_accuracy": "1.0"},
    ]


def test_katib_finds_each_metric_on_stdout(capsys):
    TuningServices({"KATIB_TRIAL_NAME": "trial"}).report("train", 5, VALUES)
    lines = capsys.readouterr().out.splitlines()
    found = [re.findall(KATIBS_FILTER, line)[-1][:2] for line in lines]
    assert found == [("train_loss", "0.000015"), ("train_accuracy", "1.0")]
    assert all(re.match(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d+\+00:00 ", line) for line in lines)


def test_without_a_service_nothing_is_reported(capsys):
    TuningServices({}).report("eval", 5, VALUES)
    assert capsys.readouterr().out == ""


def test_a_file_that_cannot_be_written_is_an_error_of_one_line(tmp_path):
    environ = {"CLOUD_ML_TRIAL_ID": "7", "CLOUD_ML_HP_METRIC_FILE": str(tmp_path)}
    with pytest.raises(InputError, match="`CLOUD_ML_HP_METRIC_FILE` must name a file") as caught:
        TuningServices(environ).report("eval", 5, VALUES)
    assert "\n" not in str(caught.value)
