"""How well is a rare class found, without and with each of the options against imbalance?

    python -m benchmarks.imbalance FOLDER

MNIST with one class cut to 1 %: 59 images of an 8 among 54,208. 784-128-10 is trained by each option,
with three seeds, and tested on the whole test set. It prints the rows of the table in docs/imbalance.md:
the mean of three runs, the smallest and the largest. FOLDER keeps the data and the runs; a second start
resumes.
"""

import dataclasses
import json
import pathlib
import statistics
import subprocess
import sys
from typing import Any

import numpy as np

from trainer.cli.option_groups import CheckpointOptions
from trainer.config.schema import DataConfig
from trainer.data import registry
from trainer.storage import locate

_RARE, _KEPT, _SEEDS, _EPOCHS = 8, 0.01, 3, 5
_BALANCED = "--config.data.class_weights=balanced"
_RESAMPLED = "--config.data.resample=balanced"
_AUGMENTED = "--config.data.augment=shift:2,rotate:10"
OPTIONS = {
    "none": (),
    "`data.class_weights=balanced`": (_BALANCED,),
    "`data.class_weights=8:10`": ("--config.data.class_weights=8:10",),
    "`data.example_weights=weight` (10 for an 8)": ("--config.data.example_weights=weight",),
    "`data.resample=balanced`": (_RESAMPLED,),
    "`train.focal_gamma=2`": ("--config.train.focal_gamma=2",),
    "`data.augment=shift:2,rotate:10`": (_AUGMENTED,),
    "`data.augment=mixup`": ("--config.data.augment=mixup",),
    "`class_weights=balanced` and `augment=shift:2,rotate:10`": (_BALANCED, _AUGMENTED),
    "`resample=balanced` and `augment=shift:2,rotate:10`": (_RESAMPLED, _AUGMENTED),
    "`resample=balanced` and `augment=mixup`": (_RESAMPLED, "--config.data.augment=mixup"),
}


@dataclasses.dataclass(frozen=True)
class Found:
    """Of one run, on the test set."""

    recall: float
    precision: float
    accuracy: float


def main() -> None:
    folder = pathlib.Path(sys.argv[1]).absolute()
    folder.mkdir(parents=True, exist_ok=True)
    source = folder / "imbalanced.npz"
    if not source.exists():
        _write(source)
    print(f"| option | recall of {_RARE} | precision of {_RARE} | accuracy |\n|---|---|---|---|")
    for number, (name, flags) in enumerate(OPTIONS.items()):
        found = _trained(folder / str(number), source, flags)
        shown = [_shown([getattr(one, field) for one in found]) for field in _FIELDS]
        print(f"| {name} | {' | '.join(shown)} |", flush=True)


_FIELDS = [field.name for field in dataclasses.fields(Found)]


def _write(path: pathlib.Path) -> None:
    """The arrays of MNIST without most of the rare class, which weighs 10 in the column `weight`."""
    mnist = registry.load(DataConfig("mnist"))
    labels = mnist.train.targets
    rare = np.flatnonzero(labels == _RARE)
    kept = np.sort([*np.flatnonzero(labels != _RARE), *rare[: round(_KEPT * len(rare))]])
    columns: dict[str, Any] = {
        f"{kind}_{split}": array
        for split, own, rows in (("train", mnist.train, kept), ("test", mnist.test, slice(None)))
        for kind, array in (
            ("x", own.features[rows]),
            ("y", own.targets[rows]),
            ("weight", np.where(own.targets[rows] == _RARE, 10, 1).astype(np.float32)),
        )
    }
    np.savez(path, **columns)


def _trained(workdir: pathlib.Path, source: pathlib.Path, flags: tuple[str, ...]) -> list[Found]:
    """Trains once for each seed."""
    command = [sys.executable, "-m", "trainer", "tune", "--config=mnist_dense", "--tuner=grid"]
    command += [f"--workdir={workdir}", f"--config.data.source=npz:{source}"]
    command += ["--config.data.features=x", f"--config.train.epochs={_EPOCHS}"]
    command += [f"--space.train.seed={'|'.join(map(str, range(_SEEDS)))}", *flags]
    subprocess.run(command, check=True, stdout=sys.stderr)
    trials = json.loads((workdir / "trials.json").read_text())
    return [_measured(workdir / trial["workdir"]) for trial in trials]


def _measured(workdir: pathlib.Path) -> Found:
    from trainer.export import trained

    with locate.open_workdir(str(workdir)).open_readonly() as opened:
        run = trained.trained(CheckpointOptions(), opened.read_config(), opened)
    test = run.dataset.test
    guessed = np.argmax(run.model.predict(np.asarray(test.features), verbose=0), axis=1)
    is_rare, is_guessed = test.targets == _RARE, guessed == _RARE
    return Found(
        float(is_guessed[is_rare].mean()),
        float(is_rare[is_guessed].mean()) if is_guessed.any() else float("nan"),
        float((guessed == test.targets).mean()),
    )


def _shown(values: list[float]) -> str:
    return f"{statistics.fmean(values):.3f} ({min(values):.3f} to {max(values):.3f})"


if __name__ == "__main__":
    main()
