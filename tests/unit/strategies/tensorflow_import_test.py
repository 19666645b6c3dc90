"""Is TensorFlow imported without scikit-learn, which can still be imported afterwards?"""

import subprocess
import sys

_SCRIPT = """
import sys
from strategies import tensorflow_import

with tensorflow_import.quietly():
    import keras, tensorflow
print("sklearn" in sys.modules)

from sklearn.linear_model import LinearRegression
with tensorflow_import.quietly():
    pass
print(sys.modules["sklearn"].__version__, LinearRegression().fit([[0], [1]], [0, 2]).coef_[0])
"""


def test_scikit_learn_is_not_imported_until_it_is_imported_explicitly():
    done = subprocess.run(
        [sys.executable, "-c", _SCRIPT], capture_output=True, text=True, timeout=120, check=True
    )
    first, second = done.stdout.splitlines()
    assert first == "False"
    assert abs(float(second.split()[1]) - 2) < 1e-12
