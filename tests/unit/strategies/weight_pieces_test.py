"""Does each number of each weight belong to one worker's pieces, whatever the sizes?"""

import numpy as np
import pytest

from strategies import weight_pieces
from strategies.collectives import vector_shares

SHAPES = [(37, 53), (), (53,), (1,), (53, 11), (11,)]


@pytest.mark.parametrize("workers", [1, 2, 3, 4, 7, 50])
@pytest.mark.parametrize("shapes", [SHAPES, [(5,)], [(1000, 3)]])
def test_the_pieces_of_all_workers_are_the_weights_in_their_order(shapes, workers):
    sizes = [int(np.prod(shape)) for shape in shapes]
    weights = [
        np.arange(size).reshape(shape) + 10_000 * i
        for i, (size, shape) in enumerate(zip(sizes, shapes, strict=True))
    ]
    cut = weight_pieces.cut(shapes, workers)
    assert len(cut) == workers
    found = [np.ravel(piece.of(weights[piece.weight])) for pieces in cut for piece in pieces]
    assert np.concatenate(found).tolist() == np.concatenate([w.ravel() for w in weights]).tolist()
    for pieces, share in zip(cut, vector_shares.shares(sum(sizes), workers), strict=True):
        assert all(piece.size for piece in pieces)
        assert sum(piece.size for piece in pieces) == share.stop - share.start
        assert all(
            np.shape(piece.of(weights[piece.weight])) == piece.shape(shapes[piece.weight])
            for piece in pieces
        )


def test_a_slot_without_dimensions_belongs_to_each_piece_and_others_are_cut():
    (first, second), (rest,) = weight_pieces.cut([(40,), (64,)], 2)
    assert (first, second, rest) == ((0, 0, 40), (1, 0, 8), (1, 8, 64))
    assert [piece.of(np.array(7)).tolist() for piece in (first, second, rest)] == [7, 7, 7]
    assert rest.of(np.arange(64)).tolist() == [*range(8, 64)]


@pytest.mark.parametrize("size", [0, 1, 15, 16, 1000, 24_200_202])
@pytest.mark.parametrize("workers", [1, 2, 3, 5, 1024])
def test_shares_follow_each_other_and_differ_by_less_than_32_numbers(size, workers):
    shares = vector_shares.shares(size, workers)
    assert [share.start for share in shares] == [0, *(share.stop for share in shares[:-1])]
    assert shares[-1].stop == size
    lengths = [share.stop - share.start for share in shares]
    assert min(lengths) >= 0 and max(lengths) - min(lengths) < 32
