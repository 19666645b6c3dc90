"""Is the digest of weights that of their bytes, in their order?"""

import hashlib

import numpy as np

from trainer.training import weights_digest


def test_the_hash_of_three_numbers_is_that_of_their_twelve_bytes():
    # printf '\x00\x00\x80\x3f\x00\x00\x00\xc0\x00\x00\x00\x3f' | sha256sum
    known = "2ce4bdb6b34a50ac7092eb9fee94337a27498e9eb9bae44192f15b88831b2422"
    assert weights_digest.weights_sha256([np.array([1, -2, 0.5], np.float32)]) == known
    parts = [np.array([[1], [-2]], np.float32), np.array([0.5], np.float32)]
    assert weights_digest.weights_sha256(parts) == known
    assert weights_digest.weights_sha256([np.array([1, -2, 0.5], ">f4")]) == known


def test_the_hash_follows_the_order_of_rows_and_of_weights():
    matrix = np.arange(6, dtype=np.float32).reshape(2, 3)
    flat = hashlib.sha256(np.arange(6, dtype="<f4").tobytes()).hexdigest()
    assert weights_digest.weights_sha256([matrix]) == flat
    assert weights_digest.weights_sha256([np.asfortranarray(matrix)]) == flat
    assert weights_digest.weights_sha256([matrix.T]) != flat
    one, two = matrix[:1], matrix[1:]
    assert weights_digest.weights_sha256([one, two]) != weights_digest.weights_sha256([two, one])


def test_layer_state_is_hashed_behind_the_weights_integers_as_integers():
    weights = [np.ones(2, np.float32)]
    state = [np.array([0.5], np.float16), np.array([7, 2**40 + 1], np.int64)]
    plain = np.ones(2, "<f4").tobytes() + np.array([0.5], "<f4").tobytes()
    plain += np.array([7, 2**40 + 1], "<i8").tobytes()
    digest = weights_digest.weights_sha256([*weights, *state])
    assert digest == hashlib.sha256(plain).hexdigest()


def test_one_bit_changes_the_hash():
    weight = np.ones(1000, np.float32)
    other = weight.copy()
    other[500] = np.nextafter(np.float32(1), np.float32(2))
    assert weights_digest.weights_sha256([weight]) != weights_digest.weights_sha256([other])
