"""Does every kind of source give the same examples, and is wrong data one line before the first step?"""

import dataclasses
import itertools
import os
import random
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from strategies.errors import InputError
from tests import source_files
from trainer.config.schema import DataConfig
from trainer.data import address, input_pipeline, registry, source_data
from trainer.data.dataset import DataError, Dataset
from trainer.data.prepared import folder as folder_lib
from trainer.data.prepared import prepare, verified
from trainer.data.rows import Rows
from trainer.data.sources import files, lines


def _load(tmp_path: Path, source: str, **fields) -> Dataset:
    return registry.load(DataConfig(source=source, dir=str(tmp_path / "prepared"), **fields))


def _prepared(config: DataConfig) -> folder_lib.Folder:
    named = address.parse(config)
    opened = named.open()
    return prepare.prepare(named, opened, source_data.select(named, opened))


def _error(tmp_path: Path, source: str, **fields) -> str:
    with pytest.raises(InputError) as error:
        _load(tmp_path, source, **fields)
    message = str(error.value)
    assert error.value.exit_code == 2 and "\n" not in message and len(message) < 1000
    return message


def _npz(tmp_path: Path, **arrays) -> str:
    np.savez(tmp_path / "d.npz", **arrays)
    return f"npz:{tmp_path / 'd.npz'}"


@pytest.mark.parametrize("kind", source_files.FORMATS)
def test_every_kind_gives_the_same_examples_read_or_prepared(kind, tmp_path, monkeypatch):
    monkeypatch.setattr("trainer.data.table.PIECE_BYTES", 2000)
    monkeypatch.setattr("trainer.data.sources.lines.PIECE_BYTES", 2000)
    monkeypatch.setattr("trainer.data.sources.tfrecord.PIECE_BYTES", 2000)
    monkeypatch.setattr("trainer.data.sources.arrayrecord.PIECE_BYTES", 2000)
    monkeypatch.setattr(prepare, "_FEW", 1000)  # Other processes would not see these sizes.
    arrays = source_files.examples()
    source = source_files.FORMATS[kind](tmp_path, arrays)
    read = _load(tmp_path, source)
    assert np.array_equal(read.train.features, arrays["x_train"])
    assert np.array_equal(read.test.targets, arrays["y_test"])
    assert read.train.targets.dtype == np.int32 and read.num_classes == 3
    config = DataConfig(source=source, dir=str(tmp_path / "prepared"))
    _prepared(config)
    mapped = registry.load(config)
    assert isinstance(mapped.train.features, np.memmap)
    assert np.array_equal(mapped.train.features, arrays["x_train"])
    npz = _load(tmp_path, source_files.npz(tmp_path, arrays))
    assert mapped.fingerprint == read.fingerprint == npz.fingerprint


def test_a_fraction_to_test_on_is_a_function_of_the_seed(tmp_path):
    x = np.arange(100, dtype=np.float32)[:, np.newaxis]
    source = _npz(tmp_path, x=x, y=np.arange(100) % 2)
    first, again = (_load(tmp_path, source, test_fraction=0.3) for _ in range(2))
    other = _load(tmp_path, source, test_fraction=0.3, split_seed=1)
    assert (len(first.train), len(first.test)) == (70, 30)
    both = np.concatenate([first.train.features, first.test.features])
    assert np.array_equal(np.sort(both, axis=0), x)
    assert np.array_equal(first.test.features, again.test.features)
    assert first.fingerprint == again.fingerprint != other.fingerprint
    assert not np.array_equal(first.test.features, other.test.features)
    config = DataConfig(source=source, dir=str(tmp_path / "p"), test_fraction=0.3)
    _prepared(config)
    mapped = registry.load(config)
    assert isinstance(mapped.train.features, Rows)
    assert np.array_equal(np.asarray(mapped.train.features), first.train.features)
    assert np.array_equal(mapped.train.features[np.array([[3, 1]])], first.train.features[[[3, 1]]])
    assert mapped.fingerprint == first.fingerprint


