"""Does TensorBoard's own reader find every trial exactly once, with its values and its objective?"""

import dataclasses
import math
import subprocess
import sys
from types import SimpleNamespace

import pytest
from tensorboard.backend.event_processing.data_provider import MultiplexerDataProvider
from tensorboard.backend.event_processing.plugin_event_multiplexer import EventMultiplexer
from tensorboard.context import RequestContext
from tensorboard.plugins.hparams import api_pb2, get_experiment, list_session_groups
from tensorboard.plugins.hparams.backend_context import Context

from trainer.tune.results.tensorboard import write_events
from trainer.tune.search.record import COMPLETED, FAILED, RUNNING, STOPPED, Objective, TrialRecord
from trainer.tune.space.dimension import between, choice

ACCURACY = Objective.named("test_accuracy")
SPACE = {
    "optimizer.learning_rate": between(1e-5, 0.1, log=True),
    "model.hidden_units": choice((), (128, 64)),
    "data.global_batch_size": choice(64, 32),
    "model.bias": choice(True, False),
    "--workers": choice(1, "all", None),
}
DIMENSIONS = [dataclasses.replace(one, name=name) for name, one in SPACE.items()]
VALUES = {
    "optimizer.learning_rate": 0.01,
    "model.hidden_units": "128,64",
    "data.global_batch_size": 32,
    "model.bias": "false",  # In a search booleans and tuples are texts.
    "--workers": None,
}
RECORDS = [
    TrialRecord(
        "0000", VALUES, COMPLETED, 0.9, {"test_loss": 0.25, "steps": 7}, seconds=2.0, step=7
    ),
    TrialRecord("0001", VALUES, STOPPED, 0.5),  # The same values again, as in Hyperband.
    TrialRecord("0002", {"optimizer.learning_rate": 0.1}, FAILED, error="loss is nan"),
    TrialRecord("0003", VALUES, RUNNING, 0.1),
]


def _read(folder):
    """The experiment and the session groups by name, as TensorBoard's page gets them."""
    multiplexer = EventMultiplexer()
    multiplexer.AddRunsFromDirectory(str(folder))
    multiplexer.Reload()
    context = Context(
        SimpleNamespace(data_provider=MultiplexerDataProvider(multiplexer, str(folder)))
    )
    wanted = api_pb2.ListSessionGroupsRequest(
        allowed_statuses=api_pb2.Status.values(), start_index=0, slice_size=100
    )
    handler = list_session_groups.Handler(RequestContext(), context, "", wanted)
    experiment = get_experiment.Handler(
        RequestContext(), context, "", api_pb2.GetExperimentRequest()
    ).run()
    groups = handler.run().session_groups
    assert all(len(group.sessions) == 1 for group in groups)
    return experiment, {group.name: group for group in groups}


def _plain(value):
    return getattr(value, value.WhichOneof("kind"))


def _metrics(group):
    return {one.name.tag: one.value for one in group.sessions[0].metric_values}


def test_every_ended_trial_has_its_values_and_metrics(tmp_path):
    write_events(tmp_path, ACCURACY, RECORDS, DIMENSIONS)
    _, groups = _read(tmp_path)
    assert list(groups) == ["0000", "0001", "0002"]
    assert {name: _plain(value) for name, value in groups["0000"].hparams.items()} == {
        "optimizer.learning_rate": 0.01,
        "model.hidden_units": "128,64",
        "data.global_batch_size": 32.0,
        "model.bias": False,
        "--workers": "none",
    }
    metrics = {"test_accuracy": 0.9, "test_loss": 0.25, "seconds": 2.0}
    assert _metrics(groups["0000"]) == pytest.approx(metrics, rel=1e-6)  # Scalars are float32.
    assert _metrics(groups["0001"])["test_accuracy"] == 0.5
    assert list(groups["0002"].hparams) == ["optimizer.learning_rate"]
    assert "test_accuracy" not in _metrics(groups["0002"])


