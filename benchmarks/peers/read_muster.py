"""How fast does this trainer read a source? Through the input pipeline of its runs.

`resident`: the examples are on the device, and compiled code gathers them. `mapped`: the source was
prepared, and the host gathers the examples of a loop from its columns while the last loop is summed.
"""

import pathlib
import sys
import tempfile

import tensorflow as tf

from benchmarks.reading import Reading, report
from strategies.collectives.leaf_runs import LeafRuns
from trainer.config.schema import DataConfig
from trainer.data import address, registry, source_data
from trainer.data.input_pipeline import InputPipeline, choose_steps_per_loop
from trainer.data.prepared import prepare
from trainer.order.sample_order import SampleOrder
from trainer.order.schedule import Loop


def main() -> None:
    reading, is_mapped = Reading.from_args(), sys.argv[2] == "mapped"
    with tempfile.TemporaryDirectory() as folder:
        config = DataConfig(source=_source(reading), dir=folder)
        if is_mapped:
            named = address.parse(config)
            opened = named.open()
            prepare.prepare(named, opened, source_data.select(named, opened))
        _read(reading, config, "stream" if is_mapped else "resident")


def _source(reading: Reading) -> str:
    if reading.kind == "images":
        return f"images:{pathlib.Path(reading.path).parent}"
    test = "" if reading.kind in ("npz", "npy") else f",{reading.path}"
    return f"{reading.kind}:{reading.path}{test}"


def _read(reading: Reading, config: DataConfig, placement: str) -> None:
    split = registry.load(config).train
    order = SampleOrder(len(split), reading.batch, seed=0)
    steps = choose_steps_per_loop(split, order, 1, 0, None)
    pipeline = InputPipeline(split, order, LeafRuns((1,)), range(1), steps, placement)
    resident = tuple(map(tf.constant, pipeline.resident))

    @tf.function
    def sums(element):
        features, _, weights = pipeline.stacked_batches(resident, element)
        flat = tf.reshape(tf.cast(features, tf.float32), [steps, reading.batch, -1])
        return tf.reduce_sum(tf.reduce_sum(flat, axis=2) * weights, axis=1)

    epochs = iter(range(10**9))

    def epoch() -> float:
        first = next(epochs) * order.steps_per_epoch
        last = first + order.steps_per_epoch
        loops = [Loop(step, min(steps, last - step)) for step in range(first, last, steps)]
        elements = (element for (element,) in pipeline.loop_inputs(loops))
        return float(sum(sums(element).numpy().sum(dtype="f8") for element in elements))

    report(reading, epoch)


if __name__ == "__main__":
    main()
