"""What is the net, as a user of Keras writes it?"""

from types import ModuleType

from benchmarks.work import Work


def keras_model(keras: ModuleType, work: Work):
    """From float32 [b, 784] to logits [b, 10], with the first weights; `keras` is Keras 2 or 3."""
    model = keras.Sequential(
        [
            keras.Input((784,)),
            keras.layers.Dense(128, activation="relu"),
            keras.layers.Dense(10),
        ]
    )
    model.set_weights(work.first_weights())
    return model
