"""Is TensorFlow imported without what Keras alone wants, which can still be imported afterwards?"""

import gc
import subprocess
import sys

import pytest

from strategies import tensorflow_import

_SCRIPT = """
import gc, sys
from strategies import tensorflow_import

with tensorflow_import.quietly():
    import keras, tensorflow
print({"sklearn", "matplotlib", "pandas"} & {*sys.modules}, gc.get_freeze_count() == 0)

import matplotlib.pyplot, pandas
from sklearn.linear_model import LinearRegression
with tensorflow_import.quietly():
    import pandas
print(sys.modules["sklearn"].__version__, LinearRegression().fit([[0], [1]], [0, 2]).coef_[0])
"""


def test_what_keras_alone_wants_is_not_imported_until_it_is_imported_explicitly():
    done = subprocess.run(
        [sys.executable, "-c", _SCRIPT], capture_output=True, text=True, timeout=120, check=True
    )
    first, second = done.stdout.splitlines()
    assert first == "set() True"
    assert abs(float(second.split()[1]) - 2) < 1e-12


def test_garbage_is_collected_again_after_an_import_and_one_that_fails():
    with tensorflow_import.quietly():
        assert not gc.isenabled()
    assert gc.isenabled()
    with pytest.raises(ImportError), tensorflow_import.quietly():
        raise ImportError("no")
    assert gc.isenabled()
