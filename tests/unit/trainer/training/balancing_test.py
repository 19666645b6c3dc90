"""Do blocks move once enough was measured, and on all tasks alike?"""

import numpy as np
import pytest

from strategies.collectives.leaf_runs import LeafRuns
from trainer.training.balancing import Balancing


class _Runtime:
    """Gives what was measured since the last report: (seconds, computed, steps) of each worker."""

    def __init__(self, *measured):
        self._measured = list(measured)

    def computed(self):
        return np.array(self._measured.pop(0), float)


def test_blocks_move_once_a_second_was_measured():
    balancing = Balancing(LeafRuns((4, 4)), num_workers=2, measures=True)
    runtime = _Runtime(*[[(0.4, 0.2, 50), (0.4, 0.4, 50)]] * 3)
    assert [balancing.at_report(runtime) for _ in range(2)] == [{}, {}]
    assert balancing.runs == LeafRuns((4, 4))
    values = balancing.at_report(runtime)
    assert balancing.runs == LeafRuns((5, 3))
    assert values == pytest.approx({
        "worker_0_blocks": 5, "worker_0_ms_per_block": 1.0,
        "worker_1_blocks": 3, "worker_1_ms_per_block": 2.0,
    })  # fmt: skip


def test_what_was_measured_before_a_decision_is_not_measured_again():
    balancing = Balancing(LeafRuns((2, 2, 2, 2)), num_workers=2, measures=True)
    alike, slower = [(2.0, 2.0, 10), (2.0, 2.0, 10)], [(2.0, 1.0, 10), (2.0, 2.0, 10)]
    runtime = _Runtime(alike, slower)
    assert balancing.at_report(runtime) and balancing.runs == LeafRuns((2, 2, 2, 2))
    assert balancing.at_report(runtime) and balancing.runs == LeafRuns((3, 2, 2, 1))


def test_blocks_return_from_a_division_whose_exchange_takes_long():
    balancing = Balancing(LeafRuns((4, 4)), num_workers=2, measures=True)
    runtime = _Runtime(
        [(8.4, 4.0, 1), (8.4, 8.0, 1)],  # 0.4 of 8.4 s are an exchange of one vector,
        [(12.0, 5.0, 1), (12.0, 6.0, 1)],  # and 6 of 12 one of two from each.
        [(8.4, 4.0, 1), (8.4, 8.0, 1)],
    )
    seen = []
    for _ in range(3):
        assert balancing.at_report(runtime)
        seen.append(balancing.runs.counts)
    assert seen == [(5, 3), (4, 4), (4, 4)]


def test_a_worker_without_a_timed_step_is_waited_for():
    balancing = Balancing(LeafRuns((4, 4)), num_workers=2, measures=True)
    runtime = _Runtime([(4.0, 2.0, 50), (0.0, 0.0, 0)], [(4.0, 2.0, 50), (4.0, 4.0, 50)])
    assert balancing.at_report(runtime) == {}
    assert balancing.at_report(runtime)["worker_1_blocks"] == 3


def test_nothing_is_measured_unless_asked_for_and_among_several_workers():
    assert Balancing(LeafRuns((4, 4)), 2, measures=False).at_report(_Runtime()) == {}
    assert Balancing(LeafRuns((4, 4)), 1, measures=True).at_report(_Runtime()) == {}
