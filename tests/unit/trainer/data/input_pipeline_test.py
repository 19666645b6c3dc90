"""Does every replica read its share, the same from resident as from streamed data?"""

from pathlib import Path

import numpy as np
import pytest

from strategies.collectives.leaf_runs import LeafRuns
from trainer.data.dataset import Split
from trainer.data.input_pipeline import (
    MAX_LOOP_BYTES,
    MAX_RESIDENT_BYTES,
    MAX_STEPS_PER_LOOP,
    InputPipeline,
    choose_placement,
    choose_steps_per_loop,
)
from trainer.order.sample_order import PADDING, SampleOrder
from trainer.order.schedule import Loop, Schedule

BATCH = 12  # Divides among 1, 2, 3 and 4 replicas.


def _images(num_examples=101):
    """Images, each with its own index as its class."""
    features = np.random.default_rng(0).integers(0, 256, (num_examples, 4, 4)).astype(np.uint8)
    return Split(features, np.arange(num_examples, dtype=np.int32))


def _floats(num_examples=101):
    random = np.random.default_rng(0)
    features = random.normal(size=(num_examples, 5)).astype(np.float32)
    return Split(features, random.normal(size=(num_examples, 3)).astype(np.float32))


def _loops(order, steps_per_loop=4, epochs=2):
    total = epochs * order.steps_per_epoch
    return list(Schedule(total, order.steps_per_epoch, steps_per_loop, 0, 0).loops(0))


def _pipeline(split, placement, num_replicas=1, replicas=None, steps_per_loop=4, seed=0):
    order = SampleOrder(len(split), BATCH, seed)
    replicas = range(num_replicas) if replicas is None else replicas
    pipeline = InputPipeline(
        split, order, LeafRuns((1,) * num_replicas), replicas, steps_per_loop, placement
    )
    return pipeline, order


def _stacked_batches(pipeline, loops):
    """[loop][replica] -> (features, targets, example weights) as arrays."""
    return [
        [
            tuple(np.asarray(part) for part in pipeline.stacked_batches(pipeline.resident, one))
            for one in each
        ]
        for each in pipeline.loop_inputs(loops)
    ]


def _consumed(pipeline, loops):
    """[replica] -> [step, example] indices, padding rows of short loops left out."""
    steps = [
        [one[0].numpy()[: loop.num_steps] for one in each]
        for loop, each in zip(loops, pipeline.loop_inputs(loops), strict=True)
    ]
    return [np.concatenate(rows) for rows in zip(*steps, strict=True)]


@pytest.mark.parametrize("num_replicas", [1, 2, 3, 4])
@pytest.mark.parametrize("split", [_images(), _floats()], ids=["images", "floats"])
def test_resident_and_streamed_data_give_identical_batches(split, num_replicas):
    resident, order = _pipeline(split, "resident", num_replicas)
    stream, _ = _pipeline(split, "stream", num_replicas)
    loops = _loops(order)
    both = zip(_stacked_batches(resident, loops), _stacked_batches(stream, loops), strict=True)
    num_arrays = 0
    for one, other in both:
        for mine, theirs in zip(one, other, strict=True):
            for a, b in zip(mine, theirs, strict=True):
                assert a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()
                num_arrays += 1
    assert num_arrays == len(loops) * num_replicas * 3


@pytest.mark.parametrize("num_examples", [96, 101, 7, 97])
@pytest.mark.parametrize("num_replicas", [1, 2, 3, 4])
def test_the_replicas_together_read_every_example_exactly_once_an_epoch(num_examples, num_replicas):
    pipeline, order = _pipeline(_images(num_examples), "resident", num_replicas)
    replicas = _consumed(pipeline, _loops(order, epochs=2))
    per_epoch = order.steps_per_epoch
    for epoch in (0, 1):
        read = [rows[epoch * per_epoch : (epoch + 1) * per_epoch].ravel() for rows in replicas]
        read = np.concatenate(read)
        assert sorted(read[read != PADDING].tolist()) == list(range(num_examples))


@pytest.mark.parametrize("placement", ["resident", "stream"])
def test_processes_that_feed_their_own_replicas_read_what_one_process_would(placement):
    whole, order = _pipeline(_images(), placement, 4)
    loops = _loops(order)
    parts = [_pipeline(_images(), placement, 4, replicas=range(r, r + 2))[0] for r in (0, 2)]
    apart = [rows for part in parts for rows in _consumed(part, loops)]
    for mine, theirs in zip(_consumed(whole, loops), apart, strict=True):
        assert np.array_equal(mine, theirs)


@pytest.mark.parametrize("counts", [(1, 1, 1), (3, 2, 1), (1, 0, 5)])
def test_the_runs_of_a_step_side_by_side_are_the_global_batch(counts):
    pipeline, order = _pipeline(_images(), "resident", 3)
    pipeline = pipeline.with_runs(LeafRuns(counts))
    replicas = _consumed(pipeline, _loops(order, epochs=1))
    block = BATCH // sum(counts)
    assert [rows.shape[1] for rows in replicas] == [block * count for count in counts]
    assert np.array_equal(
        np.concatenate(replicas, axis=1), order.steps_batches(0, order.steps_per_epoch)
    )


