"""What is in a folder of .npy files? One array for each file, which is memory-mapped.

`npy:DIR`: the files x_train.npy, y_train.npy, x_test.npy and y_test.npy are two splits, x.npy and y.npy
a single one. The files may also be listed: `npy:x.npy,y.npy`.
"""

import numpy as np

from trainer.data.address import Address
from trainer.data.sources import files
from trainer.data.table import Arrays, Opened, by_split, check_lengths


def open_source(address: Address) -> Opened:
    paths = files.found(address, in_folder="*.npy")
    columns = {}
    for path in paths:
        with files.reported(address, path):
            columns[path.stem] = np.load(path, mmap_mode="r", allow_pickle=False)
    splits = by_split(str(address), columns)
    for split, own in splits.items():
        check_lengths(str(address), split, own)
    return Opened({split: Arrays(own) for split, own in splits.items()}, paths)
