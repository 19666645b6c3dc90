"""Each recipe against the table of the documents' examples, and against the data it names."""

import ast
import re
import shlex
import sys

import pytest

from tests.paths import ROOT
from trainer.cli import parser as cli_parser
from trainer.config import data_schema, recipes, schema
from trainer.config import load as config_load
from trainer.data import registry

PROGRAM = [path for room in ("strategies", "trainer", "configs")
           for path in sorted((ROOT / room).rglob("*.py"))]  # fmt: skip

# What the heads promise: data, hidden units, optimizer and rate, batch, epochs, steps.
TABLE = {
    "dense_100": ("dense_100", (100,), "sgd", 0.01, 100, 50, 0),
    "digits_dense": ("digits", (128,), "adam", 0.001, 64, 20, 0),
    "digits_sweep": ("digits", (128,), "adam", 0.001, 64, 20, 0),
    "linear_100": ("linear_100", (), "sgd", 0.01, 100, 10, 1000),
    "mnist_dense": ("mnist", (128,), "adam", 0.001, 64, 10, 0),
    "mnist_dense_ps": ("mnist", (100,), "sgd", 0.01, 100, 10, 1000),
    "mnist_fedavg": ("mnist", (200, 200), "sgd", 0.2, 10, 60, 0),
    "mnist_local_sgd": ("mnist", (128,), "adam", 0.001, 64, 10, 0),
    "wide_dense": ("digits", (16384, 1024), "adam", 0.0001, 64, 2, 0),
    "relu_regression": ("relu_regression", (), "sgd", 0.01, 100, 50, 0),
}
# Those with a model of their own: data, batch and epochs.
OWN_MODELS = {
    "digits_gru": ("digits", 64, 30),
    "digits_pairs": ("digits", 64, 20),
    "digits_vit": ("digits", 64, 50),
    "fashion_cnn": ("digits", 128, 15),  # The data is a source.
    "mnist_cnn": ("mnist", 128, 10),
    "mnist_dp": ("mnist", 256, 10),
    "tabular": ("digits", 64, 10),  # The data is its own.
    "text_gru": ("digits", 64, 4),
}


def docstring(name):
    return ast.get_docstring(ast.parse((recipes.FOLDER / f"{name}.py").read_text()))


def test_the_recipes_are_those_of_the_documents_the_default_its_sweep_and_those_with_models():
    assert recipes.names() == sorted({*TABLE, *OWN_MODELS})


@pytest.mark.parametrize("name", OWN_MODELS)
def test_a_recipe_with_a_model_of_its_own_is_what_its_head_promises(name, monkeypatch):
    monkeypatch.setenv("TF_NUM_INTRAOP_THREADS", "1")  # It sets this for its process.
    config = config_load.resolve(name)
    assert config.recipe == str(recipes.FOLDER / f"{name}.py")
    data, batch, epochs = OWN_MODELS[name]
    found = config.data.name, config.data.global_batch_size, config.train.epochs
    assert found == (data, batch, epochs)
    assert f"({epochs} epochs)" in docstring(name)


@pytest.mark.parametrize("name", TABLE)
def test_a_recipe_is_what_its_head_promises(name):
    config = config_load.resolve(name)
    assert config.name == name
    assert TABLE[name] == (
        config.data.name,
        config.model.hidden_units,
        config.optimizer.name,
        config.optimizer.learning_rate,
        config.data.global_batch_size,
        config.train.epochs,
        config.train.steps,
    )


def test_the_parameter_server_recipe_shuffles_4000_examples_and_saves_every_100_steps():
    config = config_load.resolve("mnist_dense_ps")
    assert config.data.shuffle
    assert config.data.train_examples == 4 * 1000
    assert config.train.checkpoint_every_steps == 100


def test_the_federated_recipe_is_that_of_the_papers_table():
    """McMahan et al., 2017, table 1: K = 100, C = 0.1, E = 1, B = 10."""
    config = config_load.resolve("mnist_fedavg")
    assert (config.data.partition, config.data.partitions) == ("random", 100)
    assert config.federated.clients_per_round == 10 and config.federated.local_epochs == 1


