"""The median stopping rule, by hand."""

import pytest

from trainer.tune.search.median_stopping import is_hopeless
from trainer.tune.search.record import Objective

ACCURACY, LOSS = Objective.named("test_accuracy"), Objective.named("test_loss")
# After two epochs their means are 0.3, 0.4, 0.5, 0.6 and 0.7; at the end all are better.
OTHERS = {
    str(place): [(1.0, place / 10 - 0.1), (2.0, place / 10 + 0.1), (3.0, 0.9)]
    for place in range(3, 8)
}


@pytest.mark.parametrize(
    "curve, hopeless",
    [
        ([(1.0, 0.1), (2.0, 0.49)], True),
        ([(1.0, 0.1), (2.0, 0.51)], False),
        ([(1.0, 0.51), (2.0, 0.1)], False),  # Its best counts.
        ([(2.0, 0.5)], False),  # As good as the median is not worse.
        ([(0.5, 0.0)], False),
        ([], False),
    ],
)
def test_a_trial_is_hopeless_below_the_median_of_the_means_until_then(curve, hopeless):
    assert is_hopeless(ACCURACY, curve, OTHERS) is hopeless


def test_of_a_loss_less_is_better():
    assert is_hopeless(LOSS, [(2.0, 0.6)], OTHERS)
    assert not is_hopeless(LOSS, [(2.0, 0.4)], OTHERS)


def test_four_trials_are_too_few_to_judge_by():
    few = {name: OTHERS[name] for name in [*OTHERS][:4]}
    assert not is_hopeless(ACCURACY, [(2.0, 0.0)], few)


def test_a_trial_that_told_nothing_until_then_does_not_count():
    others = {**OTHERS, "3": [(5.0, 0.9)]}
    assert not is_hopeless(ACCURACY, [(2.0, 0.0)], others)
