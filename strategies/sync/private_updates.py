"""How is one client kept from being read off a federated model?

Each client's update is cut to the norm C, all clients count alike, and the sum of a round gets normal
noise with the standard deviation z * C (McMahan et al., "Learning Differentially Private Recurrent
Language Models", 2018, algorithm 1, with a fixed number of clients). So all examples of one client
together change the sum by at most C.

The noise is part of the first replica's update, and follows from the seed and the step by Philox.
"""

import dataclasses
from typing import Any, ClassVar

import numpy as np

from strategies.keyed_noise import normal
from strategies.sync.channel import Channel

_PURPOSE = 0x636C69656E74  # Sets the noise apart from other numbers that follow from the seed.


@dataclasses.dataclass(frozen=True)
class PrivateUpdates(Channel):
    """Clips updates and adds noise. `noise`: the standard deviation, z * C."""

    weighs_by_examples: ClassVar[bool] = False

    clip_norm: float = 1.0
    noise: float = 0.0
    seed: int = 0

    def send(self, update: list, kept: list, step: Any, replica: Any) -> tuple[list, list]:
        import tensorflow as tf  # Not at the top: configs are read without it.

        norm = tf.sqrt(tf.add_n([tf.reduce_sum(tf.square(one)) for one in update]))
        factor = tf.minimum(1.0, self.clip_norm / tf.maximum(norm, np.finfo(np.float32).tiny))
        clipped = [factor * one for one in update]
        if not self.noise:
            return clipped, kept

        def noisy():
            return [
                one + self.noise * normal(tf.shape(one), self.seed, _PURPOSE, index, step)
                for index, one in enumerate(clipped)
            ]

        return tf.cond(tf.equal(replica, 0), noisy, lambda: clipped), kept
