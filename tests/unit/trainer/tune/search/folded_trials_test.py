"""Does a trial of several folds end with their mean, in any order of their runs?"""

import statistics

import pytest

from trainer.tune.search.folded_trials import FoldedTrials
from trainer.tune.search.record import COMPLETED, FAILED
from trainer.tune.search.trial_source import Outcome, Progress, TrialSpec


class _Source:
    """Two trials, and what was reported of them."""

    def __init__(self):
        self.left = [TrialSpec("0000", {"data": {"name": "x"}}, ("--ps=0",), "")]
        self.left += [TrialSpec("0001", {"data": {"name": "y"}}, (), "0000")]
        self.told, self.reported = {}, []

    @property
    def is_finished(self):
        return len(self.told) == 2

    def ask(self, runner):
        return self.left.pop(0) if self.left else None

    def report(self, trial_id, progress):
        self.reported.append((trial_id, progress))
        return False

    def tell(self, trial_id, outcome):
        self.told[trial_id] = outcome

    def requeue(self, trial_id, seconds):
        raise AssertionError("a trial stays with this process")


def _done(accuracy, **more):
    return Outcome(
        COMPLETED, {"test_accuracy": accuracy, "final_loss": 1.0, **more}, 24, 2.0, "", 3.0
    )


def test_each_trial_is_a_run_for_each_fold_and_ends_with_their_means():
    folded = FoldedTrials(source := _Source(), 3, True)
    specs = [folded.ask("slot") for _ in range(6)]
    assert folded.ask("slot") is None
    assert [spec.id for spec in specs] == [f"000{i}-fold{j}" for i in range(2) for j in range(3)]
    assert specs[1].config == {"data": {"name": "x", "folds": 3, "fold": 1, "stratified": True}}
    assert [spec.continues for spec in specs[2:5]] == ["", "0000-fold0", "0000-fold1"]
    assert specs[0].flags == ("--ps=0",)
    for spec, accuracy in zip((specs[2], specs[0], specs[1]), (0.5, 0.6, 0.7), strict=True):
        assert not source.told
        folded.tell(spec.id, _done(accuracy))
    told = source.told["0000"]
    assert told.metrics == {
        "cv_accuracy": pytest.approx(0.6),
        "cv_accuracy_std": pytest.approx(statistics.stdev([0.5, 0.6, 0.7])),
        "final_loss": 1.0,
    }
    assert (told.status, told.step, told.epoch, told.seconds) == (COMPLETED, 24, 2.0, 9.0)
    assert not folded.is_finished


def test_a_failed_fold_fails_the_trial_and_stops_its_others():
    folded = FoldedTrials(source := _Source(), 3, False)
    first, second = folded.ask("a"), folded.ask("b")
    folded.tell(second.id, Outcome(FAILED, {}, error="the loss is NaN"))
    assert source.told["0000"].error == "fold 1: the loss is NaN"
    assert folded.report(first.id, Progress(1, 1.0, {}))
    folded.tell(first.id, _done(0.5))
    folded.requeue(first.id, 1.0)
    assert folded.ask("a").id == "0001-fold0"


def test_an_interrupted_fold_is_handed_out_again_first_and_progress_is_that_of_all():
    folded = FoldedTrials(source := _Source(), 2, False)
    first, second = folded.ask("a"), folded.ask("b")
    folded.report(first.id, Progress(10, 1.0, {"test_accuracy": 0.4}))
    folded.requeue(first.id, 1.0)
    assert folded.ask("c").id == first.id
    folded.report(second.id, Progress(30, 3.0, {"test_accuracy": 0.6}))
    (_, alone), (_, both) = source.reported
    assert (alone.epoch, alone.metrics) == (0.5, {"cv_accuracy": 0.4})
    assert (both.epoch, both.metrics["cv_accuracy"]) == (2.0, 0.5)


def test_a_figure_that_a_fold_lacks_has_no_mean():
    folded = FoldedTrials(source := _Source(), 2, False)
    for fold in range(2):
        folded.tell(folded.ask("a").id, _done(0.5, **({"test_loss": 1.0} if fold else {})))
    assert "cv_loss" not in source.told["0000"].metrics
