"""What does `python -m trainer predict` do? It answers for the examples in files, by a run or an export.

Each example gives one line of JSON, or a row of a table: the class and the probabilities, or the values.
"""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from strategies import tensorflow_import
from strategies.errors import EXIT_DONE
from trainer.cli.options import PredictOptions
from trainer.export import formats, read_files
from trainer.export.formats import ExportError, Predict
from trainer.process import console
from trainer.storage import locate
from trainer.storage.workdir import Workdir


def run(options: PredictOptions) -> int:
    """Prints the answers; returns the exit code. Raises InputError."""
    path = Path(options.workdir)
    if formats.about(path).is_file():
        predict, taken = _of_export(path)
    else:
        with locate.open_workdir(options.workdir).open_readonly() as workdir:
            predict, taken = _of_run(options, workdir)
    rows = [row for name in options.words for row in _answers(name, predict, taken)]
    shown = "\n".join(map(json.dumps, rows)) if options.show == "json" else _table(rows)
    console.print_result(shown)
    return EXIT_DONE


def _of_run(options: PredictOptions, workdir: Workdir) -> tuple[Predict, Any]:
    config = workdir.read_config()
    with tensorflow_import.quietly():
        from trainer.export import trained

        trained.use_cpu()
    source = trained.trained(options, config, workdir)
    return formats.called(source.model), source.signature


def _of_export(path: Path) -> tuple[Predict, Any]:
    with tensorflow_import.quietly():
        from trainer.export import serving, trained

        trained.use_cpu()
    try:
        about = json.loads(formats.about(path).read_text(encoding="utf-8"))
        taken, name = serving.Signature.from_json(about), about["format"]
    except (OSError, ValueError, KeyError) as error:
        raise ExportError(
            f"`{formats.about(path)}` must describe the export. Received: {type(error).__name__}; "
            "export it again."
        ) from None
    load = formats.check(name, "").load
    if not load:
        raise ExportError(
            f"`predict` needs a whole model. Received: {str(path)!r}, which has weights alone; "
            "export another format, or name the run's folder."
        )
    with formats.reported(f"reading {str(path)!r}", "export it again"):
        return load(path), taken


def _answers(name: str, predict: Predict, taken: Any) -> Iterator[dict[str, Any]]:
    from trainer.export import serving

    outputs = predict(read_files.examples(name, taken.inputs))
    single = not isinstance(outputs, Mapping)
    found = {
        key: serving.probabilities(outputs if single else outputs[key], kind)
        for key, kind in taken.outputs.items()
    }
    for index in range(len(next(iter(found.values())))):
        answers = {key: _answer(values[index], taken.outputs[key]) for key, values in found.items()}
        own = answers[next(iter(answers))] if single else answers
        yield {"file": name, "index": index, **own}


def _answer(values: np.ndarray, kind: str) -> dict[str, Any]:
    shown = np.round(values, 6).tolist()
    if kind == "logits":
        return {"class": np.argmax(values, axis=-1).tolist(), "probabilities": shown}
    if kind == "binary_logits":
        return {"class": (values > 0.5).astype(int).tolist(), "probabilities": shown}
    return {"values": shown}


def _table(rows: list[dict[str, Any]]) -> str:
    """A line for each example; its numbers shortened."""
    lines = []
    for row in rows:
        answer = {key: value for key, value in row.items() if key not in ("file", "index")}
        if "class" in answer and np.ndim(answer["class"]) == 0:
            best = answer["probabilities"][answer["class"]]
            shown = f"class {answer['class']}  probability {best:.4f}"
        else:
            shown = json.dumps(answer)
        lines.append(f"{row['file']}  {row['index']:>5}  {shown}")
    return "\n".join(lines)
