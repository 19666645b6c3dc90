"""Which examples are similar?

`kmeans` and `dbscan` find groups by scikit-learn's algorithms, on principal components. Of large data
they learn from a sample, and each other example joins the nearest cluster. They use one thread, so the
result does not depend on the number of cores; its last bits do depend on the kind of processor, so one
task divides the data for all.
"""

import bisect
import contextlib
import dataclasses
import functools
import math
import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from trainer.order.divide import by_value, evened, halves_in_order, shuffled
from trainer.order.errors import PartitionError

KMEANS_COMPONENTS, DBSCAN_COMPONENTS = 50, 10
KMEANS_SAMPLE, DBSCAN_SAMPLE = 2**16, 2**13  # Examples.
_SAMPLE_BYTES = 2**30  # Of them, as float32.
_BLOCK = 2**13  # Other examples that are compared at once.
_BLOCK_BYTES = 64 << 20
# A share of more than this many times the mean size is a giant, which is halved.
KMEANS_GIANT, DBSCAN_GIANT = 5, 2
_QUANTILES = 20
_MIN_RADIUS = 1e-9  # Of points that are equal.
_CUT_AXES = 4  # Of the coordinates, those along which a cluster may be halved.
_STREAM = 0x73616D706C65  # The sample begins an order of its own.


@dataclasses.dataclass(frozen=True, eq=False)
class Clusters:
    """The examples of each group, and how they were found, in one sentence."""

    groups: list[np.ndarray]
    description: str