def test_the_local_recipe_differs_from_the_synchronous_one_in_its_mode_alone():
    local, synchronous = map(config_load.resolve, ("mnist_local_sgd", "mnist_dense"))
    assert {*schema.differences(local, synchronous)} == {"name", "sync.mode"}
    assert (local.sync.replicas, local.sync.every_steps) == (4, 20)


def test_only_the_relu_regression_ends_in_a_relu():
    endings = {name: config_load.resolve(name).model.output_activation for name in TABLE}
    assert endings == dict.fromkeys(TABLE, "") | {"relu_regression": "relu"}


@pytest.mark.parametrize("name", [name for name, (data, *_) in TABLE.items() if data != "mnist"])
def test_the_data_of_a_recipe_is_of_the_kind_the_config_takes_it_for(name):
    config = config_load.resolve(name)
    dataset = registry.load(config.data)
    is_classification = config.data.name in data_schema.CLASSIFICATION_DATASETS
    assert bool(dataset.num_classes) == is_classification
    assert config.data.train_examples <= len(dataset.train)


@pytest.mark.parametrize("name", TABLE)
def test_a_recipe_is_headed_by_its_command_and_what_to_expect(name):
    head = docstring(name)
    commands = re.findall(r"^    python -m trainer (.*)$", head, re.MULTILINE)
    parsed = [cli_parser.parse(shlex.split(command)) for command in commands]
    assert any(getattr(command, "config", "") == name for command in parsed)
    assert "\nExpect " in head
    assert re.search("article|document|paper", head)


@pytest.mark.parametrize("name", TABLE)
def test_a_summary_is_the_first_line_of_the_head(name):
    summary = recipes.summaries()[name]
    assert docstring(name).startswith(f"{summary}.\n")
    assert len(summary) <= 80


def test_a_recipe_that_cannot_be_read_does_not_break_the_help(tmp_path, monkeypatch):
    (tmp_path / "broken.py").write_text("def (")
    monkeypatch.setattr(recipes, "FOLDER", tmp_path)
    assert recipes.summaries() == {"broken": "(cannot be read)"}


# The package's name where it is not that of the module.
DISTRIBUTIONS = {
    "absl": "absl-py",
    "sklearn": "scikit-learn",
    "tensorflow_datasets": "tensorflow-datasets",
    "keras": "tensorflow",  # Which brings the Keras that fits it.
    "keras_tuner": "keras-tuner",
    "google": "google-cloud-storage",  # Which brings the rest of Google's that it is called by.
    "google.protobuf": "protobuf",
    "botocore": "boto3",  # Which brings it.
    "yaml": "PyYAML",
    "google_crc32c": "google-crc32c",
    "PIL": "pillow",
    "dp_accounting": "dp-accounting",
}


def imported(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            is_own = node.module in DISTRIBUTIONS
            yield node.module if is_own else node.module.partition(".")[0]


def test_setup_py_declares_every_package_the_program_imports():
    setup = (ROOT / "setup.py").read_text()
    always = setup.partition("install_requires")[2].partition("extras_require")[0]
    for_sweeps = setup.partition("TUNE = [")[2].partition("]\n")[0]
    own = {"strategies", "trainer", "configs", *sys.stdlib_module_names}
    for_buckets = setup.partition("GS = [")[2].partition("ONNX = [")[0]
    for_exports = setup.partition("ONNX = [")[2].partition("\n]\n")[0]
    for_hugging_face = setup.partition("HF = [")[2].partition("\n]\n")[0]
    for_privacy = setup.partition("PRIVACY = [")[2].partition("# For a TPU")[0]
    for_tpus = setup.partition("TPU_CHECK = [")[2].partition("\n]\n")[0]
    missing = {
        name
        for path in PROGRAM
        for name in (DISTRIBUTIONS.get(module, module) for module in {*imported(path)} - own)
        if f'"{name}' not in always
                             + for_sweeps * bool({"tune", "reporting"} & {*path.parts})
                             + for_tpus * (path.parts[-2:] == ("tpu", "compiler.py"))
                             + for_buckets * ("remote" in path.parts)
                             + for_privacy * (path.name in ("privacy_budget.py", "homomorphic_sum.py"))
                             + for_exports * (path.parts[-2:] == ("export", "formats.py"))
                             + for_hugging_face * (path.parts[-2:] == ("sources", "hf.py"))
    }  # fmt: skip
    assert not missing
