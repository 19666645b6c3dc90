"""Are images changed as `data.augment` says, by their seed, index and visits alone?"""

import numpy as np
import pytest
from scipy import ndimage, stats

from trainer.data import augment
from trainer.data.dataset import DataError, Split
from trainer.data.image_augment import ImageAugmentation

ALL = "mixup:0.4,crop:0.8,rotate:20,flip,shift:2,cutout:4"


def _images(count=200, shape=(12, 10), dtype=np.uint8):
    rng = np.random.default_rng(0)
    return (rng.random((count, *shape)) * 255).astype(dtype)


def _changed(changes, images, indices=None, visits=0, seed=3):
    split = Split(images, np.arange(len(images)))
    indices = np.arange(len(images)) if indices is None else np.asarray(indices)
    found = images[indices]
    one = ImageAugmentation(changes, split, seed)
    one((found, indices), indices, np.broadcast_to(visits, indices.shape))
    return found


@pytest.mark.parametrize(
    "changes", [ALL, "flip,shift:3", "cutout:5", "mixup", "rotate", "crop:0.5"]
)
@pytest.mark.parametrize("shape, dtype", [((12, 10), np.uint8), ((12, 10, 3), np.float32)])
def test_an_image_is_changed_by_its_seed_index_and_visits_alone(changes, shape, dtype):
    images = _images(150, shape, dtype)
    whole = _changed(changes, images)
    assert (
        whole.dtype == dtype and whole.shape == images.shape and not np.array_equal(whole, images)
    )
    for indices in ([7], [149, 3, 3], np.arange(100).reshape(10, 10)):
        assert np.array_equal(_changed(changes, images, indices), whole[np.asarray(indices)])
    assert not np.array_equal(_changed(changes, images, visits=1), whole)
    assert not np.array_equal(_changed(changes, images, seed=4), whole)


def test_a_shift_moves_whole_pixels_evenly_in_all_directions():
    images = _images()
    found, moves = _changed("shift:2", images), []
    for before, after in zip(images, found, strict=True):
        fitting = [
            (down, right)
            for down in range(-2, 3)
            for right in range(-2, 3)
            if np.array_equal(ndimage.shift(before, (down, right), order=0), after)
        ]
        assert len(fitting) == 1
        moves += fitting
    assert len({*moves}) == 25 and max(map(moves.count, moves)) < 25


def test_a_flip_is_one_of_two():
    images = _images()
    found = _changed("flip", images)
    flipped = (found == images[:, :, ::-1]).all(axis=(1, 2))
    assert ((found == images).all(axis=(1, 2)) ^ flipped).all() and 70 < flipped.sum() < 130
    assert np.array_equal(_changed("flip:1", images), images[:, :, ::-1])


def test_a_rotation_is_scipys():
    images = _images(20, (21, 21))
    images = ndimage.gaussian_filter(images.astype(np.float32), (0, 2, 2))
    found = _changed("rotate:30", images)
    inner = slice(5, -5)  # Where both know all pixels.
    for before, after in zip(images, found, strict=True):
        turned = (
            ndimage.rotate(before, angle, reshape=False, order=1)
            for angle in np.linspace(-30, 30, 121)
        )
        errors = [np.abs(one[inner, inner] - after[inner, inner]).max() for one in turned]
        assert min(errors) < 1.0 < max(errors)


def test_a_crop_without_a_rest_changes_nothing_and_another_enlarges():
    images = _images(50, (21, 21), np.float32)
    assert np.allclose(_changed("crop:1", images), images, atol=1e-3)
    ramp = np.broadcast_to(np.arange(21, dtype=np.float32), (50, 21, 21))
    steps = np.diff(_changed("crop:0.5", np.ascontiguousarray(ramp))[:, 10, 5:-5], axis=1)
    assert np.allclose(steps, steps[:, :1], atol=1e-3)  # Each image by one factor.
    assert 0.5 <= steps.min() < 0.6 and 0.9 < steps.max() <= 1.0001


def test_a_cutout_is_a_square_of_zeros():
    images = np.full((300, 12, 10), 9, np.uint8)
    zeros = (_changed("cutout:4", images) == 0).sum(axis=(1, 2))
    assert zeros.max() == 16 and zeros.min() >= 4


def test_mixup_takes_its_ratios_from_a_beta_distribution():
    images = np.repeat(np.array([1, 0], np.float32), 2000).reshape(-1, 1, 1)
    ratios = _changed("mixup:0.4", images)[:2000, 0, 0]
    ratios = ratios[ratios < 1.0]  # Where the other image is one of zeros.
    assert 900 < len(ratios) < 1100
    assert stats.kstest(ratios, stats.beta(1.4, 0.4).cdf).pvalue > 1e-3


@pytest.mark.parametrize(
    "features, changes, message",
    [
        (np.zeros((4, 9)), "flip", r"unless the features are images.*Received: float64 \[9\]"),
        ({"a": np.zeros((4, 9, 9))}, "flip", "Received: columns by name"),
        (np.zeros((4, 8, 9)), "cutout:8", "have less than 8 for cutout, as images are 8 x 9"),
    ],
)
def test_what_is_no_image_is_refused(features, changes, message):
    with pytest.raises(DataError, match=message):
        augment.of(None, Split(features, np.zeros(4)), 0, changes)
