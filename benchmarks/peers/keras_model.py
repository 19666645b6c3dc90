"""What is the net, as a user of Keras writes it?"""

import keras

from benchmarks.work import Work


def keras_model(work: Work) -> keras.Model:
    """From float32 [b, 784] to logits [b, 10], with the first weights."""
    model = keras.Sequential(
        [
            keras.Input((784,)),
            keras.layers.Dense(128, activation="relu"),
            keras.layers.Dense(10),
        ]
    )
    model.set_weights(work.first_weights())
    return model
