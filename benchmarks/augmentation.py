"""What does each change of `data.augment` cost, alone and in a run?

    python -m benchmarks.augmentation

For each it prints the microseconds that one thread takes for an image of 28 x 28, the best of 15 batches
of 64, and the examples per second of a run of 784-128-10 on MNIST in batches of 64, the median of its
epochs after the first.
"""

import json
import pathlib
import statistics
import subprocess
import sys
import tempfile

import numpy as np

from trainer.data.dataset import Split
from trainer.data.image_augment import ImageAugmentation

_CHANGES = (
    "", "flip", "cutout", "mixup", "shift", "rotate", "shift,rotate",
    "mixup,crop,rotate,flip,shift,cutout",
)  # fmt: skip


def main() -> None:
    print("| change | µs for each image | examples/s of a run |\n|---|---|---|")
    for changes in _CHANGES:
        cost = f"{_cost(changes):.1f}" if changes else "–"
        print(f"| {changes or 'none'} | {cost} | {_speed(changes):,.0f} |", flush=True)


def _cost(changes: str) -> float:
    images = np.random.default_rng(0).integers(0, 256, (4096, 28, 28)).astype(np.uint8)
    one = ImageAugmentation(changes, Split(images, np.zeros(len(images))), seed=0)
    return 1e6 * min(one.check() for _ in range(15))


def _speed(changes: str) -> float:
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "trainer", "--config=mnist_dense", f"--workdir={folder}"]
        command += ["--config.train.epochs=6", f"--config.data.augment={changes}"]
        subprocess.run(command, check=True, capture_output=True)
        lines = pathlib.Path(folder, "metrics.jsonl").read_text().splitlines()
    events = [json.loads(line) for line in lines]
    speeds = [event["examples_per_s"] for event in events if event["event"] == "train"]
    return statistics.median(speeds[1:])


if __name__ == "__main__":
    main()
