"""How much has a run told about a single example?

`PrivacyBudget` gives epsilon after any number of steps, for a fixed delta, by the accountant of privacy
loss distributions of Google's dp-accounting. It takes a step for a Gaussian mechanism on a batch that has
each example with the probability batch / examples (Poisson sampling), and neighbours that differ by one
example added or removed. Here batches are parts of a permutation instead, as in almost every program of
this kind: Chua et al., "How private are DP-SGD implementations?" (2024), show how far the two may differ.
"""

import functools

from strategies import packages
from trainer.config.fields import ConfigError
from trainer.config.schema import ExperimentConfig


class PrivacyBudget:
    """Epsilon by steps.

    Args:
      noise_multiplier: above 0.
      sampled: the share of the examples in a batch, at most 1.
      delta: for which epsilon holds.
      max_epsilon: which no run exceeds; 0: no limit.
    """

    def __init__(self, noise_multiplier: float, sampled: float, delta: float, max_epsilon: float):
        self._noise_multiplier, self._sampled = noise_multiplier, sampled
        self._delta, self._max_epsilon = delta, max_epsilon
        self.epsilon = functools.cache(self._epsilon)

    def last_step(self, total_steps: int) -> int:
        """The last step of a run that would take `total_steps`: epsilon does not exceed its limit.

        Raises ConfigError where the first step exceeds it.
        """
        if not self._max_epsilon or self.epsilon(total_steps) <= self._max_epsilon:
            return total_steps
        low, high = 0, total_steps  # Epsilon grows with the steps.
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (middle, high) if self._is_allowed(middle) else (low, middle)
        if not low:
            raise ConfigError(
                f"`privacy.max_epsilon` must be at least {self.epsilon(1):.3g}, the epsilon of a single "
                f"step. Received: {self._max_epsilon:g}; raise it, or `privacy.noise_multiplier`."
            )
        return low

    def is_spent_after(self, steps: int) -> bool:
        """Whether one more step would exceed the limit."""
        return bool(self._max_epsilon) and not self._is_allowed(steps + 1)

    def _is_allowed(self, steps: int) -> bool:
        return self.epsilon(steps) <= self._max_epsilon

    def _epsilon(self, steps: int) -> float:
        if not steps:
            return 0.0
        from dp_accounting import dp_event
        from dp_accounting.pld import PLDAccountant

        gaussian = dp_event.GaussianDpEvent(self._noise_multiplier)
        step = dp_event.PoissonSampledDpEvent(self._sampled, gaussian)
        accountant = PLDAccountant()
        accountant.compose(dp_event.SelfComposedDpEvent(step, steps))
        return float(accountant.get_epsilon(self._delta))


@functools.cache
def _budget(*args: float) -> PrivacyBudget:
    return PrivacyBudget(*args)  # One for all callers, as epsilon takes a second to compute.


def of(config: ExperimentConfig, num_examples: int) -> PrivacyBudget | None:
    """The budget of a run on that many examples; None where epsilon is infinite, or nobody asks.

    Raises ConfigError where the package that computes epsilon is not installed.
    """
    asked = config.privacy
    if not asked.noise_multiplier:
        return None
    check_package()
    sampled = config.data.global_batch_size / num_examples
    if config.sync.mode == "federated":  # Of clients, not of examples.
        sampled = config.federated.clients_per_round / (config.data.partitions or 1)
    return _budget(asked.noise_multiplier, min(1.0, sampled), asked.delta, asked.max_epsilon)


def check_package() -> None:
    """Raises ConfigError where the package that computes epsilon is not installed."""
    if not packages.version("dp-accounting"):
        raise ConfigError(
            "`privacy.noise_multiplier` must be 0 without the package dp-accounting, which computes "
            "epsilon. Received: another; run `pip install 'muster[privacy]'`."
        )
