"""An evaluation's rows cover each split once, and no row has examples of two splits."""

import pytest

from trainer.order.evaluation_order import EvaluationOrder
from trainer.order.sample_order import PADDING


def test_each_split_has_rows_of_its_own_and_each_example_is_in_one():
    order = EvaluationOrder([5, 3], 4)
    assert order.rows == [range(2), range(2, 3)] and order.steps_per_epoch == 3
    assert order.steps_batches(0, 2).tolist() == [[0, 1, 2, 3], [4] + [PADDING] * 3]
    assert order.steps_batches(2, 1).tolist() == [[5, 6, 7, PADDING]]
    with pytest.raises(IndexError, match="a row must be below 3. Received: 3."):
        order.steps_batches(3, 1)
