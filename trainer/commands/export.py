"""What does `python -m trainer export` do? It writes a run's model to WORKDIR/export, and measures it.

A table compares the checkpoint with what was written: metrics on the test set, size, and time of a call.
Beside the export a JSON file says what goes in and comes out; `predict` reads it.
"""

from pathlib import Path
from typing import Any

from strategies import tensorflow_import
from strategies.errors import EXIT_DONE
from trainer.cli.options import ExportOptions
from trainer.export import formats
from trainer.export.formats import ExportError, Format
from trainer.process import console
from trainer.reporting.format import align
from trainer.storage import locate
from trainer.storage.atomic_files import write_json
from trainer.storage.workdir import Workdir

_FOLDER = "export"


def run(options: ExportOptions) -> int:
    """Writes the export and prints the table; returns the exit code. Raises InputError."""
    chosen = formats.check(options.format, options.quantize)
    if "://" in options.workdir:
        raise ExportError(
            f"`--workdir` must be a local folder for `export`. Received: {options.workdir!r}; copy the "
            "run's folder here first."
        )
    with locate.open_workdir(options.workdir).open_readonly() as workdir:
        path = workdir.path / _FOLDER / chosen.name_with(options.quantize)
        rows = _export(options, chosen, workdir, path)
        _note(workdir, path)
    console.print_result(_table(rows))
    return EXIT_DONE


def _export(
    options: ExportOptions, chosen: Format, workdir: Workdir, path: Path
) -> dict[str, dict[str, Any]]:
    config = workdir.read_config()
    with tensorflow_import.quietly():
        from trainer.export import measure, trained

        trained.use_cpu()
    source = trained.trained(options, config, workdir)
    program, test, model = source.program, source.dataset.test, source.model
    size = sum(weight.numpy().nbytes for weight in model.weights)
    found = measure.measured(formats.called(model), program, test)
    rows = {f"step {source.step}": found | {"bytes": size}}
    path.parent.mkdir(exist_ok=True)
    formats.remove(path)
    with formats.reported(f"`--format={options.format}`", "take another format"):
        chosen.write(model, path, options.quantize)
        # Weights alone are measured in the model that they are of, quantized as they are.
        call = chosen.load(path) if chosen.load else formats.called(model)
        found = measure.measured(call, program, test)
    rows[path.name] = found | {"bytes": measure.size_bytes(path)}
    about = {"format": options.format, "quantize": options.quantize, "step": source.step}
    write_json(formats.about(path), about | {"measured": rows} | source.signature.as_json())
    return rows


def _note(workdir: Workdir, path: Path) -> None:
    """Adds the export to summary.json, where the run has finished."""
    summary = workdir.read_summary()
    if not summary:
        return
    exports = {*summary.get("exports", ()), str(path.relative_to(workdir.path))}
    write_json(workdir.summary, summary | {"exports": sorted(exports)})


def _table(rows: dict[str, dict[str, Any]]) -> str:
    """A line for each model, with its figures in columns."""
    names = list(next(iter(rows.values())))
    cells = [["", *names]]
    cells += [[name, *(_shown(figures[one]) for one in names)] for name, figures in rows.items()]
    return "\n".join(align(cells))


def _shown(value: Any) -> str:
    return f"{value:,}" if isinstance(value, int) else f"{value:.4f}"
