"""Is nothing lost by sending updates in fewer bytes, and is as little sent as was asked for?"""

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from strategies.sync.compression import BFloat16, Float16, Int8, TopK

LOSSY = {"bf16": BFloat16(), "fp16": Float16(), "int8": Int8(), "topk": TopK(0.1)}
BYTES = {"bf16": 2.0, "fp16": 2.0, "int8": 1.0, "topk": 0.8}

# Not smaller: a processor may take numbers that are not normal, and residuals of small ones, for 0.
_numbers = st.floats(-1e6, 1e6, width=32).filter(lambda x: x == 0 or abs(x) > 1e-20)
arrays = hnp.arrays(np.float32, st.integers(1, 40), elements=_numbers)


def _sent(channel, update, kept, step=0):
    sent, residual = channel.send(
        [tf.constant(one) for one in update], [tf.constant(one) for one in kept], step, 0
    )
    return [one.numpy() for one in sent], [one.numpy() for one in residual]


@pytest.mark.parametrize("kind", LOSSY)
@given(update=arrays, data=st.data())
@settings(max_examples=60)
def test_what_is_sent_and_what_is_kept_are_what_there_was(kind, update, data):
    same = hnp.arrays(np.float32, len(update), elements=_numbers)
    kept = data.draw(same)
    (sent,), (residual,) = _sent(LOSSY[kind], [update], [kept])
    np.testing.assert_array_equal(sent.astype(np.float64) + residual, update + kept)


@pytest.mark.parametrize("kind", LOSSY)
@given(first=arrays, second=arrays)
@settings(max_examples=60)
def test_a_message_has_exactly_the_numbers_that_are_sent(kind, first, second):
    channel = LOSSY[kind]
    sent, _ = _sent(channel, [first, second], channel.initial([first, second]))
    found = channel.unpack(channel.pack(sent), [len(first), len(second)])
    np.testing.assert_array_equal(found, np.concatenate(sent))
    assert found.dtype == np.float32


@pytest.mark.parametrize("kind", LOSSY)
def test_messages_are_small_and_close(kind):
    update = np.random.default_rng(0).normal(size=20_000).astype(np.float32)
    (sent,), _ = _sent(LOSSY[kind], [update], [np.zeros_like(update)])
    size = len(LOSSY[kind].pack([sent]))
    # The threshold is the quantile of a sample of 4,000: four standard errors of its share.
    allowance = 8 * 4 * np.sqrt(0.1 * 0.9 / 4000) if kind == "topk" else 4 / 20_000
    assert size / 20_000 == pytest.approx(BYTES[kind], abs=allowance)
    if kind == "topk":
        assert np.abs(sent[sent != 0]).min() >= np.abs(update[sent == 0]).max()
    else:
        worst = {"bf16": 2.0**-8, "fp16": 2.0**-11, "int8": 1 / 127}[kind]
        assert np.abs(sent - update).max() <= worst * np.abs(update).max()


def test_the_share_falls_by_quarters_in_the_warmup():
    channel = TopK(0.004, warmup_steps=90)
    shares = [float(channel._share_at(tf.constant(step))) for step in (0, 29, 30, 60, 89, 90, 500)]
    assert shares == pytest.approx([1 / 4, 1 / 4, 1 / 16, 1 / 64, 1 / 64, 0.004, 0.004])


def test_an_update_too_large_for_float16_is_sent_in_parts():
    total, kept = np.zeros(1, np.float32), [np.zeros(1, np.float32)]
    for update in (100_000.0, 0.0):
        (sent,), kept = _sent(LOSSY["fp16"], [np.float32([update])], kept)
        total += sent
    np.testing.assert_allclose(total, 100_000, rtol=2.0**-11)
