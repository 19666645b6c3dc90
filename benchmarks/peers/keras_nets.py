"""Keras `fit` on the nets that are not dense: with its defaults, or in one of its best forms.

It is given tensors in memory (arrays on JAX). `graph` and `jit` take a whole epoch in one execution,
without XLA and with it: which is faster depends on the net. The third argument names another backend.
"""

import os
import sys

if len(sys.argv) > 4:
    os.environ["KERAS_BACKEND"] = sys.argv[4]

import keras

from benchmarks.recipes import nets
from benchmarks.work import Work, report


def main() -> None:
    work, name, form = Work.from_args(), sys.argv[2], sys.argv[3]
    images, labels = work.in_order()
    keras.utils.set_random_seed(0)  # That of the trainer's config, for the same first weights.
    model = nets.build(keras, name, (784,))
    best = {"jit_compile": form == "jit", "steps_per_execution": work.warm_up}
    model.compile(
        optimizer=keras.optimizers.Adam(),
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
        **({} if form == "default" else best),
    )
    epochs = [
        tuple(array[first : first + work.num_examples] for array in (images, labels))
        for first in range(0, len(labels), work.num_examples)
    ]
    if keras.backend.backend() == "tensorflow":
        epochs = [tuple(map(keras.ops.convert_to_tensor, epoch)) for epoch in epochs]

    def train(first_step: int, end_step: int) -> float:
        epoch = epochs[first_step // work.warm_up]
        fitted = model.fit(*epoch, batch_size=work.global_batch_size, shuffle=False, verbose=0)
        return float(fitted.history["loss"][0])

    report(work, train)


if __name__ == "__main__":
    main()
