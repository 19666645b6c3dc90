"""Are metrics written to the screen, to the file and to TensorBoard?"""

import json
import math
import time

import numpy as np
import pytest
import tensorflow as tf

from trainer.metrics.writers import MetricWriter, line
from trainer.storage.atomic_files import WorkdirError
from trainer.storage.workdir import Workdir


@pytest.fixture
def workdir(tmp_path):
    return Workdir(tmp_path)


def _scalars(folder):
    """{(tag, step): value} of every TensorBoard event below a folder."""
    return {
        (value.tag, event.step): float(tf.make_ndarray(value.tensor))
        for path in sorted(folder.glob("**/*.tfevents.*"))
        for event in tf.compat.v1.train.summary_iterator(str(path))
        for value in event.summary.value
        if value.HasField("tensor")
    }


def test_a_line_is_aligned_from_event_to_event():
    train = {"loss": 0.27311, "accuracy": 0.912, "examples_per_s": 148000.4}
    assert line("train", 938, 1.0, train) == (
        "train      | step     938 | epoch   1.00 | loss 0.2731 | accuracy 0.9120 | "
        "examples per s 148,000"
    )
    assert line("eval", 1234567, 123.456, {"mean_absolute_error": 0.000123456}) == (
        "eval       | step 1,234,567 | epoch 123.46 | mean absolute error 0.0001235"
    )


def test_each_event_is_one_object_on_one_line(workdir):
    before = time.time()
    writer = MetricWriter(workdir)
    writer.write("train", 10, 0.5, {"loss": 0.25})
    writer.write("eval", 20, 1.0, {"loss": 0.125, "accuracy": 1.0})
    records = [json.loads(text) for text in workdir.metrics.read_text().splitlines()]
    times = [record.pop("time") for record in records]
    assert records == [
        {"event": "train", "step": 10, "epoch": 0.5, "loss": 0.25},
        {"event": "eval", "step": 20, "epoch": 1.0, "loss": 0.125, "accuracy": 1.0},
    ]
    assert before <= times[0] <= times[1] <= time.time()
    writer.close()


def test_what_was_written_is_in_the_files_before_the_writer_is_closed(workdir):
    writer = MetricWriter(workdir)
    writer.write("train", 10, 0.5, {"loss": 0.25})
    assert len(workdir.metrics.read_text().splitlines()) == 1
    assert _scalars(workdir.tensorboard) == {("train/loss", 10): 0.25}
    writer.close()


def test_this_process_writes_even_if_the_default_device_is_of_another(workdir):
    with tf.device("/job:worker/replica:0/task:0"):  # It does not exist.
        writer = MetricWriter(workdir)
        writer.write("train", 10, 0.5, {"loss": 0.25})
        writer.close()
    assert _scalars(workdir.tensorboard) == {("train/loss", 10): 0.25}


def test_histograms_and_the_graph_are_written_where_tensorboard_finds_them(workdir):
    writer = MetricWriter(workdir)
    traced = tf.function(lambda x: x + 1).get_concrete_function(tf.TensorSpec([2]))
    writer.graph(lambda: traced.graph)
    writer.histograms(7, ["dense/kernel"], [np.arange(10, dtype=np.float32)])
    writer.close()
    (path,) = workdir.tensorboard.glob("metrics/*.tfevents.*")
    events = [*tf.compat.v1.train.summary_iterator(str(path))]
    (found,) = [(value.tag, event.step) for event in events for value in event.summary.value]
    assert found == ("weights/dense/kernel", 7)
    assert any(event.HasField("graph_def") for event in events)


def test_a_resumed_run_appends_to_what_was_written(workdir):
    for step in (10, 20):
        writer = MetricWriter(workdir)
        writer.write("train", step, 1.0, {"loss": 1 / step})
        writer.close()
    steps = [json.loads(text)["step"] for text in workdir.metrics.read_text().splitlines()]
    assert steps == [10, 20]
    assert set(_scalars(workdir.tensorboard)) == {("train/loss", 10), ("train/loss", 20)}


def test_an_evaluator_writes_to_its_own_file_and_not_to_the_trainers(workdir):
    writer = MetricWriter(workdir, "evaluator")
    writer.write("eval", 5, 1.0, {"loss": 0.5})
    writer.close()
    assert not workdir.metrics.exists()
    assert (workdir.path / "evaluator.jsonl").exists()
    assert _scalars(workdir.tensorboard / "evaluator") == {("eval/loss", 5): 0.5}


def test_a_task_without_a_workdir_writes_no_file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    writer = MetricWriter(None)
    writer.write("train", 1, 1.0, {"loss": 0.5})
    writer.close()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_non_finite_loss_is_null_which_every_json_parser_accepts(workdir, value):
    writer = MetricWriter(workdir)
    writer.write("train", 1, 1.0, {"loss": value})
    writer.close()
    assert '"loss": null' in workdir.metrics.read_text()


def test_a_full_disk_is_reported_in_one_line(workdir):
    workdir.metrics.symlink_to("/dev/full")
    writer = MetricWriter(workdir)
    with pytest.raises(WorkdirError, match="cannot store metrics .No space left on device."):
        writer.write("train", 1, 1.0, {"loss": 0.5})
    writer.close()
