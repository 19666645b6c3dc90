"""What is the net, as a user of Keras 2 writes it?"""

import tf_keras

from benchmarks.work import Work


def tf_keras_model(work: Work) -> tf_keras.Model:
    """From float32 [b, 784] to logits [b, 10], with the first weights."""
    model = tf_keras.Sequential(
        [
            tf_keras.Input((784,)),
            tf_keras.layers.Dense(128, activation="relu"),
            tf_keras.layers.Dense(10),
        ]
    )
    model.set_weights(work.first_weights())
    return model
