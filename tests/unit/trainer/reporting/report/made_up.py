"""What do tests draw? Workdirs with everything that a page shows, without a run."""

import json
import pathlib
from typing import Any

from trainer.config import schema
from trainer.config.schema import ExperimentConfig, TrainConfig
from trainer.storage.workdir import Workdir

BEGAN = 1_700_000_000.0
# A picture of one gray pixel.
PICTURE = (
    "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAAAAAA6fptVAAAACklEQVR4nGNoAAAAggCB"
    "d81ytgAAAABJRU5ErkJggg=="
)


def _lines(path: pathlib.Path, records: list[dict[str, Any]]) -> None:
    path.write_text("".join(f"{json.dumps(record)}\n" for record in records))


def workdir(folder: pathlib.Path, name: str = "made_up", seed: int = 0) -> Workdir:
    """A finished run of two workers, which was killed once and skipped a batch."""
    folder.mkdir()
    found = Workdir(folder)
    config = ExperimentConfig(name=name, train=TrainConfig(epochs=7, seed=seed))
    found.config.write_text(schema.to_json(config))
    events = []
    for step in range(10, 310, 10):
        time = BEGAN + step
        loss = 40.0 / (step + seed)
        common = {"step": step, "epoch": step / 10, "time": time}
        extra = {"staleness": 1.5, "bytes_sent": step * 4096}
        events.append(
            {"event": "train", "loss": loss, "learning_rate": 1e-3 / step, **extra, **common}
        )
        events.append(
            {"event": "validation", "loss": 1.1 * loss, "accuracy": 1 - 1 / step, **common}
        )
    events.append({"event": "eval", "step": 300, "epoch": 30, "time": BEGAN + 300, "loss": 0.2})
    _lines(found.metrics, events)
    for worker in (0, 1):
        _lines(folder / f"timeline-worker-{worker}.jsonl", _timeline())
    found.summary.write_text(json.dumps(_summary()))
    found.report_facts.write_text(json.dumps(_facts()))
    return found


def _timeline() -> list[dict[str, Any]]:
    pieces = [
        {"time": BEGAN + at, "step": at, "seconds": {"compute": 7, "exchange": 2, "save": 1}}
        for at in range(10, 310, 10)
    ]
    return [
        {"event": "start", "time": BEGAN - 5},
        {"time": BEGAN, "step": 0, "seconds": {"start": 4, "compile": 1}},
        {"event": "resume", "step": 0, "time": BEGAN},
        *pieces[:15],
        {"event": "skipped", "step": 140, "time": BEGAN + 151},
        {"event": "lost", "text": "worker 1 was lost (killed)", "time": BEGAN + 152},
        {"event": "start", "time": BEGAN + 160},
        {"event": "resume", "step": 145, "time": BEGAN + 161},
        *pieces[16:],
        {"event": "end", "text": "finished", "time": BEGAN + 300},
    ]


def _summary() -> dict[str, Any]:
    return {
        "strategy": "multi_worker",
        "reason": "TF_CONFIG has 2 tasks that train and no `ps`, so they add their gradients every step.",
        "steps": 300,
        "epochs": 30.0,
        "ended_by": {},
        "dataset_description": "made up examples & <labels>",
        "test_loss": 0.25,
        "test_accuracy": 0.9375,
        "examples_per_s": 12345.6,
        "weights_sha256": "ab" * 32,
    }


def _facts() -> dict[str, Any]:
    classes = {str(label): 20 + label for label in range(10)}
    confusion = [
        [(90 if row == column else (row * column) % 4) for column in range(10)] for row in range(10)
    ]
    mistake = {"index": 3, "picture": PICTURE, "truth": 4, "answer": 9, "probability": 0.98}
    number = {"index": 5, "text": "0.5, <b>1</b>", "truth": [1.0], "answer": [3.5]}
    return {
        "changed": {"train.epochs": [10, 7]},
        "versions": {"version": "0.1.0", "tensorflow": "2.21.0"},
        "parameters": 101770,
        "shares": [
            {"name": "train", "examples": 245, "labels": classes},
            {"name": "test", "examples": 40, "labels": {}},
        ],
        "partition_description": "2 shares of 20 to 225 examples, random",
        "partition": [
            {"name": "share 0", "examples": 20, "labels": {"0": 20}},
            {"name": "share 1", "examples": 225, "labels": classes},
        ],
        "answers": {
            "examples": 5000,
            "of": 10000,
            "outputs": [
                {"name": "digit", "kind": "classes", "right": 900, "confusion": confusion,
                 "confused": [[4, 9, 3]], "worst": [mistake] * 12},
                {"name": "many", "kind": "classes", "right": 10, "confused": [[41, 99, 3]], "worst": []},
                {"name": "sum", "kind": "values", "pairs": [[x / 9, x / 8] for x in range(99)],
                 "worst": [number]},
            ],
        },
    }  # fmt: skip