def test_columns_make_a_matrix_and_text_labels_are_sorted_classes(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text(
        'id,age,"in\ncome",kind\n' + '7,1,2.5,"b, c"\n8,2,3.5,a\n9,3,1,a\n9,4,0,a\n' * 5
    )
    found = _load(tmp_path, f"csv:{path}", target="kind", test_fraction=0.5)
    assert found.num_classes == 2 and found.train.features.shape == (10, 2)
    rows = np.concatenate([found.train.features, found.test.features])
    kinds = np.concatenate([found.train.targets, found.test.targets])
    assert {tuple(row): kind for row, kind in zip(rows.tolist(), kinds.tolist(), strict=True)} == {
        (1, 2.5): 1, (2, 3.5): 0, (3, 1): 0, (4, 0): 0
    }  # fmt: skip
    by_name = _load(
        tmp_path, f"csv:{path}", target="kind", features="age,id", features_as="columns"
    )
    assert [*by_name.train.features] == ["age", "id"]
    assert by_name.train.features["id"].dtype == np.int32
    regression = _load(tmp_path, f"csv:{path}", target="in\ncome", features="age")
    assert regression.num_classes == 0 and regression.num_outputs == 1
    assert regression.train.targets.shape == (16, 1)


def test_the_first_rows_of_a_csv_file_decide_what_is_text(tmp_path, monkeypatch):
    monkeypatch.setattr(lines, "PIECE_BYTES", 40)
    rows = ["A1,1", *("007,0" for _ in range(10)), *("7,1" for _ in range(10))]
    (tmp_path / "a.csv").write_text("\n".join(["code,y", *rows]) + "\n")
    (tmp_path / "b.csv").write_text("code,y\n" + "007,1\n" * 4)
    asked = {"target": "y", "features_as": "columns"}
    found = _load(tmp_path, f"csv:{tmp_path / 'a.csv'},{tmp_path / 'b.csv'}", **asked)
    assert {*found.train.features["code"].tolist()} == {"A1", "007", "7"}
    assert {*found.test.features["code"].tolist()} == {"007"}
    (tmp_path / "a.csv").write_text("\n".join(["code,y", *rows[::-1]]) + "\n")
    source = f"csv:{tmp_path / 'a.csv'}"
    assert _error(tmp_path, source, **asked).endswith(
        "must have numbers in column code of every file, as in the first rows. Received: text in "
        f"{tmp_path / 'a.csv'}; correct it, or add `,text=code`."
    )
    found = _load(tmp_path, f"{source},text=code", **asked)
    assert {*found.train.features["code"].tolist()} >= {"007", "7"}
    assert "`text` must name columns" in _error(tmp_path, f"{source},text=kode", **asked)


def test_lists_of_several_lengths_are_padded(tmp_path):
    path = tmp_path / "t.jsonl"
    path.write_text('{"words": [1, 2, 3], "y": 0}\n{"words": [], "y": 1}\n{"words": [9], "y": 1}\n')
    found = _load(tmp_path, f"jsonl:{path},{path}", pad_to=4)
    assert found.train.features.tolist() == [[1, 2, 3, 0], [0, 0, 0, 0], [9, 0, 0, 0]]
    assert found.train.features.dtype == np.int32
    assert _error(tmp_path, f"jsonl:{path}") == (
        f"column words of jsonl:{path} must have rows of one shape. Received: rows of 0 to 3 values; pad "
        "them with --config.data.pad_to=3."
    )
    assert "raise it to 3." in _error(tmp_path, f"jsonl:{path}", pad_to=2)


def _pictures(folder: Path, names: list[str], size=(6, 4)) -> None:
    rng = np.random.default_rng(0)
    pixels = {name: rng.integers(0, 256, size, dtype=np.uint8) for name in sorted(names)}
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels[name]).save(path)


