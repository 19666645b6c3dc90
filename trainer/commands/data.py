"""What does `python -m trainer data SOURCE|CONFIG` do? It prepares a source, and prints what is in it.

The columns that a config asks for are written where later runs find and memory-map them. A source that
was prepared and has not changed is only printed. With a partition it divides the training examples of a
source or a config into shares, as a run would, and prints and draws these.
"""

from pathlib import Path

from strategies.errors import EXIT_DONE
from trainer.cli.options import DataOptions
from trainer.config import load as config_load
from trainer.config.fields import ConfigError, short_json
from trainer.config.schema import DataConfig, ExperimentConfig
from trainer.data import address as address_lib
from trainer.data import recipe_data, source_data
from trainer.data.dataset import Dataset
from trainer.data.merge import Column, Merged
from trainer.data.prepared import prepare
from trainer.data.prepared.folder import Folder
from trainer.data.selection import TARGET
from trainer.order import label_mix, partition
from trainer.process import console
from trainer.process import report as report_lib
from trainer.reporting import plot_style, shares, shares_picture

_CLASSES_SHOWN = 20


def run(options: DataOptions) -> int:
    """Returns the exit code. Raises InputError."""
    config = config_load.resolve(options.config, {**options.overrides, **_named(options)})
    is_divided = config.data.partition != "none"
    if not config.data.source and not is_divided:
        raise ConfigError(
            "`data` must be told what to prepare. Received: none; write KIND:WHAT after it, one of "
            f"{', '.join(f'{kind}:' for kind in address_lib.kinds())}, or a recipe and --partition=..."
        )
    picture = _picture(options) if is_divided else None
    classes: tuple[str, ...] = ()
    if config.data.source:
        folder = _prepared(config.data)
        merged = folder.open()
        dataset = source_data.dataset(address_lib.parse(config.data), merged)
        console.print_result("\n".join(report(folder, merged, dataset)))
        classes = merged.classes
    if is_divided:
        console.print_result("\n".join(_divided(config, classes, picture)))
    return EXIT_DONE


def _named(options: DataOptions) -> dict[str, str]:
    """The fields of the config that have flags of their own."""
    given = {
        "data.source": options.source,
        "data.partition": options.partition,
        "data.partitions": str(options.partitions or ""),
    }
    return {name: value for name, value in given.items() if value}


def _picture(options: DataOptions) -> Path | None:
    """Where the shares are drawn. Raises ConfigError where that is no picture's name."""
    if options.picture and not options.picture.lower().endswith(shares_picture.ENDINGS):
        raise ConfigError(
            f"`--picture` must end in {' or '.join(shares_picture.ENDINGS)}. Received: "
            f"{short_json(options.picture)}; try --picture=shares.png."
        )
    return Path(options.picture) if options.picture else None


def _divided(config: ExperimentConfig, classes: tuple[str, ...], picture: Path | None) -> list[str]:
    """The lines about the shares that a run of this config would have. Draws them."""
    dataset = recipe_data.load(config)
    found = partition.of(config, dataset)
    mix = label_mix.of(dataset, found, classes)
    lines = [] if config.data.source else [f"examples   {dataset.description}"]
    lines.append(f"shares     {shares.one_sentence(found, mix)}")
    lines += [f"{'':11}{line}" for line in shares.table(found, mix)]
    if picture and plot_style.is_possible():
        shares_picture.write(picture, found, mix)
        lines.append(f"picture    {picture}")
    elif picture:
        lines.append(f"picture    none: {plot_style.INSTALL}")
    return lines


def _prepared(config: DataConfig) -> Folder:
    address = address_lib.parse(config)
    opened = address.open()
    selection = source_data.select(address, opened)
    return prepare.prepare(
        address, opened, selection, lambda done, what: report_lib.progress(what, share=done)
    )


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
