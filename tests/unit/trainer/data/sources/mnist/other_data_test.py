"""Is another data set under MNIST's names called by its name?"""

import pytest

from trainer.data.dataset import DataError
from trainer.data.sources.mnist import locate


@pytest.mark.parametrize("size, name", [(29515, "Fashion-MNIST"), (29497, "KMNIST"), (29514, "")])
def test_the_files_of_another_data_set_are_named(tmp_path, size, name):
    path = tmp_path / "train-labels-idx1-ubyte.gz"
    path.write_bytes(bytes(size))
    with pytest.raises(DataError) as caught:
        locate._check_raw_file(path)
    expected = (
        f"Received: the file of this name of {name}; read {name} with" if name else "is damaged"
    )
    assert expected in str(caught.value)