def test_a_folder_of_pictures_is_read_in_the_order_of_names(tmp_path, monkeypatch):
    names = [f"{kind}/{i}.png" for kind in ("dog", "cat") for i in range(12)]
    _pictures(tmp_path / "one", names)
    random.Random(0).shuffle(names)
    _pictures(tmp_path / "other", names)
    one, other = (_load(tmp_path, f"images:{tmp_path / name}") for name in ("one", "other"))
    assert one.train.features.shape == (19, 6, 4) and one.train.features.dtype == np.uint8
    assert one.feature_scale == 1 / 255 and one.num_classes == 2
    walk = os.walk
    monkeypatch.setattr(os, "walk", lambda top: [(a, b, c[::-1]) for a, b, c in walk(top)])
    assert _load(tmp_path, f"images:{tmp_path / 'one'}").fingerprint == one.fingerprint
    assert one.fingerprint == other.fingerprint
    sized = _load(tmp_path, f"images:{tmp_path / 'one'},size=3x2,color=rgb")
    assert sized.train.features.shape == (19, 3, 2, 3)
    _pictures(tmp_path / "one", ["cat/13.png"], size=(6, 5))
    assert "pictures of one size. Received: 6x4 and 6x5 (13.png)" in _error(
        tmp_path, f"images:{tmp_path / 'one'}"
    )


def test_a_hugging_face_data_set_gives_the_same_examples_and_its_classes(tmp_path):
    datasets = pytest.importorskip("datasets")
    arrays = source_files.examples()
    label = datasets.ClassLabel(names=["ant", "bee", "cat"])
    features = datasets.Features(x=datasets.Sequence(datasets.Value("float32")), label=label)
    splits = {
        split: datasets.Dataset.from_dict(
            {"x": arrays[f"x_{split}"], "label": arrays[f"y_{split}"]}, features=features
        )
        for split in ("train", "test")
    }
    datasets.DatasetDict(splits).save_to_disk(str(tmp_path / "hf"))
    config = DataConfig(source=f"hf:{tmp_path / 'hf'}", dir=str(tmp_path / "prepared"))
    read = registry.load(config)
    assert np.array_equal(read.train.features, arrays["x_train"]) and read.num_classes == 3
    assert np.array_equal(read.test.targets, arrays["y_test"])
    prepared = _prepared(config)
    assert prepared.manifest["classes"] == ["ant", "bee", "cat"]
    assert registry.load(config).fingerprint == read.fingerprint
    assert "cannot be loaded by the package datasets" in _error(tmp_path, f"hf:{tmp_path / 'no'}")


GOOD = np.ones((6, 2), np.float32)
NAN, INF = GOOD.copy(), GOOD.astype(np.float64)
NAN[4, 1], INF[2, 0] = np.nan, 1e300
Y = np.array([0, 1, 0, 1, 0, 1])
WRONG = [
    ({"x": NAN, "y": Y}, "features of npz:{d} must be finite numbers that fit in 32 bits. Received: NaN, "
     "missing or infinite in 1 of 6 rows, first in row 4; remove these rows, or fill them."),
    ({"x": INF, "y": Y}, "infinite in 1 of 6 rows, first in row 2"),
    ({"x": GOOD, "y": Y - 1}, "the target of npz:{d} must be classes from 0 to at most 99999. Received: "
     "-1 to 0; number the classes from 0, or store floats for a regression."),
    ({"x": GOOD, "y": Y + 10**6}, "Received: 1000000 to 1000001"),
    ({"x": GOOD, "y": Y * 10**12}, "column y of npz:{d} must be whole numbers of 32 bits."),
    ({"x": GOOD, "y": np.eye(2, dtype=int)[Y]}, "the target of npz:{d} must be one class per row. "
     "Received: one-hot rows of shape [2]; store the class itself, np.argmax(target, axis=1)."),
    ({"x": GOOD, "y": Y[:5]}, "npz:{d} must have arrays of one length. Received: 6 of x, 5 of y; store"),
    ({"x": GOOD[:0], "y": Y[:0]}, "npz:{d} must have at least one example. Received: none."),
    ({"x_train": GOOD, "y_train": Y, "x_test": GOOD[:0], "y_test": Y[:0]},
     "must have at least one example to test on."),
    ({"x_train": GOOD, "y_train": Y, "x_test": GOOD[:, :1], "y_test": Y}, "features of npz:{d} must have "
     "rows of one shape. Received: [1] and [2]; make them alike"),
    ({"x_train": GOOD, "y_train": Y, "x_test": GOOD, "y_test": Y * 2},
     "the target of npz:{d} (test) must be classes that the training examples have. Received: 2; "
     "correct the labels."),
    ({"x": GOOD, "y": np.array([*"abc"] * 2, object)},
     "d.npz is damaged or not what its kind says: Object"),
    ({"x": GOOD * 1j, "y": Y}, "column x of npz:{d} must be numbers or text. Received: complex64"),
    ({"x": GOOD}, "`data.target` must name the column of npz:{d} to predict. Received: none, and no "
     "column is called y, label or target; name one of x with --config.data.target=NAME."),
    ({"x": np.float32(3), "y": Y}, "npz:{d} has a single number as 'x'; store one row per example."),
    ({"x": GOOD[:1], "y": Y[:1]}, "`data.test_fraction` must leave at least one example to train on"),
]  # fmt: skip


