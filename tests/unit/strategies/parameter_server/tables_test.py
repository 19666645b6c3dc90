"""Are exactly the used rows of a table pulled and pushed, once, and do all others keep their bits?"""

import itertools

import numpy as np
import pytest
import tensorflow as tf

from strategies.parameter_server.division import Division
from strategies.parameter_server.shards import Shard
from strategies.parameter_server.tables import Tables
from strategies.state import State

ROWS, WIDTH = 10, 3
_names = (f"shard_with_tables_{number}" for number in itertools.count())


def _state():
    """A table with a moment, and a dense weight. Both kinds of slot are like Adagrad's."""
    random = np.random.default_rng(0)
    weights = [random.normal(size=shape).astype(np.float32) for shape in ((ROWS, WIDTH), (4,))]
    scalars = [np.int64(5), np.float32(0.1)]
    return State(weights, [[*scalars, np.abs(weight)] for weight in weights], [np.float32([1, 2])])


def _read(columns):
    return columns[0]


def _shards(state, servers, max_unfinished=1, keeps_start=False):
    division = Division(state, {0: _read}, servers)
    shards = [
        Shard(
            *part,
            num_steps=20,
            max_unfinished=max_unfinished,
            num_sums=1,
            device="CPU:0",
            name=next(_names),
            has_moments=True,
            keeps_start=keeps_start,
        )
        for part in division.parts(state)
    ]
    division.layouts = [shard.layout for shard in shards]
    return division, shards


def _assert_equal(found, expected):
    for one, other in zip(found.flat_arrays, expected.flat_arrays, strict=True):
        assert one.dtype == other.dtype and np.array_equal(one, other)


@pytest.mark.parametrize("servers", [1, 2, 3, 12])
def test_a_state_with_a_table_is_divided_and_joined_again(servers):
    state = _state()
    division, shards = _shards(state, servers)
    _assert_equal(division.state(shards), state)
    doubled = State([2 * one for one in state.weights], state.slots, state.layer_state)
    for shard, part in zip(shards, division.parts(doubled), strict=True):
        shard.assign(*part)
    _assert_equal(division.state(shards), doubled)


def test_a_state_of_nothing_but_tables_is_divided_too():
    whole = _state()
    state = State(whole.weights[:1], whole.slots[:1])
    division, shards = _shards(state, 2)
    _assert_equal(division.state(shards), state)


def test_the_rows_of_a_window_are_those_of_its_steps_each_once():
    tables = Tables(_state(), {0: _read}, servers=3)  # Rows 0 to 3, 4 to 6 and 7 to 9.
    indices = tf.constant([[[1, 9], [1, 4]], [[9, 5], [5, 0]], [[2, 3], [7, 8]]])
    batches = (indices, tf.ones([3, 2]))

    def used(steps):
        return [rows.numpy().tolist() for (rows,) in tables.used(batches, steps)]

    assert used(2) == [[0, 1], [0, 1], [2]]
    assert used(0) == [[], [], []]
    assert tables.row_bytes == [4 + 4 * WIDTH * 2]


def test_an_index_that_is_no_row_is_left_to_the_model():
    tables = Tables(_state(), {0: _read}, servers=2)
    found = tables.used((tf.constant([[3, -1, 10, 9]]), tf.ones([1, 4])), 1)
    assert [rows.numpy().tolist() for (rows,) in found] == [[3], [4]]


def _push(shards, division, pulled, rows, first_step, change, sums=1.0):
    """Pushes a unit of five steps that changes all it has pulled. Whether each shard took it as new."""
    taken = division.tables.taken(rows, division.tables.whole(rows, [one.tables for one in pulled]))
    return [
        bool(
            shard.push(
                tf.constant([first_step, 5]),
                before,
                tf.concat([change(before.values), [sums]], 0),
                tf.constant([5], tf.int64),
                tf.constant(0.5, tf.float64),
                [[change(one) for one in own] for own in after],
            )
        )
        for shard, before, after in zip(shards, pulled, taken, strict=False)
    ]


