"""Is a batch that makes a loss or the state non-finite found, named and, if asked, skipped?"""

import dataclasses
import json

import numpy as np
import pytest

from strategies.errors import InputError
from strategies.state import State
from tests.unit.trainer.training import in_process
from trainer.config import load as config_load
from trainer.data import registry
from trainer.order.sample_order import SampleOrder
from trainer.training import nonfinite, resume
from trainer.training.nonfinite import NonFiniteError

BATCH, EXAMPLES, STEPS, POISONED = 32, 320, 30, 123  # 10 steps an epoch.
FLAGS = {
    "data.global_batch_size": str(BATCH),
    "data.train_examples": str(EXAMPLES),
    "train.steps": str(STEPS),
    "train.steps_per_loop": "4",
    "train.checkpoint_every_steps": "5",
    "train.eval_every_epochs": "0",
}
ORDER = SampleOrder(EXAMPLES, BATCH, seed=0)


def _dataset(config, value, example):
    dataset = registry.load(config.data)
    features = dataset.train.features.copy()
    features[example] = value
    return dataclasses.replace(dataset, train=dataclasses.replace(dataset.train, features=features))


def _train(folder, value=np.nan, example=POISONED, **overrides):
    flags = FLAGS | {name.replace("__", "."): str(text) for name, text in overrides.items()}
    config = config_load.resolve("relu_regression", flags)
    return in_process.train(config, _dataset(config, value, example), folder)[1]


def _step_of(example, epoch):
    """The step of an epoch whose batch holds the example."""
    first = epoch * ORDER.steps_per_epoch
    steps = range(first, first + ORDER.steps_per_epoch)
    (step,) = (step for step in steps if example in ORDER.step_batch(step))
    return step


@pytest.mark.parametrize("value", [np.nan, np.inf, 1e30])
def test_the_step_the_examples_and_the_last_good_checkpoint_are_named(value, tmp_path):
    step = _step_of(POISONED, epoch=0)
    with pytest.raises(NonFiniteError) as caught:
        _train(tmp_path, value)
    message, last_good = str(caught.value), step // 5 * 5
    assert f"at step {step}, on the batch of examples {ORDER.step_batch(step)[0]}, " in message
    assert f"; the last good checkpoint is of step {last_good}. " in message
    found = json.loads((tmp_path / f"bad_batch-{step}.json").read_text())
    assert found["examples"] == ORDER.step_batch(step).tolist()
    assert (found["step"], found["checkpoint"]) == (step, last_good)
    kept = [path.name for path in sorted(tmp_path.glob("checkpoints/step-*"))]
    assert kept[-1] == f"step-{last_good:010d}"


def test_a_bad_batch_is_skipped_and_no_other(tmp_path, monkeypatch):
    result = _train(tmp_path, train__skip_bad_batches=3)
    skipped = [_step_of(POISONED, epoch) for epoch in range(3)]
    newest = json.loads(max(tmp_path.glob("checkpoints/*/manifest.json")).read_text())
    assert (result.finished, result.step, newest["skipped"]) == (True, STEPS, skipped)
    assert all(np.isfinite(weight).all() for weight in result.state.weights)

    # The same run, with these steps skipped from its start; any other use of the NaN would show.
    original = resume.resume

    def resume_with_skipped(*args):
        return dataclasses.replace(original(*args), skipped=tuple(skipped))

    monkeypatch.setattr(resume, "resume", resume_with_skipped)
    other = _train(tmp_path / "skipped_from_the_start", train__skip_bad_batches=3)
    for mine, theirs in zip(result.state.weights, other.state.weights, strict=True):
        assert mine.tobytes() == theirs.tobytes()


def test_a_run_that_skipped_batches_resumes_to_the_same_weights(tmp_path):
    whole = _train(tmp_path / "whole", train__skip_bad_batches=3)
    _train(tmp_path / "parts", train__skip_bad_batches=3, train__steps=_step_of(POISONED, 1) + 1)
    parts = _train(tmp_path / "parts", train__skip_bad_batches=3)
    for mine, theirs in zip(whole.state.weights, parts.state.weights, strict=True):
        assert mine.tobytes() == theirs.tobytes()
    with pytest.raises(InputError, match="must be at least 3"):
        _train(tmp_path / "parts", train__skip_bad_batches=2)


def test_no_more_batches_are_skipped_than_the_config_allows(tmp_path):
    with pytest.raises(NonFiniteError, match=f"at step {_step_of(POISONED, 2)},"):
        _train(tmp_path, train__skip_bad_batches=2)


def test_a_state_that_the_last_update_made_infinite_is_not_saved(tmp_path):
    # A loss of 1e36 and its gradient are finite; the gradient times the learning rate is not.
    first = int(ORDER.step_batch(0)[0])
    with pytest.raises(NonFiniteError, match="weights or the optimizer's state became"):
        _train(tmp_path, 1e18, first, train__steps=1, optimizer__learning_rate=9e5)
    assert not list(tmp_path.glob("checkpoints/step-*"))


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("where", ["weight", "slot"])
def test_a_state_with_one_non_finite_number_is_not_finite(bad, where):
    good = [np.ones((2, 3), np.float32), np.array(5, np.int64)]
    assert nonfinite.state_is_finite(State(good, [good, good]))
    broken = [np.array([1, bad], np.float32)]
    weights, slots = (broken, [good]) if where == "weight" else (good, [good, broken])
    assert not nonfinite.state_is_finite(State(weights, slots))
