"""Sixteen trials of one net at 16 learning rates: this trainer's `tune`, keras-tuner's `search` over
Keras `fit`, or 16 runs of this trainer, one after the other.

All take the same trials, to the least training loss of the last epoch, and report the best that there
was. The time is that of the whole command, imports included, as who starts a sweep waits for it.
"""

import json
import os
import pathlib
import subprocess
import sys
import tempfile
import time

from benchmarks.peers import muster
from benchmarks.peers.keras_model import keras_model
from benchmarks.work import Work, say

RATES = tuple(round(1e-4 * 10 ** (place / 7.5), 7) for place in range(16))  # From 0.0001 to 0.01.

_COLD = ("--compile_cache=off",)


def main() -> None:
    work, kind = Work.from_args(), sys.argv[2]
    began = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        loss = _KINDS[kind](work, folder)
    say(seconds=time.perf_counter() - began, loss=loss)


def tune(work: Work, folder: str) -> float:
    rates = "|".join(map(str, RATES))
    python, *args = muster.command(work, folder, [])
    place = args.index("trainer") + 1
    sweep = ["--tuner=grid", "--objective=final_loss", f"--space.optimizer.learning_rate={rates}"]
    with tempfile.TemporaryDirectory() as compiled:  # Empty at first, shared by the trials.
        own = [*args[place:], *sweep, *sys.argv[3:], "--", f"--compile_cache={compiled}"]
        _run([python, *args[:place], "tune", *own])
    trials = json.loads(pathlib.Path(folder, "trials.json").read_text())
    assert len(trials) == len(RATES), trials
    return min(trial["objective"] for trial in trials)


def runs(work: Work, folder: str) -> float:
    losses = []
    for place, rate in enumerate(RATES):
        workdir = os.path.join(folder, str(place))
        _run(muster.command(work, workdir, [f"--config.optimizer.learning_rate={rate}", *_COLD]))
        losses.append(json.loads(pathlib.Path(workdir, "summary.json").read_text())["final_loss"])
    return min(losses)


def keras_tuner(work: Work, folder: str) -> float:
    import keras
    import keras_tuner
    import tensorflow as tf

    images, labels = work.in_order()
    size = work.num_examples
    images, labels = images[:size], labels[:size]
    is_tuned = "tuned" in sys.argv

    def build(hp):
        model = keras_model(keras, work)
        model.compile(
            optimizer=keras.optimizers.Adam(hp.Choice("learning_rate", list(RATES))),
            loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
            metrics=["accuracy"],
            **({"jit_compile": True, "steps_per_execution": 50} if is_tuned else {}),
        )
        return model

    # Not shuffled again, which would give other losses: each epoch has the order of the first one.
    dataset = tf.data.Dataset.from_tensor_slices((images, labels))
    dataset = dataset.batch(work.global_batch_size, drop_remainder=True).prefetch(tf.data.AUTOTUNE)
    tuner = keras_tuner.GridSearch(
        build, keras_tuner.Objective("loss", "min"), len(RATES), directory=folder
    )
    tuner.search(dataset, epochs=work.epochs, verbose=0)
    trials = tuner.oracle.trials.values()
    assert len(trials) == len(RATES)
    return min(trial.score for trial in trials)


def _run(command: list[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(done.stderr[-1000:] or f"exit code {done.returncode}")


_KINDS = {"tune": tune, "runs": runs, "keras_tuner": keras_tuner}


if __name__ == "__main__":
    main()
