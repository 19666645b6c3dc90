"""How does TensorBoard show the sweep?

TensorBoard's HParams plugin reads one experiment (the domain of each dimension, the names of the metrics)
and one session per trial (its values, its metrics as scalars, how it ended). A file's name is a hash of
its content: an unchanged file is not written again, and no trial appears twice.

Nothing here imports TensorFlow, which tensorboard's own file writer would do.
"""

import functools
import hashlib
import io
import math
import pathlib
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from trainer.process.standard_json import to_json
from trainer.reporting.format import canonical_text, short_names
from trainer.storage.atomic_files import write_file
from trainer.tune.search.record import FAILED, RUNNING, Objective, TrialRecord
from trainer.tune.space.dimension import Dimension

_METRIC_PREFIXES = ("test_", "final_loss", "examples_per_s", "seconds")
_MAX_SCALAR = 3.4e38  # Scalars are float32.


def write_events(
    folder: pathlib.Path,
    objective: Objective,
    records: Sequence[TrialRecord],
    dimensions: Sequence[Dimension],
) -> None:
    """Writes the experiment and a session for each trial that has ended, unless it is up to date.

    Raises:
      WorkdirError: a file cannot be written.
    """
    ended = [record for record in records if record.status != RUNNING]
    metrics = {record.id: _scalars(objective, record) for record in ended}
    others = {name for scalars in metrics.values() for name in scalars} - {objective.name}
    names = [objective.name, *sorted(others)]
    key = [names, [_description(dimension) for dimension in dimensions]]
    _write_once(folder, key, lambda: [_experiment(names, dimensions)])
    for record in ended:
        values = _values(record, dimensions)
        key = [record.id, record.status, values, metrics[record.id]]
        make = functools.partial(_session, record, values, metrics[record.id])
        _write_once(folder / record.id, key, make)


def _write_once(folder: pathlib.Path, key: Any, summaries: Callable[[], list]) -> None:
    """Makes `summaries` the content of the folder's only file, which `key` names."""
    digest = hashlib.sha256(to_json(key).encode()).hexdigest()[:16]
    path = folder / f"events.out.tfevents.{digest}"
    if path.exists():
        return
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.glob("*events.out.tfevents.*"):
        old.unlink()
    write_file(path, _events(summaries()))


def _events(summaries: Iterable[tuple[int, Any]]) -> bytes:
    """The bytes of an event file: its version, then each (step, summary)."""
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
    record: TrialRecord, values: Mapping[str, Any], metrics: Mapping[str, float]
) -> list[tuple[int, Any]]:
    from tensorboard.plugins.hparams import summary_v2
    from tensorboard.plugins.scalar.summary_v2 import scalar_pb

    now = time.time()
    # The trial's id is its group: Hyperband runs the same values again in a later trial.
    start = summary_v2.hparams_pb(dict(values), record.id, now - record.seconds)
    scalars = [(record.step, scalar_pb(name, value)) for name, value in metrics.items()]
    return [(0, start), *scalars, (record.step, _end(record, now))]


def _end(record: TrialRecord, now: float) -> Any:
    from tensorboard.compat.proto import summary_pb2
    from tensorboard.plugins.hparams import api_pb2, metadata, plugin_data_pb2

    status = "STATUS_FAILURE" if record.status == FAILED else "STATUS_SUCCESS"
    info = plugin_data_pb2.SessionEndInfo(status=api_pb2.Status.Value(status), end_time_secs=now)
    end = metadata.create_summary_metadata(plugin_data_pb2.HParamsPluginData(session_end_info=info))
    summary = summary_pb2.Summary()
    summary.value.add(tag=metadata.SESSION_END_INFO_TAG, metadata=end, tensor=metadata.NULL_TENSOR)
    return summary


def _experiment(names: Sequence[str], dimensions: Sequence[Dimension]) -> tuple[int, Any]:
    from tensorboard.plugins.hparams import summary_v2

    short = short_names(dimension.name for dimension in dimensions)
    hparams = [
        summary_v2.HParam(dimension.name, _domain(dimension), short[dimension.name])
        for dimension in dimensions
    ]
    return 0, summary_v2.hparams_config_pb(hparams, [summary_v2.Metric(name) for name in names])


def _domain(dimension: Dimension) -> Any:
    from tensorboard.plugins.hparams import summary_v2

    if dimension.kind == "between":
        return summary_v2.RealInterval(*map(float, dimension.bounds))
    kind = _type(dimension)
    choices = [_typed(kind, choice) for choice in dimension.choices]
    return summary_v2.Discrete(dict.fromkeys(choices), kind)


def _description(dimension: Dimension) -> list:
    choices = [canonical_text(choice) for choice in dimension.choices]
    return [dimension.name, dimension.kind, dimension.low, dimension.high, choices]


def _type(dimension: Dimension) -> type:
    """The type that the plugin shows the dimension's values as: float, bool or str."""
    if dimension.kind == "between":
        return float
    types = set(map(type, dimension.choices))
    if types == {bool}:
        return bool
    return float if types <= {int, float} else str


def _typed(kind: type, value: Any) -> Any:
    """The value in its dimension's type. In a search, booleans and tuples are texts."""
    if kind is bool:
        return canonical_text(value) == "true"
    return float(value) if kind is float else canonical_text(value)


def _values(record: TrialRecord, dimensions: Sequence[Dimension]) -> dict[str, Any]:
    """The trial's values, each in its dimension's type."""
    values = {}
    for dimension in dimensions:
        if dimension.name in record.values:
            value = record.values[dimension.name]
            values[dimension.name] = _typed(_type(dimension), value)
    return values


def _scalars(objective: Objective, record: TrialRecord) -> dict[str, float]:
    """The objective and the main metrics, without NaN and infinities, in the range of a scalar."""
    main = {
        name: value for name, value in record.metrics.items() if name.startswith(_METRIC_PREFIXES)
    }
    known = main | {"seconds": record.seconds, objective.name: record.objective}
    return {
        name: min(max(float(value), -_MAX_SCALAR), _MAX_SCALAR)
        for name, value in known.items()
        if isinstance(value, (int, float)) and math.isfinite(value)
    }
