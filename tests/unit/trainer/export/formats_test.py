"""Does every format, read back, answer as the trained model does for raw examples?"""

import contextlib

import numpy as np
import pytest

from strategies import packages
from trainer.config.schema import DataConfig, ExperimentConfig, ModelConfig
from trainer.data import registry
from trainer.export import formats, measure, serving
from trainer.export.formats import ExportError
from trainer.training import programs

CONFIG = ExperimentConfig(data=DataConfig(name="digits"), model=ModelConfig(hidden_units=(16,)))
# What is rounded: an 8-bit weight by 1/254 of the largest, a 16-bit one by 2^-11. Sums of 784 random
# signs average that out; ten times the rounding of one weight bounds what was seen by far.
WITHIN = {"": 1e-5, "float16": 10 * 2**-11, "int8": 10 / 254}


@pytest.fixture
def trained():
    """The program, the data, its first state, and what goes in and comes out."""
    dataset = registry.load(CONFIG.data)
    program = programs.training_program(CONFIG, dataset)
    return program, dataset, program.initial_state(), serving.signature(program, dataset)


@pytest.fixture
def model(trained):
    program, _, state, taken = trained
    return serving.serving_model(program, state, taken)


def _expected(trained):
    """The outputs of the program itself, which scales the features."""
    program, dataset, state, _ = trained
    features = dataset.test.features.astype(np.float32) * np.float32(dataset.feature_scale)
    return np.asarray(program.forward.evaluate(state.weights, state.layer_state, features)[0])


@pytest.mark.parametrize(
    "name, quantize",
    [("keras", ""), ("savedmodel", ""), ("tflite", ""), ("onnx", ""), ("keras", "int8"),
     ("tflite", "int8"), ("tflite", "float16")],
)  # fmt: skip
def test_an_export_answers_as_the_model_for_raw_examples(name, quantize, trained, model, tmp_path):
    chosen = formats.check(name, quantize)
    path = tmp_path / chosen.name_with(quantize)
    with formats.reported("the export", "no fix"):
        chosen.write(model, path, quantize)
        answer = np.asarray(chosen.load(path)(trained[1].test.features))
    expected = _expected(trained)
    assert answer.shape == expected.shape
    assert np.abs(answer - expected).max() <= WITHIN[quantize] * np.abs(expected).max()
    assert measure.size_bytes(path) > 1000


def test_weights_alone_are_those_of_the_model(trained, model, tmp_path):
    path = tmp_path / "model.weights.h5"
    before = [weight.numpy() for weight in model.weights]
    with formats.reported("the export", "no fix"):
        formats.FORMATS["weights"].write(model, path, "")
        for weight in model.weights:
            weight.assign(np.zeros(weight.shape))
        model.load_weights(path)
    assert all(map(np.array_equal, before, [weight.numpy() for weight in model.weights]))


def test_the_metrics_are_those_of_evaluation(trained, model):
    program, dataset, state, _ = trained
    found = measure.metrics(formats.called(model), program, dataset.test)
    ones = np.ones(len(dataset.test), np.float32)
    sums = program.sums(
        state.weights, (dataset.test.features, dataset.test.targets, ones), state.layer_state
    )
    assert found == pytest.approx(program.means(np.asarray(sums, np.float64)), rel=1e-5)


def test_a_format_whose_package_is_missing_is_refused_with_the_command(monkeypatch):
    monkeypatch.setattr(packages, "version", lambda name: None)
    with pytest.raises(
        ExportError, match=r"Received: no tf2onnx; run pip install 'muster\[onnx\]'"
    ):
        formats.check("onnx", "")


def test_a_format_that_cannot_be_quantized_so_names_one_that_can():
    with pytest.raises(ExportError, match="leave it out, or take --format=tflite"):
        formats.check("keras", "float16")


def test_what_a_converter_raises_is_one_line():
    with (
        pytest.raises(ExportError, match="`--format=x` failed. Received: KeyError: 'a'; do y."),
        formats.reported("`--format=x`", "do y"),
        contextlib.ExitStack(),
    ):
        raise KeyError("a")


def test_probabilities_are_those_of_the_loss():
    logits = np.array([[0.0, np.log(3)], [1000.0, 0.0]])
    assert serving.probabilities(logits, "logits") == pytest.approx(
        np.array([[0.25, 0.75], [1.0, 0.0]])
    )
    assert serving.probabilities([[0.0]], "binary_logits") == pytest.approx(np.array([[0.5]]))
    assert serving.probabilities([[3.0]], "values") == pytest.approx(np.array([[3.0]]))