def kmeans(arrays: Sequence[Any], count: int, components: int, seed: int) -> Clusters:
    """`count` groups around the means that scikit-learn's KMeans finds.

    `arrays`: the features, [n, ...] each. Raises PartitionError where none has numbers.
    """
    from sklearn.cluster import KMeans

    with _one_thread():
        space = _Space(arrays, components or KMEANS_COMPONENTS, KMEANS_SAMPLE, seed)
        fitted = KMeans(min(count, len(space.sample)), random_state=seed).fit(space.sample_at)
        cluster_of = space.each(fitted.predict)
        cluster_of[space.sample] = fitted.labels_
    groups, largest = by_value(cluster_of), KMEANS_GIANT * -(-space.total // count)
    sizes = [*map(len, groups)]
    changed = len(sizes) < count or max(sizes) > largest
    found = f"; of {len(sizes)} clusters up to {max(sizes):,} some are halved or merged"
    return Clusters(
        evened(groups, count, space.halves, largest),
        f"k-means on {space.description}{found if changed else ''}",
    )


def dbscan(arrays: Sequence[Any], count: int, components: int, seed: int) -> Clusters:
    """`count` groups made of the dense regions that scikit-learn's DBSCAN finds.

    Noise joins the cluster of the nearest core point. Then the largest groups are halved, and the
    smallest merged, until there are `count` of at most twice the mean size. Raises as `kmeans`.
    """
    from sklearn.metrics import pairwise_distances_argmin

    with _one_thread():
        space = _Space(arrays, components or DBSCAN_COMPONENTS, DBSCAN_SAMPLE, seed)
        found = _densest(space.sample_at)
        core, core_at = found.labels[found.core], space.sample_at[found.core]
        if len(core):
            cluster_of = space.each(lambda at: core[pairwise_distances_argmin(at, core_at)])
        else:
            cluster_of = space.each(lambda at: np.zeros(len(at)))
    is_in = found.labels >= 0
    cluster_of[space.sample[is_in]] = found.labels[is_in]
    return Clusters(
        evened(by_value(cluster_of), count, space.halves, DBSCAN_GIANT * -(-space.total // count)),
        f"DBSCAN on {space.description}, {found}; noise joined the nearest cluster, the largest are "
        "halved and the smallest merged",
    )


@dataclasses.dataclass(frozen=True, eq=False)
class _Density:
    """What DBSCAN found: the cluster of each point, -1 for noise, and which are core points."""

    radius: float
    min_samples: int
    labels: np.ndarray
    core: np.ndarray

    def __str__(self) -> str:
        return (
            f"min_samples {self.min_samples}, eps {self.radius:.4g}: {self.labels.max() + 1} clusters, "
            f"the largest with {self.largest:.0%}, {self.noise:.0%} noise"
        )

    @property
    def noise(self) -> float:
        return float(np.mean(self.labels < 0))

    @property
    def largest(self) -> float:
        """The fraction of the points in the largest cluster."""
        return float(
            np.bincount(self.labels[self.labels >= 0], minlength=1).max() / len(self.labels)
        )


def _densest(at: np.ndarray) -> _Density:
    """DBSCAN with the settings by which the larger of its noise and its largest cluster is smallest.

    `min_samples` is twice the number of coordinates (Sander et al., "Density-Based Clustering in Spatial
    Databases", 1998). `eps` is one of 19 quantiles of the distance to the point of that number: the curve
    from which Ester et al., 1996, choose it by eye. With a larger eps there is less noise, and the
    largest cluster is larger, so the best is where they meet.
    """
    from sklearn.cluster import DBSCAN
    from sklearn.neighbors import NearestNeighbors

    min_samples = min(2 * at.shape[1], len(at))
    neighbors = NearestNeighbors(n_neighbors=min_samples).fit(at)
    distances = np.sort(neighbors.kneighbors(at)[0][:, -1])
    radii = distances[np.arange(1, _QUANTILES) * len(distances) // _QUANTILES]
    near = neighbors.radius_neighbors_graph(at, max(radii[-1], _MIN_RADIUS), mode="distance")

    @functools.cache
    def found(number: int) -> _Density:
        radius = max(float(radii[number]), _MIN_RADIUS)
        made = DBSCAN(eps=radius, min_samples=min_samples, metric="precomputed").fit(near)
        return _Density(radius, min_samples, made.labels_, made.core_sample_indices_)

    first = bisect.bisect_left(
        range(len(radii) - 1), True, key=lambda number: found(number).noise <= found(number).largest
    )
    return min(
        (found(number) for number in (max(first - 1, 0), first)),
        key=lambda one: max(one.noise, one.largest),
    )


class _Space:
    """The coordinates of `total` examples, in which they are compared: `sample_at` those of `sample`."""

    def __init__(self, arrays: Sequence[Any], components: int, max_sample: int, seed: int):
        self._arrays = [array for array in arrays if array.dtype.kind in "fiub"]
        if not self._arrays:
            raise PartitionError(
                "`data.partition` must be another than kmeans or dbscan for features without numbers. "
                f"Received: {', '.join(str(array.dtype) for array in arrays)}; try dirichlet."
            )
        widths = [math.prod(array.shape[1:]) for array in self._arrays]
        self.total, self._width = len(self._arrays[0]), sum(widths)
        size = min(self.total, max_sample, max(components, _SAMPLE_BYTES // (4 * self._width)))
        self.sample = np.sort(shuffled(np.arange(self.total), seed, _STREAM)[:size])
        rows = self._rows(self.sample)
        # The numbers of a table have units of their own. Those of a picture or a sequence have one.
        has_units = [array.ndim < 3 and array.dtype != np.uint8 for array in self._arrays]
        is_scaled = np.repeat(has_units, widths)
        spread = rows.std(axis=0)
        self._mean = np.where(is_scaled, rows.mean(axis=0), 0).astype(np.float32)
        self._scale = np.where(is_scaled & (spread > 0), spread, 1).astype(np.float32)
        self._pca = None
        what = f"{self._width} numbers"
        if self._width > components:
            from sklearn.decomposition import PCA

            self._pca = PCA(min(components, size), random_state=seed)
            self._pca.fit(self._scaled(rows))
            what = f"{min(components, size)} principal components of {what}"
        self.description = what + (f", of {size:,} examples" if size < self.total else "")
        self.sample_at = self._coordinates(rows)
        # The axes along which the sample varies most.
        self._axes = np.argsort(-self.sample_at.var(axis=0), kind="stable")[:_CUT_AXES]
        self._cut_at = np.empty((self.total, len(self._axes)), np.float32)

    def each(self, cluster_of: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
        """int32 [total]: the cluster of every example, by its coordinates."""
        found = np.empty(self.total, np.int32)
        rows = min(_BLOCK, max(1, _BLOCK_BYTES // (4 * self._width)))
        for start in range(0, self.total, rows):
            block = slice(start, min(start + rows, self.total))
            at = self._coordinates(self._rows(np.arange(block.start, block.stop)))
            found[block], self._cut_at[block] = cluster_of(at), at[:, self._axes]
        return found

    def halves(self, group: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The halves of a group, by the one of a few axes along which it varies most."""
        at = self._cut_at[group]
        along = at[:, np.argmax(at.var(axis=0))]
        return halves_in_order(group[np.argsort(along, kind="stable")])

    def _coordinates(self, rows: np.ndarray) -> np.ndarray:
        scaled = self._scaled(rows)
        return scaled if self._pca is None else self._pca.transform(scaled)

    def _scaled(self, rows: np.ndarray) -> np.ndarray:
        return (rows - self._mean) / self._scale

    def _rows(self, indices: np.ndarray) -> np.ndarray:
        """float32 [n, width]: the numbers of these examples, side by side."""
        parts = [np.asarray(array[indices], np.float32) for array in self._arrays]
        return np.concatenate([part.reshape(len(indices), -1) for part in parts], axis=1)


@contextlib.contextmanager
def _one_thread() -> Iterator[None]:
    """Inside it sums are in one order, whatever the number of cores."""
    import threadpoolctl

    with threadpoolctl.threadpool_limits(1), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Fewer clusters than asked for are made up for.
        yield