@pytest.mark.parametrize("arrays, message", WRONG)
def test_wrong_values_are_one_line(arrays, message, tmp_path):
    found = _error(tmp_path, _npz(tmp_path, **arrays))
    assert message.replace("{d}", str(tmp_path / "d.npz")) in found


NAMES = [
    ("mnist", {},
     '`data.source` must be KIND:WHAT. Received: "mnist"; write e.g. npz:FILE.npz; the kinds are'),
    ("parqet:a", {}, 'Received: "parqet"; did you mean parquet?'),
    ("npz:", {}, "`data.source` must be KIND:WHAT."),
    ("npz:a.npz", {}, "which is not there; correct the path."),
    ("npz:.", {}, "which is a folder; correct the path."),
    ("files:a", {}, '`data.source` must begin with one of arrayrecord, csv,'),
    ("csv:{d}/no-*.csv", {}, "which matches none"),
    ("csv:{d}/t.csv", {"features": "agee", "target": "kind"},
     'which are age, kind. Received: "agee"; did you mean age?'),
    ("csv:{d}/t.csv", {"target": "kindd"}, 'Received: "kindd"; did you mean kind?'),
    ("csv:{d}/t.csv", {"target": "kind", "features": "kind"}, "other than the target. Received: kind"),
    ("csv:{d}/t.csv,delimiter=x", {"target": "kind"}, "`delimiter` must be one of comma, semicolon"),
    ("images:{d}/t.csv", {}, "must name a folder"),
    ("images:{d}", {}, "must be a folder with a folder of pictures for each class"),
]  # fmt: skip


@pytest.mark.parametrize("source, fields, message", NAMES)
def test_a_source_or_column_that_is_not_there_is_one_line(source, fields, message, tmp_path):
    (tmp_path / "t.csv").write_text("age,kind\n1,a\n2,b\n")
    assert message in _error(tmp_path, source.replace("{d}", str(tmp_path)), **fields)


def _damaged(content: bytes, how: int) -> bytes:
    """One of ten ways to damage a file."""
    middle = len(content) // 2 + 5  # Not between two records of one length.
    changed = bytearray(content)
    if how < 4:
        return content[: (0, 1, middle, len(content) - 3)[how]]
    if how < 7:
        place = (0, middle, len(content) - 5)[how - 4]
        changed[place : place + 4] = b"\xff\x00\xfe\x01"
        return bytes(changed)
    if how == 7:
        return content + b"\x00garbage\xff" * 3
    if how == 8:
        return os.urandom(200)
    return content[:middle] + content[middle + 7 :]


@pytest.mark.parametrize("kind", source_files.FORMATS)
def test_damaged_files_are_one_line_and_never_other_examples_where_there_are_checksums(
    kind, tmp_path
):
    """Damage that is in no example may be overlooked, as in the unused beginning of a Parquet file."""
    arrays = source_files.examples()
    source = source_files.FORMATS[kind](tmp_path, arrays)
    files = address.parse(DataConfig(source=source)).open().files
    path = next(path for path in files if path.stem in ("train", "d", "x_train"))
    content, intact = path.read_bytes(), _load(tmp_path, source).fingerprint
    refused = 0
    for how in range(10):
        path.write_bytes(_damaged(content, how))
        try:
            found = _load(tmp_path, source).fingerprint
            assert found == intact or kind in ("npy", "csv", "jsonl")
        except InputError as error:
            refused += "\n" not in str(error)
    assert refused >= 5
    path.write_bytes(content)
    assert _load(tmp_path, source).fingerprint == intact


