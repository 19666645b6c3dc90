"""Do sums become the right means?"""

import math

import numpy as np
import pytest

from trainer.model.losses import CLASSIFICATION


def test_means_divide_the_sums_by_the_examples():
    means = CLASSIFICATION.means(np.array([6.0, 3.0, 4.0]))
    assert means == {"loss": 1.5, "accuracy": 0.75}


def test_the_mean_over_nothing_is_nan():
    values = CLASSIFICATION.means(np.zeros(3))
    assert math.isnan(values["loss"]) and math.isnan(values["accuracy"])


def test_sums_of_another_shape_are_refused():
    with pytest.raises(AssertionError):
        CLASSIFICATION.means(np.zeros((2, 3)))
