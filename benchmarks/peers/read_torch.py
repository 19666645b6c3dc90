"""PyTorch's DataLoader at its best on these files, as its users know it.

Arrays are tensors in memory, and a sampler of whole batches has each fetched by one index operation,
instead of collating examples. A persistent worker process for each core decodes pictures. PyTorch has a
thread for each core.
"""

import os
import pathlib

import numpy as np
import torch
from torch.utils.data import BatchSampler, DataLoader, Dataset, RandomSampler

from benchmarks.reading import Reading, report


class Arrays(Dataset):
    def __init__(self, reading: Reading):
        path = pathlib.Path(reading.path)
        if reading.kind == "npz":
            with np.load(path) as found:
                features, classes = found["x_train"], found["y_train"]
        elif reading.kind == "npy":
            features, classes = np.load(path / "x_train.npy"), np.load(path / "y_train.npy")
        else:
            table = np.loadtxt(path, np.float32, delimiter=",", skiprows=1)
            features, classes = table[:, :-1], table[:, -1].astype(np.int64)
        self.features, self.classes = map(torch.from_numpy, (features, classes))

    def __len__(self) -> int:
        return len(self.classes)

    def __getitem__(self, rows):
        return self.features[rows], self.classes[rows]


class Pictures(Dataset):
    def __init__(self, reading: Reading):
        self.paths = sorted(pathlib.Path(reading.path).glob("*/*.png"))
        self.classes = sorted({path.parent.name for path in self.paths})

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, row: int):
        from PIL import Image

        path = self.paths[row]
        return torch.from_numpy(np.array(Image.open(path))), self.classes.index(path.parent.name)


def main() -> None:
    reading, cores = Reading.from_args(), len(os.sched_getaffinity(0))
    torch.set_num_threads(cores)
    if reading.kind == "images":
        loader = DataLoader(
            Pictures(reading),
            reading.batch,
            shuffle=True,
            num_workers=cores,
            persistent_workers=True,
        )
    else:
        arrays = Arrays(reading)
        rows = BatchSampler(RandomSampler(arrays), reading.batch, drop_last=False)
        loader = DataLoader(arrays, sampler=rows, batch_size=None)
    report(reading, lambda: float(sum(float(x.to(torch.float32).sum()) for x, _ in loader)))


if __name__ == "__main__":
    main()
