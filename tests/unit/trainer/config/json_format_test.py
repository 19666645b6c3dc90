"""Is the config.json of an older program read, or refused with the reason, and a newer one refused?"""

import dataclasses
import json
from pathlib import Path

import pytest

from trainer import __version__
from trainer.config import json_format
from trainer.config import load as config_load
from trainer.config import schema as config_lib
from trainer.config.fields import ConfigError, option
from trainer.config.schema import ExperimentConfig, TrainConfig
from trainer.storage.workdir import Workdir

FORMAT_0 = Path(__file__).with_name("format_0.json")  # As version 0.1.0 wrote it.
UNCHANGED = f"; {json_format.UNCHANGED}."


def message(call, *args):
    with pytest.raises(ConfigError) as caught:
        call(*args)
    assert len(str(caught.value).splitlines()) == 1
    return str(caught.value)


def changed(**fields):
    return json.dumps(json.loads(config_lib.to_json(ExperimentConfig())) | fields)


def test_a_config_json_begins_with_its_format():
    text = config_lib.to_json(ExperimentConfig())
    assert text.startswith('{\n  "format": 2,\n  "name": ')
    assert json.loads(text)["format"] == config_lib.FORMAT == 2


def test_a_config_json_of_version_0_1_0_is_read():
    expected = config_load.resolve("digits_dense", {"train.steps": "150"})
    assert config_load.from_json(FORMAT_0.read_text()) == expected
    assert config_load.resolve(str(FORMAT_0)) == expected


def test_a_run_that_version_0_1_0_began_can_be_resumed(tmp_path):
    (tmp_path / "config.json").write_text(FORMAT_0.read_text())
    config = config_load.resolve("digits_dense", {"train.steps": "200"})
    Workdir(tmp_path).examine(config)  # Raises if the folder is another run's.


def test_every_field_of_format_0_is_required_in_it():
    tree = json.loads(FORMAT_0.read_text())
    del tree["train"]["seed"]
    assert message(config_load.from_json, json.dumps(tree)).startswith("`train.seed` is missing. ")
    del tree["train"]
    assert message(config_load.from_json, json.dumps(tree)).startswith("`train` is missing. ")


def test_a_newer_format_is_refused_with_what_to_do():
    assert message(config_load.from_json, changed(format=3)) == (
        f"`format` must be at most 2 for muster {__version__}. Received: 3, written by a newer version; "
        "upgrade muster, or start a new run in another folder."
    )


@pytest.mark.parametrize("value, shown", [("1", '"1"'), (True, "true"), (-1, "-1"), (None, "null"),
                                          (1.0, "1.0"), ([1], "[1]")])  # fmt: skip
def test_a_format_that_is_not_an_integer_is_refused(value, shown):
    assert message(config_load.from_json, changed(format=value)) == (
        f"`format` must be an integer from 0 to 2. Received: {shown}{UNCHANGED}"
    )


@dataclasses.dataclass(frozen=True)
class _LaterTrain(TrainConfig):
    warmup_steps: int = option(0, "added by format 2 with a default that older programs followed",
                               since=2)  # fmt: skip


@dataclasses.dataclass(frozen=True)
class _Changed:
    rounding: str = option(
        "even",
        "added by format 3",
        since=3,
        incompatible="older programs rounded half away from zero",
    )


def test_a_later_field_with_a_fitting_default_may_be_missing_in_an_older_file():
    tree = dataclasses.asdict(TrainConfig())
    for found_format in (0, 1):
        found = json_format.flatten(_LaterTrain, tree, found_format, "train.")
        assert "train.warmup_steps" not in found
        assert found["train.seed"] == 0
    assert message(json_format.flatten, _LaterTrain, tree, 2, "train.").startswith(
        "`train.warmup_steps` is missing. "
    )


def test_a_later_section_may_be_missing_in_an_older_file():
    @dataclasses.dataclass(frozen=True)
    class Privacy:
        noise: float = option(0.0, "added by format 2", since=2)

    @dataclasses.dataclass(frozen=True)
    class Whole:
        seed: int = option(0, "always there")
        privacy: Privacy = dataclasses.field(default_factory=Privacy)

    assert json_format.flatten(Whole, {"seed": 3}, 1) == {"seed": 3}
    assert message(json_format.flatten, Whole, {"seed": 3}, 2) == (
        f'`privacy` is missing. Received: ["seed"]{UNCHANGED}'
    )


def test_a_later_field_without_a_fitting_default_is_refused_with_the_reason():
    assert message(json_format.flatten, _Changed, {}, 2) == (
        "`rounding` is missing: older programs rounded half away from zero. Received: a config.json of "
        "format 2; start a new run in another folder."
    )
    assert json_format.flatten(_Changed, {"rounding": "up"}, 3) == {"rounding": "up"}


def test_a_file_of_format_1_is_read_as_one_whose_model_is_in_the_config():
    tree = json.loads(changed(format=1))
    del tree["recipe"]
    assert config_load.from_json(json.dumps(tree)).recipe == ""


def test_no_field_is_of_a_later_format_than_the_programs_own():
    assert max(field.since for field in config_lib.fields()) <= config_lib.FORMAT


def test_what_was_async_is_a_window_of_a_loop_now():
    tree = json.loads(FORMAT_0.read_text())
    tree["sync"]["mode"], tree["train"]["steps_per_loop"] = "async", 7
    sync = config_load.from_json(json.dumps(tree)).sync
    assert (sync.mode, sync.window_steps) == ("async_window", 7)
    kept = changed(sync=dataclasses.asdict(ExperimentConfig().sync) | {"mode": "async"})
    assert config_load.from_json(kept).sync.mode == "async"