def test_a_source_that_changed_since_it_was_prepared_is_refused(tmp_path):
    source = source_files.csv(tmp_path, source_files.examples())
    config = DataConfig(source=source, dir=str(tmp_path / "prepared"))
    prepared = _prepared(config)
    fingerprint = registry.load(config).fingerprint
    os.utime(tmp_path / "train.csv")  # Its content is the same.
    assert registry.load(config).fingerprint == fingerprint
    assert registry.describe(config).endswith(f", prepared in {prepared.path}")
    text = (tmp_path / "train.csv").read_text()
    (tmp_path / "train.csv").write_text(text.replace("0.1", "0.2", 1))
    message = _error(tmp_path, source)
    assert f"has changed since it was prepared in {prepared.path}" in message
    assert (
        f"the newest {tmp_path / 'train.csv'}; prepare it again with `python -m trainer data"
        in message
    )
    _prepared(config)
    assert registry.load(config).fingerprint != fingerprint


@pytest.mark.parametrize("how", ["manifest", "half", "column", "bit", "large", "json", "newer"])
def test_prepared_data_that_is_damaged_is_refused_and_prepared_again(how, tmp_path, monkeypatch):
    source = source_files.csv(tmp_path, source_files.examples())
    config = DataConfig(source=source, dir=str(tmp_path / "prepared"))
    prepared = _prepared(config)
    fingerprint = registry.load(config).fingerprint
    manifest = prepared.path / "manifest.json"
    column = prepared.path / next(iter(prepared.manifest["splits"]["train"].values()))["file"]
    if how == "manifest":
        manifest.unlink()
    elif how == "half":
        manifest.write_text(manifest.read_text()[:-200])
    elif how == "json":
        manifest.write_text("[1]")
    elif how == "newer":
        manifest.write_text(manifest.read_text().replace('"format": 1', '"format": 9'))
    elif how == "column":
        column.write_bytes(column.read_bytes()[:-8])
    else:
        status, content = column.stat(), bytearray(column.read_bytes())
        content[200] ^= 1
        column.write_bytes(content)
        if how == "bit":  # On the disk itself.
            os.utime(column, ns=(status.st_atime_ns, status.st_mtime_ns))
        else:
            monkeypatch.setattr(verified, "ALWAYS_BYTES", 0)
    message = _error(tmp_path, source)
    assert str(prepared.path) in message
    if how in ("bit", "large"):
        assert (
            f"Received: {column.name} with other content than was written; delete the f" in message
        )
    if how != "newer":
        _prepared(config)
        assert registry.load(config).fingerprint == fingerprint


def test_resident_features_that_do_not_fit_in_memory_are_refused(tmp_path):
    split = _load(tmp_path, _npz(tmp_path, x=GOOD, y=Y)).train
    huge = np.lib.format.open_memmap(tmp_path / "x.npy", "w+", np.uint8, (1 << 40, 1))
    mapped = dataclasses.replace(split, features=huge)
    assert input_pipeline.choose_placement(mapped, "auto") == "stream"
    with pytest.raises(DataError, match="must be stream for features that do not fit in memory"):
        input_pipeline.choose_placement(mapped, "resident")


_numbers = st.one_of(
    st.integers(-3, 3), st.floats(width=32), st.just("a"), st.none(), st.booleans()
)
_cells = st.one_of(_numbers, st.lists(_numbers, max_size=3), st.text(max_size=3))
_sources = st.one_of(
    st.text(max_size=12),
    st.sampled_from(["csv", "jsonl", "npz", "images", "parquet"]).map(
        lambda kind: f"{kind}:DIR/t.{kind}"
    ),
)
_fields = st.fixed_dictionaries(
    {
        "features": st.sampled_from(["", "a", "b", "a,b", "c", ","]),
        "target": st.sampled_from(["", "a", "b", "y", "a,y"]),
        "features_as": st.sampled_from(["auto", "matrix", "columns"]),
        "pad_to": st.integers(0, 4),
        "test_fraction": st.floats(0.01, 0.99),
    }
)  # fmt: skip
_rows = st.lists(st.dictionaries(st.sampled_from(["a", "b", "y"]), _cells, max_size=3), max_size=6)


