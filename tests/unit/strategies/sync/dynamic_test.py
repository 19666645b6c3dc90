"""Does the interval between agreements follow the spread, within its bounds?"""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from strategies.sync.dynamic import Dynamic

SHORTEST, DOUBLINGS = 3, 4
LONGEST = SHORTEST * 2**DOUBLINGS
DYNAMIC = Dynamic(
    4, every_steps=2 * SHORTEST, min_steps=SHORTEST, max_steps=LONGEST, max_spread=0.1
)
SPREADS = st.lists(st.sampled_from([0.0, 0.04, 0.07, 0.2]), min_size=1, max_size=80)


def _rounds(spreads, start=0):
    """[first step, end, interval] of each round."""
    memory, step = DYNAMIC.initial_memory(), start
    for spread in spreads:
        end = DYNAMIC.next_agreement(step, start, memory)
        yield step, end, int(memory["interval"])
        memory = DYNAMIC.after(memory, spread, end, end - step)
        step = end


@given(SPREADS, st.integers(0, 1000))
def test_a_round_starts_at_a_multiple_of_its_length(spreads, start):
    for first, end, interval in _rounds(spreads, start):
        assert SHORTEST <= end - first <= interval <= LONGEST
        assert (first - start) % (end - first) == 0


@given(SPREADS, st.integers(0, 1000))
def test_there_is_an_agreement_after_every_period(spreads, start):
    ends = [end for _, end, _ in _rounds(spreads, start)]
    periods = range(start + LONGEST, ends[-1] + 1, DYNAMIC.period)
    assert {*periods} <= {*ends}


def test_it_halves_above_the_threshold_doubles_below_half_and_else_stays():
    spreads = [0.07, 0.2, 0.2, 0.2, 0.04, 0.0, 0.04, 0.04, 0.04, 0.04]
    found = [interval for _, _, interval in _rounds(spreads)]
    # Where a round is shorter than the interval, so that it is aligned, nothing is doubled.
    assert found == [6, 6, 3, 3, 3, 6, 6, 12, 12, 24]


def test_the_interval_is_what_it_remembers_and_reports():
    memory = DYNAMIC.after(DYNAMIC.initial_memory(), 0.0, 6, 6)
    assert memory == {"interval": np.array(12)}
    assert DYNAMIC.measures(memory) == {"sync_interval": 12.0}
