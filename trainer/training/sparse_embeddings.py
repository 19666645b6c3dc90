"""Which embeddings of this run are sent row by row, and in how many bytes?

`check_choice` asks the strategy, and `prepare` the model and its optimizer. `describe` says how each
table is sent.
"""

from typing import TYPE_CHECKING

from strategies.choose import Choice
from strategies.state import State
from strategies.traits import SlotHolder
from trainer.config.fields import ConfigError
from trainer.config.schema import ExperimentConfig
from trainer.data.dataset import Dataset
from trainer.process import report

if TYPE_CHECKING:  # It imports TensorFlow.
    from trainer.model.embedding_rows import Found
    from trainer.model.step import TrainingProgram

_CHOOSE = "leave it out, or choose sgd without momentum, or adagrad"


def check_choice(config: ExperimentConfig, choice: Choice) -> None:
    """Raises ConfigError where nothing is sent to parameter servers."""
    if config.ps.sparse_embeddings and choice.traits.slots is not SlotHolder.SERVERS:
        raise _error(
            f"with {choice.strategy}, which has no parameter servers",
            "leave it out, or start some, e.g. with `launch --ps=1`",
        )


def prepare(config: ExperimentConfig, program: "TrainingProgram", dataset: Dataset) -> None:
    """Has the program say which rows its steps read, where the config asks for it.

    Raises ConfigError where no rows can be sent, or with other weights.
    """
    if config.ps.sparse_embeddings:
        program.tables = _found(program, dataset).tables
        names = ", ".join(program.weight_names[index] for index in program.tables)
        report.common("embeddings | only the rows that a window uses are sent of %s", names)


def describe(config: ExperimentConfig, program: "TrainingProgram", dataset: Dataset) -> str:
    """A line for each table: how it is sent, and in how many bytes. Raises what `prepare` does."""
    import tensorflow as tf

    from strategies.parameter_server.tables import Tables

    found = _found(program, dataset)
    sample = dataset.train.first(config.data.global_batch_size)
    state = State(*program.shapes())
    tables = Tables(state, found.tables, servers=1)
    batch = tuple(tf.constant(array)[tf.newaxis] for array in (*sample.arrays, ()))
    used = [int(tf.size(rows)) for rows in tables.used(batch, 1)[0]]
    lines = []
    for index, number, row_bytes in zip(found.tables, used, tables.row_bytes, strict=True):
        rows = state.weights[index].shape[0]
        lines.append(
            f"{program.weight_names[index]}: by rows; {len(sample)} examples use {number:,} of {rows:,}, "
            f"{number * row_bytes:,} bytes instead of {rows * (row_bytes - 4):,}"
        )
    names = program.weight_names
    return "\n".join(lines + [f"{names[one]}: whole, as {why}" for one, why in found.whole.items()])


def _found(program: "TrainingProgram", dataset: Dataset) -> "Found":
    from trainer.model import elementwise, embedding_rows, zero_gradients

    found = embedding_rows.find(program, dataset.train.arrays)
    names, kind = program.weight_names, program.optimizers.description
    if not found.tables:
        whole = [f"`{names[index]}` is sent whole, as {why}" for index, why in found.whole.items()]
        raise _error(
            f"for a model that has no embedding of its features: {whole[0]}"
            if whole
            else "for a model without embeddings",
            "leave it out",
        )
    for index in found.tables:
        if what := zero_gradients.changed(program.optimizers, index):
            raise _error(
                f"for {kind}, which changes the {what.replace('_', ' ')} of all rows of `{names[index]}` "
                "in each step",
                _CHOOSE,
            )
    if other := elementwise.connecting(program.optimizers, found.tables):
        weight, operation = other
        raise _error(
            f"for {kind}, whose update of `{weight}` has a {operation}, which connects its rows",
            _CHOOSE,
        )
    return found


def _error(where: str, fix: str) -> ConfigError:
    return ConfigError(f"`ps.sparse_embeddings` must be false {where}. Received: true; {fix}.")