@pytest.mark.parametrize("placement", ["resident", "stream"])
def test_a_batch_has_the_examples_of_its_indices_and_padding_has_weight_zero(placement):
    split = _images()
    pipeline, order = _pipeline(split, placement)
    last = order.steps_per_epoch - 1  # 101 examples: 5 in the last batch of 12.
    ((features, targets, weights),) = _stacked_batches(pipeline, [Loop(last, 1)])[0]
    indices = order.step_batch(last)
    assert features.shape == (4, 12, 4, 4) and features.dtype == np.uint8
    assert targets.shape == (4, 12) and weights.shape == (4, 12)
    assert weights.sum() == 5 and weights[0].tolist() == [1] * 5 + [0] * 7
    assert np.array_equal(targets[0, :5], indices[:5])
    assert np.array_equal(features[0, :5], split.features[indices[:5]])


def test_the_number_of_steps_in_a_loop_does_not_change_what_is_read():
    expected, order = _pipeline(_images(), "resident", 2, steps_per_loop=1)
    expected = _consumed(expected, _loops(order, 1))
    for steps in (2, 5, 9):
        pipeline, _ = _pipeline(_images(), "resident", 2, steps_per_loop=steps)
        read = _consumed(pipeline, _loops(order, steps))
        assert all(np.array_equal(a, b) for a, b in zip(read, expected, strict=True))


def test_a_resumed_run_reads_what_the_uninterrupted_run_read():
    def bits(batches):
        return [[array.tobytes() for array in one] for each in batches for one in each]

    pipeline, order = _pipeline(_images(), "stream", 2)
    loops = _loops(order)
    uninterrupted = _stacked_batches(pipeline, loops)
    assert bits(_stacked_batches(pipeline, loops[3:])) == bits(uninterrupted[3:])


def test_data_up_to_the_limit_is_resident_and_larger_data_is_streamed():
    def split(num_bytes):  # Takes no memory: a view that repeats one byte.
        return Split(np.broadcast_to(np.uint8(0), (num_bytes, 1)), np.zeros(1, np.int32))

    assert choose_placement(split(MAX_RESIDENT_BYTES), "auto") == "resident"
    assert choose_placement(split(MAX_RESIDENT_BYTES + 1), "auto") == "stream"
    assert choose_placement(split(MAX_RESIDENT_BYTES + 1), "resident") == "resident"
    assert choose_placement(split(1), "stream") == "stream"


@pytest.mark.parametrize(
    "wanted, default, num_examples, steps",
    [
        (0, None, 60_000, MAX_STEPS_PER_LOOP),
        (0, None, 1_200, 100),  # An epoch of 1,200 examples has 100 steps of 12.
        (7, None, 60_000, 7),
        (5_000, None, 1_200, 100),
        (0, 10, 60_000, 10),  # A strategy whose default is ten.
        (0, 500, 1_200, 100),
        (7, 10, 60_000, 7),
        (70, 10, 60_000, 70),
    ],
)
def test_a_loop_has_the_wanted_or_default_number_of_steps_and_at_most_an_epoch(
    wanted, default, num_examples, steps
):
    split = Split(np.zeros((num_examples, 1), np.uint8), np.zeros(num_examples, np.int32))
    order = SampleOrder(num_examples, BATCH, 0)
    assert choose_steps_per_loop(split, order, 1, wanted, default) == steps


def test_large_examples_give_short_loops_and_more_replicas_longer_ones():
    features = np.broadcast_to(np.float32(0), (60_000, MAX_LOOP_BYTES // 4 // BATCH // 10))
    split = Split(features, np.zeros(60_000, np.int32))
    order = SampleOrder(60_000, BATCH, 0)
    assert choose_steps_per_loop(split, order, 1, 0, None) == 10
    assert choose_steps_per_loop(split, order, 2, 0, None) == 20
    huge = Split(np.broadcast_to(np.float32(0), (60_000, MAX_LOOP_BYTES)), split.targets)
    assert choose_steps_per_loop(huge, order, 1, 0, None) == 1


def test_the_system_does_not_read_ahead_of_mapped_rows_in_random_order(tmp_path):
    path = tmp_path / "x.npy"
    np.save(path, np.zeros((4096, 8), np.float32))
    mapped = np.load(path, mmap_mode="r")
    order = SampleOrder(len(mapped), 4, seed=0)
    InputPipeline(Split(mapped, np.zeros(4096)), order, LeafRuns((1,)), range(1), 1, "stream")
    areas = Path("/proc/self/smaps").read_text().split(str(path))
    assert " rr " in areas[1].partition("VmFlags:")[2].partition("\n")[0]