def _one_line(tmp_path, source, fields, rows):
    import json

    text = "\n".join(json.dumps(row) for row in rows)
    (tmp_path / "t.jsonl").write_text(text)
    cells = [[str(value) for value in row.values()] for row in rows]
    (tmp_path / "t.csv").write_text(
        "\n".join(map(",".join, itertools.chain([["a", "b", "y"]], cells)))
    )
    config = DataConfig(
        source=source.replace("DIR", str(tmp_path)), dir=str(tmp_path / "p"), **fields
    )
    try:
        found = registry.load(config)
        registry.describe(config)
    except InputError as error:
        message = str(error)
    else:
        message = "loaded"
        for array in (*found.train.arrays, *found.test.arrays):
            assert len(array) and array.dtype.kind in "fiubSU"
    assert len(message.splitlines()) == 1


@given(_sources, _fields, _rows)
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_source_is_loaded_or_one_line(tmp_path, source, fields, rows):
    _one_line(tmp_path, source, fields, rows)


@pytest.mark.long
@given(_sources, _fields, _rows)
@settings(max_examples=500, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_of_500_sources_is_loaded_or_one_line(tmp_path, source, fields, rows):
    _one_line(tmp_path, source, fields, rows)


def _any_manifest(
    folder: folder_lib.Folder, config: DataConfig, intact: str, place: int, text: str
) -> None:
    """Whatever replaces a part of a manifest, the columns are those that were prepared, or one line."""
    path = folder.path / "manifest.json"
    content = path.read_bytes()
    start = place % len(content)
    path.write_bytes(content[:start] + text.encode() + content[start + len(text) :])
    message = "loaded"
    try:
        registry.describe(config)
        assert registry.load(config).fingerprint == intact
    except InputError as error:
        message = str(error)
    finally:
        path.write_bytes(content)
    assert len(message.splitlines()) == 1


_texts = st.one_of(
    st.sampled_from(["1", "0", "null", "[]", "{}", '"', ",", "}", "-", "9" * 30]),
    st.text(max_size=5),
)


@pytest.mark.parametrize("count", [60, pytest.param(500, marks=pytest.mark.long)])
def test_any_manifest_is_the_one_that_was_written_or_one_line(count, tmp_path):
    source = source_files.npz(tmp_path, source_files.examples())
    config = DataConfig(source=source, dir=str(tmp_path / "prepared"))
    folder = _prepared(config)
    intact = registry.load(config).fingerprint

    @settings(max_examples=count)
    @given(st.integers(0, 10**6), _texts)
    def check(place, text):
        _any_manifest(folder, config, intact, place, text)

    check()


def test_a_pattern_is_read_in_the_order_of_names_whatever_the_disk_lists(tmp_path, monkeypatch):
    for part in range(12):
        (tmp_path / f"part-{part}.csv").write_text(f"x,y\n{part},0\n{part}.5,1\n")
    source = f"csv:{tmp_path}/part-*.csv"
    first = _load(tmp_path, source)
    listed = files.glob.glob
    monkeypatch.setattr(files.glob, "glob", lambda pattern: sorted(listed(pattern))[::-1])
    assert _load(tmp_path, source).fingerprint == first.fingerprint
    whole = np.concatenate([first.train.features, first.test.features])
    assert sorted(whole[:, 0].tolist()) == [part / 2 for part in range(24)]


def test_damaged_pictures_are_one_line_or_the_same_pictures(tmp_path):
    _pictures(tmp_path / "p", [f"{kind}/{i}.png" for kind in "ab" for i in range(3)], (20, 20))
    source, path = f"images:{tmp_path / 'p'}", tmp_path / "p" / "a" / "1.png"
    content, intact = path.read_bytes(), _load(tmp_path, source).fingerprint
    refused = 0
    for how in range(10):
        path.write_bytes(_damaged(content, how))
        try:
            assert _load(tmp_path, source).fingerprint == intact
        except InputError as error:
            refused += "\n" not in str(error) and "1.png" in str(error)
    assert refused >= 6
