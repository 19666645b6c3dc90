"""What are the embedded digits?

1,797 scans of handwritten digits that scikit-learn's package includes, so a first run needs no network.
They are not MNIST: a model trained on one data set does badly on the other.
"""

import importlib.util
import pathlib

import numpy as np

from trainer.data.dataset import DataConfig, Dataset, Split
from trainer.order.sample_order import SampleOrder

_DESCRIPTION = (
    "scikit-learn's 1,797 real handwritten digits, enlarged to 28 x 28 (not MNIST: "
    "for that, --config=mnist_dense): "
    "1,497 to train on and 300 to test on"
)
NUM_TRAIN = 1497
NUM_FEATURES = 28 * 28
_SIZE = 28  # MNIST's, so that one model fits both.


def load(config: DataConfig) -> Dataset:
    """uint8 images [1497, 28, 28] and [300, 28, 28] in 10 classes; the split never changes."""
    scans, classes = _scans()
    order = SampleOrder(len(scans), 1, seed=0).examples(0, np.arange(len(scans)))
    images, labels = _enlarge(scans)[order], classes[order]
    return Dataset(
        name="digits",
        train=Split(images[:NUM_TRAIN], labels[:NUM_TRAIN]),
        test=Split(images[NUM_TRAIN:], labels[NUM_TRAIN:]),
        num_classes=10,
        num_outputs=10,
        description=_DESCRIPTION,
        feature_scale=1 / 255,
    )


def describe(config: DataConfig) -> str:
    return f"{_DESCRIPTION}; embedded, no network needed"


def _scans() -> tuple[np.ndarray, np.ndarray]:
    """Images [1797, 8, 8] with values 0 to 16, and classes int32 [1797]."""
    # Read from the package's file: to import the package takes a second.
    path = _package_file()
    if not path:  # This version stores it elsewhere.
        from sklearn.datasets import load_digits

        digits = load_digits()
        return digits.images, digits.target.astype(np.int32)
    table = np.loadtxt(path, delimiter=",", dtype=np.int32)
    return table[:, :-1].reshape(-1, 8, 8), table[:, -1]


def _package_file() -> pathlib.Path | None:
    package = importlib.util.find_spec("sklearn")
    for folder in (package and package.submodule_search_locations) or ():
        path = pathlib.Path(folder, "datasets", "data", "digits.csv.gz")
        if path.exists():
            return path
    return None


def _enlarge(images: np.ndarray) -> np.ndarray:
    """uint8 [n, 28, 28], by nearest neighbour, from [n, 8, 8] with values 0 to 16."""
    nearest = (2 * np.arange(_SIZE) + 1) * images.shape[1] // (2 * _SIZE)
    grey = np.rint(images * (255 / 16)).astype(np.uint8)
    return grey[:, nearest][:, :, nearest]