def _pull(shards, division, indices, first_step=0):
    rows = division.tables.used((tf.constant([indices]), tf.ones([1, len(indices)])), 1)
    steps = tf.constant([first_step, 5])
    return rows, [shard.pull(steps, own) for shard, own in zip(shards, rows, strict=True)]


def test_only_used_rows_are_pulled_and_change_and_once():
    state = _state()
    division, shards = _shards(state, 2)
    rows, pulled = _pull(shards, division, [7, 2, 2, 4])
    assert [[one.shape.as_list() for one in two.tables[0]] for two in pulled] == [
        [[2, WIDTH]] * 2,
        [[1, WIDTH]] * 2,
    ]
    whole = division.tables.whole(rows, [one.tables for one in pulled])
    assert np.isnan(whole[0][0]).all(axis=1).tolist() == [row not in (2, 4, 7) for row in range(10)]
    assert _push(shards, division, pulled, rows, 0, lambda one: one + 1) == [True, True]
    after = division.state(shards)
    expected = state.weights[0].copy()
    expected[[2, 4, 7]] += 1
    assert np.array_equal(after.weights[0], expected)
    assert np.array_equal(after.slots[0][2][[2, 4, 7]], state.slots[0][2][[2, 4, 7]] + 1)
    assert after.slots[0][0] == 10
    assert [shard.pushed_rows.numpy().tolist() for shard in shards] == [[2], [1]]
    # The same unit again, of a worker that took it over, with what it has pulled by now.
    rows, pulled = _pull(shards, division, [7, 2, 2, 4])
    assert _push(shards, division, pulled, rows, 0, lambda one: one + 1) == [False, False]
    _assert_equal(division.state(shards), after)
    assert [shard.pushed_rows.numpy().tolist() for shard in shards] == [[2], [1]]


def _change(pulled):
    """To all of a state by all that was pulled, as a step changes it."""
    tables = [one for own in pulled for table in own.tables for one in table]
    total = sum(tf.reduce_sum(one) for one in [own.values for own in pulled] + tables)
    return lambda one: one * 1.1 + total


def test_a_unit_that_one_shard_has_merged_ends_as_if_taken_once():
    """Its worker died between its pushes, and another takes it again."""
    state, ended = _state(), []
    for dies in (False, True):
        division, shards = _shards(state, 2, keeps_start=True)
        for first_step, indices in ((0, [1, 2, 8, 9]), (5, [7, 2, 2, 4])):
            rows, pulled = _pull(shards, division, indices, first_step)
            if dies and first_step:
                change = _change(pulled)
                assert _push(shards[:1], division, pulled, rows, first_step, change) == [True]
                rows, pulled = _pull(shards, division, indices, first_step)
            pushed = _push(shards, division, pulled, rows, first_step, _change(pulled))
            assert pushed == [not (dies and first_step), True]
        ended.append(division.state(shards))
    _assert_equal(*ended)


def test_of_units_that_overlap_each_moves_its_rows_by_its_share():
    state = _state()
    division, (shard,) = _shards(state, 1, max_unfinished=2)
    first, second = _pull([shard], division, [1, 2]), _pull([shard], division, [2, 3])
    for number, (rows, pulled) in enumerate((first, second)):
        assert _push([shard], division, pulled, rows, 5 * number, lambda one: one + 4) == [True]
    moved = division.state([shard]).weights[0] - state.weights[0]
    assert moved.round(4).tolist() == [[0] * 3, [2] * 3, [4] * 3, [2] * 3, *[[0] * 3] * 6]


def test_restored_shards_count_rows_anew():
    state = _state()
    division, shards = _shards(state, 2)
    rows, pulled = _pull(shards, division, [1])
    _push(shards, division, pulled, rows, 0, lambda one: one + 1)
    for shard, part in zip(shards, division.parts(state), strict=True):
        shard.assign(*part)
    _assert_equal(division.state(shards), state)
    assert not sum(shard.pushed_rows.numpy() for shard in shards)
