"""How does TensorBoard see the sweep?

Its HParams plugin reads one experiment, with the domain of each dimension and the names of the metrics,
and a session for each trial, with its values, its metrics as scalars, and how it ended. A file is named
by what is in it: what is there is not written again, and no trial is there twice.

Nothing here imports TensorFlow, which tensorboard's own writer of files would.
"""

import functools
import hashlib
import io
import math
import pathlib
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from trainer.reporting import format as format_lib
from trainer.storage.atomic_files import to_json, write_file
from trainer.tune.search.record import FAILED, RUNNING, Objective, TrialRecord

_METRICS = ("test_", "final_loss", "examples_per_s", "seconds")  # Or what begins so.
_LARGEST = 3.4e38  # Scalars are float32.


def write(
    folder: pathlib.Path,
    objective: Objective,
    records: Sequence[TrialRecord],
    dimensions: Sequence[Any],
) -> None:
    """Writes what is not there yet of the trials that are over.

    Raises:
      WorkdirError: it cannot be written.
    """
    over = [record for record in records if record.status != RUNNING]
    figures = {record.id: _figures(objective, record) for record in over}
    others = {name for some in figures.values() for name in some} - {objective.name}
    names = [objective.name, *sorted(others)]
    key = [names, [_described(dimension) for dimension in dimensions]]
    _write_once(folder, key, lambda: [_experiment(names, dimensions)])
    for record in over:
        values = _values(record, dimensions)
        key = [record.id, record.status, values, figures[record.id]]
        make = functools.partial(_session, record, values, figures[record.id])
        _write_once(folder / record.id, key, make)


def _write_once(folder: pathlib.Path, key: Any, summaries: Callable[[], list]) -> None:
    """The folder's only file, in the place of one that tells something else."""
    digest = hashlib.sha256(to_json(key).encode()).hexdigest()[:16]
    path = folder / f"events.out.tfevents.{digest}"
    if path.exists():
        return
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.glob("*events.out.tfevents.*"):
        old.unlink()
    write_file(path, _events(summaries()))


def _events(summaries: Iterable[tuple[int, Any]]) -> bytes:
    """The bytes of a file of events: (step, summary) each, after its version."""
    from tensorboard.compat.proto import event_pb2
    from tensorboard.summary.writer.record_writer import RecordWriter

    now, file = time.time(), io.BytesIO()
    writer = RecordWriter(file)
    writer.write(event_pb2.Event(wall_time=now, file_version="brain.Event:2").SerializeToString())
    for step, summary in summaries:
        event = event_pb2.Event(wall_time=now, step=step, summary=summary)
        writer.write(event.SerializeToString())
    return file.getvalue()


def _session(
    record: TrialRecord, values: Mapping[str, Any], figures: Mapping[str, float]
) -> list[tuple[int, Any]]:
    from tensorboard.plugins.hparams import summary_v2
    from tensorboard.plugins.scalar.summary_v2 import scalar_pb

    now = time.time()
    # A group of its own: Hyperband gives the values of one trial to a later one.
    start = summary_v2.hparams_pb(dict(values), record.id, now - record.seconds)
    scalars = [(record.step, scalar_pb(name, figure)) for name, figure in figures.items()]
    return [(0, start), *scalars, (record.step, _end(record, now))]


def _end(record: TrialRecord, now: float) -> Any:
    from tensorboard.compat.proto import summary_pb2
    from tensorboard.plugins.hparams import api_pb2, metadata, plugin_data_pb2

    status = "STATUS_FAILURE" if record.status == FAILED else "STATUS_SUCCESS"
    info = plugin_data_pb2.SessionEndInfo(status=api_pb2.Status.Value(status), end_time_secs=now)
    told = metadata.create_summary_metadata(
        plugin_data_pb2.HParamsPluginData(session_end_info=info)
    )
    summary = summary_pb2.Summary()
    summary.value.add(tag=metadata.SESSION_END_INFO_TAG, metadata=told, tensor=metadata.NULL_TENSOR)
    return summary


def _experiment(names: Sequence[str], dimensions: Sequence[Any]) -> tuple[int, Any]:
    from tensorboard.plugins.hparams import summary_v2

    short = format_lib.names(dimension.name for dimension in dimensions)
    hparams = [
        summary_v2.HParam(dimension.name, _domain(dimension), short[dimension.name])
        for dimension in dimensions
    ]
    return 0, summary_v2.hparams_config_pb(hparams, [summary_v2.Metric(name) for name in names])


def _domain(dimension: Any) -> Any:
    from tensorboard.plugins.hparams import summary_v2

    if dimension.kind == "between":
        return summary_v2.RealInterval(float(dimension.low), float(dimension.high))
    kind = _type(dimension)
    choices = [_of(kind, choice) for choice in dimension.choices]
    return summary_v2.Discrete(dict.fromkeys(choices), kind)


def _described(dimension: Any) -> list:
    choices = [format_lib.exact(choice) for choice in dimension.choices]
    return [dimension.name, dimension.kind, dimension.low, dimension.high, choices]


def _type(dimension: Any) -> type:
    """What the plugin has a dimension's values as: numbers, truths, or else text."""
    if dimension.kind == "between":
        return float
    types = set(map(type, dimension.choices))
    if types == {bool}:
        return bool
    return float if types <= {int, float} else str


def _of(kind: type, value: Any) -> Any:
    """The value as of its dimension's type; a search has truths, like tuples, as texts."""
    if kind is bool:
        return format_lib.exact(value) == "true"
    return float(value) if kind is float else format_lib.exact(value)


def _values(record: TrialRecord, dimensions: Sequence[Any]) -> dict[str, Any]:
    """Those that the trial has, typed as their dimension is."""
    found = {}
    for dimension in dimensions:
        if dimension.name in record.values:
            value = record.values[dimension.name]
            found[dimension.name] = _of(_type(dimension), value)
    return found


def _figures(objective: Objective, record: TrialRecord) -> dict[str, float]:
    """The objective and the main metrics, as far as they are numbers that a scalar can hold."""
    main = {name: one for name, one in record.metrics.items() if name.startswith(_METRICS)}
    told = main | {"seconds": record.seconds, objective.name: record.objective}
    return {
        name: min(max(float(one), -_LARGEST), _LARGEST)
        for name, one in told.items()
        if isinstance(one, (int, float)) and math.isfinite(one)
    }
