"""Does the median stopping rule stop the trials that a calculation by hand says?"""

import pytest

from trainer.tune.search.median_stopping import should_stop
from trainer.tune.search.record import Objective

ACCURACY, LOSS = Objective.named("test_accuracy"), Objective.named("test_loss")
# After two epochs their means are 0.3, 0.4, 0.5, 0.6 and 0.7; at the end all are larger.
OTHERS = {
    str(place): [(1.0, place / 10 - 0.1), (2.0, place / 10 + 0.1), (3.0, 0.9)]
    for place in range(3, 8)
}


@pytest.mark.parametrize(
    "curve, stops",
    [
        ([(1.0, 0.1), (2.0, 0.49)], True),
        ([(1.0, 0.1), (2.0, 0.51)], False),
        ([(1.0, 0.51), (2.0, 0.1)], False),  # Its best counts.
        ([(2.0, 0.5)], False),  # Equal to the median is not worse.
        ([(0.5, 0.0)], False),
        ([], False),
    ],
)
def test_a_trial_stops_if_its_best_is_below_the_median_of_the_others_means(curve, stops):
    assert should_stop(ACCURACY, curve, OTHERS) is stops


def test_a_smaller_loss_is_better():
    assert should_stop(LOSS, [(2.0, 0.6)], OTHERS)
    assert not should_stop(LOSS, [(2.0, 0.4)], OTHERS)


def test_no_trial_stops_before_five_have_ended():
    few = {name: OTHERS[name] for name in [*OTHERS][:4]}
    assert not should_stop(ACCURACY, [(2.0, 0.0)], few)


def test_a_trial_without_a_value_up_to_this_epoch_does_not_count():
    others = {**OTHERS, "3": [(5.0, 0.9)]}
    assert not should_stop(ACCURACY, [(2.0, 0.0)], others)
