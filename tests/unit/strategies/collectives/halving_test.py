"""Do the halves that workers trade fit each other, and end in one share of the sum for each?"""

import pytest

from strategies.collectives import halving


@pytest.mark.parametrize("workers", [1, 2, 4, 8, 16])
@pytest.mark.parametrize("size", [0, 1, 13, 1003])
def test_what_a_worker_keeps_its_peer_gives_and_the_other_way_round(workers, size):
    everyone = [halving.stages(rank, workers, size) for rank in range(workers)]
    shares = []
    for rank, stages in enumerate(everyone):
        for number, (peer, kept, given) in enumerate(stages):
            assert everyone[peer][number] == (rank, given, kept)
        shares.append(stages[-1].kept if stages else slice(0, size))
    found = [index for share in shares for index in range(share.start, share.stop)]
    assert sorted(found) == [*range(size)]


def test_neighbours_are_first_and_each_stage_halves_the_part():
    assert halving.stages(5, 8, 64) == [
        (4, slice(32, 64), slice(0, 32)),
        (7, slice(32, 48), slice(48, 64)),
        (1, slice(40, 48), slice(32, 40)),
    ]


def test_only_powers_of_two_are_possible():
    assert [n for n in range(1, 20) if halving.is_possible(n)] == [1, 2, 4, 8, 16]
