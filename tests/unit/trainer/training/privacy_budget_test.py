"""Is epsilon what theory says, and does a run end before it exceeds its limit?"""

import math

import pytest

from trainer.config.fields import ConfigError
from trainer.training.privacy_budget import PrivacyBudget

DELTA = 1e-5


def _delta_of_gaussian(epsilon: float, noise: float) -> float:
    """Of one step on all examples (Balle and Wang, 2018, theorem 8, for sensitivity 1)."""
    first, second = 1 / (2 * noise) - epsilon * noise, -1 / (2 * noise) - epsilon * noise
    return _normal_cdf(first) - math.exp(epsilon) * _normal_cdf(second)


def _normal_cdf(x: float) -> float:
    return math.erfc(-x / math.sqrt(2)) / 2


@pytest.mark.parametrize("noise", [0.8, 2.0, 5.0])
@pytest.mark.parametrize("steps", [1, 16])
def test_without_sampling_epsilon_is_that_of_the_gaussian_mechanism(noise, steps):
    """Steps without sampling are one step with the noise divided by the root of their number."""
    epsilon = PrivacyBudget(noise, 1.0, DELTA, 0).epsilon(steps)
    # The accountant rounds losses up to multiples of 1e-4, in each step.
    exact, higher = (
        _delta_of_gaussian(epsilon + shift, noise / math.sqrt(steps)) for shift in (0, -2e-3)
    )
    assert exact <= DELTA < higher


def test_sampling_and_noise_lower_epsilon_and_steps_raise_it():
    def epsilon(noise=1.0, sampled=0.1, steps=10):
        return PrivacyBudget(noise, sampled, DELTA, 0).epsilon(steps)

    plain = epsilon()
    assert epsilon(noise=2.0) < plain < epsilon(steps=20)
    assert epsilon(sampled=0.05) < plain < epsilon(noise=0.7)
    assert epsilon(steps=0) == 0.0


def test_the_last_step_is_the_last_below_the_limit():
    budget = PrivacyBudget(1.0, 0.1, DELTA, 2.0)
    last = budget.last_step(20)
    assert 1 < last < 20 and budget.epsilon(last) <= 2.0 < budget.epsilon(last + 1)
    assert budget.is_spent_after(last) and not budget.is_spent_after(last - 1)
    assert budget.last_step(last - 1) == last - 1
    unlimited = PrivacyBudget(1.0, 0.1, DELTA, 0)
    assert unlimited.last_step(9) == 9 and not unlimited.is_spent_after(9)


def test_a_limit_below_one_step_is_refused():
    with pytest.raises(
        ConfigError, match="`privacy.max_epsilon` must be at least .* Received: 0.001"
    ):
        PrivacyBudget(1.0, 0.5, DELTA, 0.001).last_step(10)
