"""Has every name something, and everything a name?"""

from strategies.sync import compression, modes, names
from strategies.sync.outer import Outer


def test_modes_have_names_and_say_alike_which_train_apart():
    assert tuple(modes.MODES) == names.MODES
    apart = [name for name, mode in modes.MODES.items() if mode.trains_apart]
    assert tuple(apart) == names.APART


def test_compressions_and_outer_optimizers_have_names():
    assert tuple(compression.KINDS) == names.COMPRESSIONS
    for kind in names.OUTERS:
        assert Outer(kind).steps([1.0], [])[0]
