"""Does `evaluate` print the right metrics of a checkpoint, the same on any number of devices?"""

import json
import os
import subprocess
import sys

import keras
import numpy as np
import pytest

from tests.paths import ROOT
from trainer.config import load as config_load
from trainer.data import registry
from trainer.model import build as models
from trainer.storage.workdir import Workdir
from trainer.training import assemble, programs

_UNIT = 2.0**-24  # The largest relative error of one float32 operation.


def _trainer(*argv):
    environ = {name: value for name, value in os.environ.items() if name != "TF_CONFIG"}
    done = subprocess.run(
        [sys.executable, "-m", "trainer", *argv], check=False, cwd=ROOT, capture_output=True, text=True,
        env=environ | {"CUDA_VISIBLE_DEVICES": "-1"}, timeout=200,
    )  # fmt: skip
    return done.returncode, done.stdout, done.stderr


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A workdir after two epochs of the digits, with a checkpoint of each."""
    path = tmp_path_factory.mktemp("run")
    exit_code, _, errors = _trainer(f"--workdir={path}", "--config.train.epochs=2")
    assert exit_code == 0, errors
    return Workdir(path)


@pytest.fixture(scope="module")
def evaluated(run):
    """{number of devices: what `evaluate` prints on them}"""
    printed = {}
    for devices in (1, 2, 4):
        code, out, errors = _trainer("evaluate", f"--workdir={run.path}", f"--devices={devices}")
        assert code == 0, errors
        (printed[devices],) = out.splitlines()
    return printed


@pytest.mark.parametrize("devices", [2, 4])
def test_more_devices_give_the_metrics_of_one_to_the_last_bit(evaluated, devices):
    # 300 test examples are two blocks, so two of four devices have only padding. JSON's text of a
    # float is exact, so equal text means equal bits.
    assert evaluated[devices] == evaluated[1]


def test_evaluate_prints_the_test_metrics_of_the_end_of_training(run, evaluated):
    summary = json.loads(run.summary.read_text())
    assert json.loads(evaluated[1]) == {
        "step": 48, "loss": summary["test_loss"], "accuracy": summary["test_accuracy"]
    }  # fmt: skip


def test_the_metrics_are_those_of_keras_on_the_same_weights(run, evaluated):
    config = run.read_config()
    dataset = registry.load(config.data)
    program = programs.training_program(config, dataset)
    store = assemble.checkpoint_store(config, program, dataset, run)
    model = models.build(config.model, (28, 28), 10, seed=1)
    model.set_weights(store.read(48).state.weights)
    model.compile(
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["sparse_categorical_accuracy"],
    )
    features = dataset.test.features.astype(np.float32) * np.float32(1 / 255)
    loss, accuracy = model.evaluate(features, dataset.test.targets, batch_size=300, verbose=0)
    found = json.loads(evaluated[1])
    # A logit is a sum of 784 products and then of 128, each wrong by one unit of the largest; a
    # loss is wrong by at most twice that, and the mean of 300 adds 300 units.
    logits = np.abs(model.predict(features, verbose=0)).max()
    assert abs(found["loss"] - loss) <= (2 * (784 + 128) * logits + 300 * loss) * _UNIT
    assert found["accuracy"] == pytest.approx(accuracy, abs=1e-7)
    assert found["accuracy"] * 300 == pytest.approx(round(found["accuracy"] * 300), abs=1e-9)


def test_an_earlier_checkpoint_is_evaluated_by_its_step(run):
    code, out, _ = _trainer("evaluate", f"--workdir={run.path}", "--checkpoint=24")
    assert code == 0
    found = json.loads(out)
    lines = [json.loads(line) for line in run.metrics.read_text().splitlines()]
    (then,) = (line for line in lines if line["event"] == "eval" and line["step"] == 24)
    assert found == {"step": 24, "loss": then["loss"], "accuracy": then["accuracy"]}


def test_a_step_without_a_checkpoint_is_one_line_and_exit_code_2(run):
    code, out, errors = _trainer("evaluate", f"--workdir={run.path}", "--checkpoint=7")
    folder = str(run.checkpoints / "step-0000000007")
    assert (code, out) == (2, "")
    assert errors == (
        f"muster: error: the checkpoint {folder!r} cannot be used: No such file or directory.\n"
    )


def test_a_run_without_checkpoints_is_one_line_and_exit_code_2(tmp_path):
    Workdir(tmp_path).initialize(config_load.resolve("digits_dense", {}))
    code, out, errors = _trainer("evaluate", f"--workdir={tmp_path}")
    assert (code, out) == (2, "")
    assert errors == (
        f"muster: error: `--workdir` holds no checkpoint. Received: {str(tmp_path)!r}; train there "
        "first.\n"
    )
