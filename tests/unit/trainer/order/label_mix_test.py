"""Is the divergence of a share that of its classes from those of the whole data?"""

import numpy as np
import pytest
from scipy.spatial.distance import jensenshannon

from trainer.data.dataset import Dataset, Split
from trainer.order import label_mix
from trainer.order.partition import Partition
from trainer.reporting import shares, shares_picture

SHARES = Partition((np.array([0, 1, 2, 3]), np.array([4, 5])), "made")


def _data(targets, num_classes=0):
    split = Split(np.zeros((len(targets), 1), np.float32), targets)
    return Dataset("made", split, split, num_classes, 1, "made")


def test_the_divergence_is_the_square_of_scipys_distance():
    mix = label_mix.of(_data(np.array([0, 0, 1, 2, 2, 2], np.int32), 4), SHARES)
    assert mix.counts.tolist() == [[2, 1, 1, 0], [0, 0, 2, 0]]
    whole = mix.counts.sum(axis=0)
    wanted = [jensenshannon(counts, whole, base=2) ** 2 for counts in mix.counts]
    assert mix.divergence == pytest.approx(wanted, abs=1e-12)
    assert mix.mean_divergence == pytest.approx((4 * wanted[0] + 2 * wanted[1]) / 6)


def test_shares_of_one_mix_have_no_divergence_and_targets_without_classes_no_mix():
    even = label_mix.of(_data(np.array([0, 1, 0, 1, 0, 1], np.int32), 2), SHARES)
    assert even.divergence.tolist() == [0, 0]
    assert label_mix.of(_data(np.zeros((6, 3), np.float32)), SHARES) is None


def test_classes_of_a_recipe_may_be_any_integers():
    mix = label_mix.of(_data(np.array([-1, 1, -1, 10**9, 1, 1], np.int64)), SHARES)
    assert mix.names == ("-1", "1", "1000000000")
    assert mix.counts.tolist() == [[2, 1, 1], [0, 2, 0]]


def test_a_regressions_targets_are_counted_in_ranges():
    mix = label_mix.of(_data(np.arange(6, dtype=np.float32)[:, np.newaxis]), SHARES)
    assert mix.counts.sum() == 6 and mix.names[0].startswith("below ")
    assert mix.divergence.min() > 0


def test_a_table_has_a_row_for_each_share_and_says_what_it_leaves_out(tmp_path):
    data = _data(np.array([0, 0, 1, 2, 2, 2], np.int32), 4)
    mix = label_mix.of(data, SHARES, ["cat", "dog", "a name that is too long", "emu"])
    assert shares.table(SHARES, mix) == [
        "share  examples   part  divergence  most frequent labels",
        "    0         4  66.7%       0.049  cat 50%, dog 25%, a name that i... 25%",
        "    1         2  33.3%       0.311  a name that i... 100%",
    ]
    assert shares.table(SHARES, None, 1)[-1] == "and 1 more"
    for ending in shares_picture.ENDINGS:
        shares_picture.write(tmp_path / f"shares{ending}", SHARES, mix)
    assert (tmp_path / "shares.png").read_bytes().startswith(b"\x89PNG")
    assert b"<svg" in (tmp_path / "shares.svg").read_bytes()


def test_a_picture_of_many_classes_has_the_rare_ones_as_one(tmp_path):
    mix = label_mix.LabelMix(tuple(map(str, range(50))), np.arange(100).reshape(2, 50))
    names, counts = shares_picture._shown(mix)
    assert len(names) == 20 and names[-1] == "others"
    assert counts.sum(axis=1).tolist() == mix.counts.sum(axis=1).tolist()
