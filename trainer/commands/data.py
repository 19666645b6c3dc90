"""What does `python -m trainer data SOURCE` do? It prepares a source, and prints what is in it.

The columns that a config asks for are written where later runs find and memory-map them. A source that
was prepared and has not changed is only printed.
"""

import sys

from strategies.errors import EXIT_DONE
from trainer.cli.options import DataOptions
from trainer.config import load as config_load
from trainer.config.fields import ConfigError
from trainer.config.schema import DataConfig
from trainer.data import address as address_lib
from trainer.data import source_data
from trainer.data.dataset import Dataset
from trainer.data.merge import Column, Merged
from trainer.data.prepared import prepare
from trainer.data.prepared.folder import Folder
from trainer.data.selection import TARGET
from trainer.process import console
from trainer.reporting.terminal import Block, is_terminal

_CLASSES_SHOWN = 20
_BAR = 40  # Characters.


def run(options: DataOptions) -> int:
    """Returns the exit code. Raises InputError."""
    named = {"data.source": options.source} if options.source else {}
    config = config_load.resolve(options.config, {**options.overrides, **named}).data
    if not config.source:
        raise ConfigError(
            "`data` must be told what to prepare. Received: none; write KIND:WHAT after it, one of "
            f"{', '.join(f'{kind}:' for kind in address_lib.kinds())}"
        )
    folder = _prepared(config)
    merged = folder.open()
    dataset = source_data.dataset(address_lib.parse(config), merged)
    console.print_result("\n".join(report(folder, merged, dataset)))
    return EXIT_DONE


def _prepared(config: DataConfig) -> Folder:
    address = address_lib.parse(config)
    opened = address.open()
    selection = source_data.select(address, opened)
    if not is_terminal(sys.stderr):
        return prepare.prepare(address, opened, selection)
    block = Block(sys.stderr)

    def progress(done: float, what: str) -> None:
        bar = ("#" * round(_BAR * done)).ljust(_BAR)
        block.draw([f"[{bar}] {100 * done:3.0f} %  {what}"])

    try:
        return prepare.prepare(address, opened, selection, progress)
    finally:
        block.clear()


def report(folder: Folder, merged: Merged, dataset: Dataset) -> list[str]:
    """What is in prepared data, a line for each column, and the balance of the classes."""
    lines = [f"prepared   {folder.path}", f"examples   {dataset.description}"]
    for split, columns in merged.splits.items():
        lines += [_shown(split, name, column) for name, column in columns.items()]
    for split, columns in merged.splits.items():
        if counts := columns[TARGET].statistics.counts:
            lines += _balance(split, counts, merged.classes)
    lines.append(f"train on   --config.data.source={folder_source(folder)}")
    return lines


def folder_source(folder: Folder) -> str:
    """The source as it is named, with absolute paths."""
    recorded = folder.manifest["source"]
    given = [f"{name}={value}" for name, value in recorded["options"].items() if value]
    return f"{recorded['kind']}:{','.join([*recorded['items'], *given])}"


def _shown(split: str, name: str, column: Column) -> str:
    array, known = column.array, column.statistics
    numbers = f", {known.low:g} to {known.high:g}" if array.dtype.kind in "iufb" else ""
    shape = ", ".join(map(str, array.shape))
    return f"{split:<10} {name}: {array.dtype} [{shape}]{numbers}, sha256 {known.sha256[:16]}"


def _balance(split: str, counts: tuple[int, ...], classes: tuple[str, ...]) -> list[str]:
    total, most = sum(counts), sorted(range(len(counts)), key=lambda one: -counts[one])
    shown = [
        f"{classes[one] if classes else one} {counts[one]:,} ({counts[one] / total:.1%})"
        for one in sorted(most[:_CLASSES_SHOWN])
    ]
    more = (
        f" and {len(counts) - _CLASSES_SHOWN} more classes" if len(counts) > _CLASSES_SHOWN else ""
    )
    lines = [f"{split:<10} classes: {', '.join(shown)}{more}"]
    if empty := [
        str(classes[one] if classes else one) for one in range(len(counts)) if not counts[one]
    ]:
        lines.append(f"warning    no example to {split} on has class {', '.join(empty[:10])}")
    return lines
