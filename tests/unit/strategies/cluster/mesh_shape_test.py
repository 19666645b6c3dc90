"""Does every worker of a mesh have one place, and is a bad flag refused?"""

import numpy as np
import pytest

from strategies.cluster.mesh_shape import MeshShape, ModelPart, parse
from strategies.errors import ClusterError


def test_the_number_of_data_groups_follows_from_the_workers():
    assert parse("model:2", 4) == parse("data:2,model:2", 4) == MeshShape(2, 2)
    assert parse("model:4", 4) == MeshShape(1, 4)


def test_a_single_process_may_have_any_mesh():
    assert parse("model:2", 1) == MeshShape(1, 2)
    assert parse("data:4,model:2", 1) == MeshShape(4, 2)


def test_every_worker_has_one_part_of_one_group():
    shape = MeshShape(data=2, model=3)
    places = [(shape.group(rank), shape.part(rank).place) for rank in range(6)]
    assert places == [(0, 0), (0, 1), (0, 2), (1, 0), (1, 1), (1, 2)]
    assert shape.model_peers(4) == [3, 4, 5] and shape.data_peers(4) == [1, 4]


def test_parts_are_neighbouring_slices_that_make_up_the_array():
    array = np.arange(24).reshape(2, 12)
    parts = [ModelPart(place, 3).of(array, 1) for place in range(3)]
    np.testing.assert_array_equal(np.concatenate(parts, 1), array)
    assert [part.shape for part in parts] == [ModelPart(0, 3).shape((2, 12), 1)] * 3
    assert ModelPart(1, 3).whole((2, 4), 1) == (2, 12)
    assert ModelPart(1, 3).of(array, None) is array


@pytest.mark.parametrize("text", ["model", "2", "model:0", "model:x", "data:2", "model:2,model:2"])
def test_what_is_no_mesh_is_refused(text):
    with pytest.raises(ClusterError, match="`--mesh` must be model:M or data:D,model:M"):
        parse(text, 4)


@pytest.mark.parametrize(
    ("text", "workers"), [("model:3", 4), ("data:2,model:4", 4), ("model:8", 4)]
)
def test_a_mesh_that_leaves_workers_without_a_place_is_refused(text, workers):
    with pytest.raises(ClusterError, match="a place for each of the 4 workers"):
        parse(text, workers)