def test_a_session_has_the_status_and_the_duration_of_its_trial(tmp_path):
    write_events(tmp_path, ACCURACY, RECORDS, DIMENSIONS)
    sessions = [group.sessions[0] for group in _read(tmp_path)[1].values()]
    statuses = [api_pb2.Status.Name(session.status) for session in sessions]
    assert statuses == ["STATUS_SUCCESS", "STATUS_SUCCESS", "STATUS_FAILURE"]
    assert sessions[0].end_time_secs - sessions[0].start_time_secs == pytest.approx(2.0)


def test_the_experiment_has_all_domains_and_the_objective_as_first_metric(tmp_path):
    write_events(tmp_path, ACCURACY, RECORDS, DIMENSIONS)
    experiment, _ = _read(tmp_path)
    infos = {info.name: info for info in experiment.hparam_infos}
    assert len(infos) == 5
    rate = infos["optimizer.learning_rate"]
    assert (rate.domain_interval.min_value, rate.domain_interval.max_value) == (1e-5, 0.1)
    assert rate.display_name == "learning_rate" and rate.type == api_pb2.DATA_TYPE_FLOAT64
    assert list(infos["data.global_batch_size"].domain_discrete) == [32.0, 64.0]
    assert infos["model.bias"].type == api_pb2.DATA_TYPE_BOOL
    assert list(infos["model.hidden_units"].domain_discrete) == ["()", "128,64"]
    assert list(infos["--workers"].domain_discrete) == ["1", "all", "none"]
    tags = [info.name.tag for info in experiment.metric_infos]
    assert tags == ["test_accuracy", "seconds", "test_loss"]


def _files(folder):
    return {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()}


def test_a_resumed_sweep_writes_only_what_is_new(tmp_path):
    write_events(tmp_path, ACCURACY, RECORDS, DIMENSIONS)
    before = _files(tmp_path)
    write_events(tmp_path, ACCURACY, RECORDS, DIMENSIONS)
    assert _files(tmp_path) == before
    done = dataclasses.replace(RECORDS[3], status=COMPLETED, objective=0.75)
    write_events(tmp_path, ACCURACY, [*RECORDS[:3], done], DIMENSIONS)
    after = _files(tmp_path)
    assert before.items() <= after.items() and len(after) == len(before) + 1
    assert _metrics(_read(tmp_path)[1]["0003"])["test_accuracy"] == 0.75


def test_a_changed_trial_appears_once_with_its_newest_values(tmp_path):
    write_events(tmp_path, ACCURACY, RECORDS, DIMENSIONS)
    (tmp_path / "0000" / ".events.out.tfevents.cut").write_bytes(b"killed while wri")
    again = dataclasses.replace(RECORDS[0], objective=0.95)
    write_events(tmp_path, ACCURACY, [again], DIMENSIONS)
    assert len(list((tmp_path / "0000").iterdir())) == 1
    _, groups = _read(tmp_path)
    assert _metrics(groups["0000"])["test_accuracy"] == pytest.approx(0.95, rel=1e-6)


@pytest.mark.parametrize("value, scalar", [(math.nan, None), (math.inf, None), (1e300, 3.4e38)])
def test_a_metric_beyond_float32_is_omitted_or_clipped(value, scalar, tmp_path):
    record = TrialRecord("0000", {}, COMPLETED, value)
    write_events(tmp_path, ACCURACY, [record], [])
    found = _metrics(_read(tmp_path)[1]["0000"]).get("test_accuracy")
    assert found == (scalar and pytest.approx(scalar, rel=1e-6))


def test_writing_does_not_import_tensorflow(tmp_path):
    code = (
        "import pathlib, sys\n"
        "from trainer.tune.results.tensorboard import write_events\n"
        "from trainer.tune.search import record\n"
        "objective = record.Objective.named('test_loss')\n"
        "done = record.TrialRecord('0000', {}, record.COMPLETED, 0.5)\n"
        f"write_events(pathlib.Path({str(tmp_path)!r}), objective, [done], [])\n"
        "print('tensorflow' in sys.modules)\n"
    )
    command = [sys.executable, "-c", code]
    run = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    assert run.stdout == "False\n"
    assert list(_read(tmp_path)[1]) == ["0000"]
