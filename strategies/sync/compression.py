"""How are updates made smaller before they are sent?

Each way rounds an update to numbers that need fewer bytes, and keeps what it left out for the next one
("error feedback": Karimireddy et al., "Error Feedback Fixes SignSGD and other Gradient Compression
Schemes", 2019): what was sent and what is kept add up to what there was, without a rounding error.

- bf16, fp16: the nearest number of that type.
- int8: whole numbers from -127 to 127 times a power of two, one for each weight.
- topk: the numbers with the largest absolute values, as they are, and 0 for all others (Lin et al., "Deep
  Gradient Compression", 2018). The threshold is that of a sample. In a warm-up their share falls from a
  quarter, by a quarter each time, as in that paper.
"""

import abc
import dataclasses
import math
from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np

from strategies.sync.channel import Channel

_SAMPLE = 4096  # Numbers whose absolute values give the threshold.
_LARGEST_INT8 = 127
_FIRST_SHARE = _FALL = 0.25


@dataclasses.dataclass(frozen=True)
class Compressed(Channel, abc.ABC):
    """Sends rounded updates."""

    is_coded: ClassVar[bool] = True

    def initial(self, weights: Sequence[np.ndarray]) -> list[np.ndarray]:
        return [np.broadcast_to(np.zeros((), np.float32), np.shape(weight)) for weight in weights]

    def send(self, update: list, kept: list, step: Any, replica: Any) -> tuple[list, list]:
        del replica
        wanted = [new + old for new, old in zip(update, kept, strict=True)]
        sent = self.rounded(wanted, step)
        return sent, [whole - part for whole, part in zip(wanted, sent, strict=True)]

    @abc.abstractmethod
    def rounded(self, wanted: list, step: Any) -> list:
        """What is sent of these tensors: float32 numbers that `pack` does not change."""

    @abc.abstractmethod
    def pack(self, arrays: Sequence[np.ndarray]) -> bytes: ...

    @abc.abstractmethod
    def unpack(self, message: bytes, sizes: Sequence[int]) -> np.ndarray: ...


class BFloat16(Compressed):
    """Sends the upper half of each number, rounded."""

    def rounded(self, wanted: list, step: Any) -> list:
        del step
        import tensorflow as tf  # Not at the top: configs are read without it.

        return [tf.cast(tf.cast(one, tf.bfloat16), tf.float32) for one in wanted]

    def pack(self, arrays: Sequence[np.ndarray]) -> bytes:
        return b"".join((one.view(np.uint32) >> 16).astype(np.uint16).tobytes() for one in arrays)

    def unpack(self, message: bytes, sizes: Sequence[int]) -> np.ndarray:
        return (np.frombuffer(message, np.uint16).astype(np.uint32) << 16).view(np.float32)


class Float16(Compressed):
    """Sends float16; what is too large for it is sent in several updates."""

    def rounded(self, wanted: list, step: Any) -> list:
        del step
        import tensorflow as tf

        limit = float(np.finfo(np.float16).max)
        within = [tf.clip_by_value(one, -limit, limit) for one in wanted]
        return [tf.cast(tf.cast(one, tf.float16), tf.float32) for one in within]

    def pack(self, arrays: Sequence[np.ndarray]) -> bytes:
        return b"".join(one.astype(np.float16).tobytes() for one in arrays)

    def unpack(self, message: bytes, sizes: Sequence[int]) -> np.ndarray:
        return np.frombuffer(message, np.float16).astype(np.float32)


class Int8(Compressed):
    """Sends whole numbers, and the power of two that they count for each weight."""

    def rounded(self, wanted: list, step: Any) -> list:
        del step
        import tensorflow as tf

        found = []
        for one in wanted:
            unit = _power_of_two(tf.reduce_max(tf.abs(one)) / _LARGEST_INT8)
            whole = tf.clip_by_value(tf.round(one / unit), -_LARGEST_INT8, _LARGEST_INT8)
            found.append(whole * unit)
        return found

    def pack(self, arrays: Sequence[np.ndarray]) -> bytes:
        parts = []
        for array in arrays:
            # The largest whole number has seven bits, as the unit is the next power of two.
            _, exponent = np.frexp(np.abs(array).max(initial=0.0))
            unit = np.ldexp(np.float32(1), exponent - 7)
            parts += [unit.tobytes(), (array / unit).astype(np.int8).tobytes()]
        return b"".join(parts)

    def unpack(self, message: bytes, sizes: Sequence[int]) -> np.ndarray:
        parts, start = [], 0
        for size in sizes:
            unit = np.frombuffer(message, np.float32, 1, start)
            parts.append(np.frombuffer(message, np.int8, size, start + 4) * unit)
            start += 4 + size
        return np.concatenate(parts)


@dataclasses.dataclass(frozen=True)
class TopK(Compressed):
    """Sends places and values of the largest. `share`: of all; `warmup_steps`: until it is that small."""

    share: float = 0.01
    warmup_steps: int = 0

    def rounded(self, wanted: list, step: Any) -> list:
        import tensorflow as tf

        flat = tf.concat([tf.reshape(tf.abs(one), [-1]) for one in wanted], 0)
        sample = flat[:: -(-flat.shape[0] // _SAMPLE)]
        count = sample.shape[0]
        first = tf.cast(tf.round((1.0 - self._share_at(step)) * count), tf.int32)
        threshold = tf.sort(sample)[tf.minimum(first, count - 1)]
        return [tf.where(tf.abs(one) >= threshold, one, tf.zeros_like(one)) for one in wanted]

    def pack(self, arrays: Sequence[np.ndarray]) -> bytes:
        flat = np.concatenate(arrays)
        (places,) = np.nonzero(flat)
        return places.astype(np.int32).tobytes() + flat[places].tobytes()

    def unpack(self, message: bytes, sizes: Sequence[int]) -> np.ndarray:
        count = len(message) // 8
        found = np.zeros(sum(sizes), np.float32)
        places = np.frombuffer(message, np.int32, count)
        found[places] = np.frombuffer(message, np.float32, count, 4 * count)
        return found

    def _share_at(self, step: Any) -> Any:
        import tensorflow as tf

        if not self.warmup_steps:
            return self.share
        falls = max(1, math.ceil(math.log(self.share / _FIRST_SHARE, _FALL)))
        done = tf.minimum(tf.cast(step, tf.int32) * falls // self.warmup_steps, falls)
        warm = _FIRST_SHARE * tf.pow(_FALL, tf.cast(done, tf.float32))
        return tf.maximum(warm, self.share)


def _power_of_two(number: Any) -> Any:
    """The smallest power of two that is not below a float32, and above 0."""
    import tensorflow as tf

    bits = tf.bitcast(tf.maximum(number, np.finfo(np.float32).tiny), tf.int32)
    return tf.bitcast(tf.bitwise.bitwise_and(bits + 0x7FFFFF, 0x7F800000), tf.float32)


KINDS: dict[str, type[Channel]] = {
    "none": Channel,
    "bf16": BFloat16,
    "fp16": Float16,
    "int8": Int8,
    "topk": TopK,
}
