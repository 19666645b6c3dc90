"""What does each kind of regularisation do on a small training set, by cross-validation?

    python -m benchmarks.regularisation FOLDER

784-128-10 is trained on the first 1,000 images of MNIST, in five stratified folds of 200, by each
option. It prints the rows of the table in docs/regularisation.md. FOLDER keeps the runs; a second start
resumes.
"""

import json
import pathlib
import statistics
import subprocess
import sys

_COMMON = (
    "--config=mnist_dense", "--config.data.train_examples=1000", "--config.train.epochs=40",
    "--folds=5", "--stratified", "--parallel_trials=2",
)  # fmt: skip
OPTIONS = {
    "none": (),
    "model.l1=0.00001": ("--config.model.l1=0.00001",),
    "model.l2=0.0001": ("--config.model.l2=0.0001",),
    "model.dropout=0.5": ("--config.model.dropout=0.5",),
    "train.label_smoothing=0.1": ("--config.train.label_smoothing=0.1",),
    "early_stopping.patience=3": (
        "--config.early_stopping.patience=3",
        "--config.data.validation_fraction=0.1",
    ),
    "data.augment=shift:2,rotate:10": ("--config.data.augment=shift:2,rotate:10",),
    "dropout, l2 and augment": (
        "--config.model.dropout=0.5",
        "--config.model.l2=0.0001",
        "--config.data.augment=shift:2,rotate:10",
    ),
}


def main() -> None:
    folder = pathlib.Path(sys.argv[1]).absolute()
    print("| option | accuracy | loss | loss in training | steps |\n|---|---|---|---|---|")
    for number, (name, flags) in enumerate(OPTIONS.items()):
        workdir = folder / str(number)
        command = [sys.executable, "-m", "trainer", "cross_validate", f"--workdir={workdir}"]
        subprocess.run([*command, *_COMMON, *flags], check=True, stdout=sys.stderr)
        found = json.loads((workdir / "cross_validation.json").read_text())["metrics"]
        shown = [
            f"{one['mean']:.4f} ± {one['std']:.4f}" for one in (found["accuracy"], found["loss"])
        ]
        runs = [json.loads(path.read_text()) for path in workdir.glob("trials/*/summary.json")]
        losses = statistics.fmean(run["final_loss"] for run in runs)
        steps = statistics.fmean(run["steps"] for run in runs)
        print(f"| `{name}` | {' | '.join(shown)} | {losses:.4f} | {steps:.0f} |", flush=True)


if __name__ == "__main__":
    main()
