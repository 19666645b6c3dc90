"""Does the TPU's own compiler compile the trainer's programs, for every kind of TPU?"""

import pathlib
import sys

import pytest
import tensorflow as tf
from tensorflow.compiler.xla.service import hlo_pb2
from tensorflow.python.framework import kernels

from strategies.tpu.lowering import lower
from tests.cluster import cluster
from trainer.config import load as config_load
from trainer.config.fields import ConfigError
from trainer.data import registry
from trainer.estimate import tpu_compile, tpu_memory, tpu_program
from trainer.training import assemble

_LISTED = pathlib.Path(__file__).parent / "xla_tpu_kernels.txt"
_OPTIMIZERS = ("sgd", "adam", "adamw", "rmsprop", "adagrad")


def _lowered(cores, recipe="digits_dense", **overrides):
    """The HLO of a recipe's loop and of its evaluation, and the program they come from."""
    named = {name.replace("__", "."): value for name, value in overrides.items()}
    config = config_load.resolve(recipe, {"data.global_batch_size": "96", **named})
    dataset = registry.load(config.data)
    program = tpu_program.trace(lambda one: assemble.computation(config, dataset, one), cores)
    return [lower(program.loop).hlo, lower(program.evaluation).hlo], program


@pytest.fixture(scope="module")
def lowered():
    """`_lowered` for the default recipe, by the number of cores."""
    return {cores: _lowered(cores) for cores in (4, 8, 16)}


def test_the_list_of_kernels_is_that_of_tensorflow_tpu():
    @tf.function(jit_compile=True)
    def register_kernels(x):
        return x + 1

    register_kernels.experimental_get_compiler_ir(tf.ones(()))(stage="hlo", platform_name="TPU")
    found = kernels.get_all_registered_kernels().kernel
    names = {kernel.op for kernel in found if kernel.device_type == "XLA_TPU_JIT"}
    assert names == set(_LISTED.read_text(encoding="utf-8").split())


@pytest.mark.parametrize(
    "topology",
    "v4:2x2x1 v4:2x2x2 v4:2x2x4 v5e:2x2 v5e:2x4 v5e:4x4 v5p:2x2x1 v5p:2x2x2 v5p:2x2x4 "
    "v6e:2x2 v6e:2x4 v6e:4x4".split(),
)
def test_the_default_recipe_compiles_for_4_to_16_cores_of_every_kind(topology, lowered):
    cores = tpu_compile.num_cores(topology)
    programs, program = lowered[cores]
    loop, evaluation = tpu_compile.compile_for(topology, programs)
    assert loop.devices == evaluation.devices == cores
    assert (loop.exchanges, evaluation.exchanges) == (1, 0)
    state = program.runtime.state()
    arrays = [*state.weights, *(slot for own in state.slots for slot in own)]
    held = sum(array.nbytes for array in (*arrays, *program.computation.train_input.resident))
    # A TPU stores arrays in tiles, with up to 2x the memory here (a bias of 10 takes a tile of 128).
    assert held < loop.argument_bytes < 2 * held
    # Three matrix products for each of the two kernels, two operations per multiplication.
    products = 3 * 2 * (96 // cores) * sum(w.size for w in state.weights if w.ndim == 2)
    first_layer = 2 * (96 // cores) * 784 * 128  # No gradient with respect to the images.
    assert products - first_layer < loop.flops < 2 * products


def _products(program):
    """The matrix products in the HLO of a program."""
    module = hlo_pb2.HloModuleProto.FromString(program)
    operations = [one for computation in module.computations for one in computation.instructions]
    return [one for one in operations if one.opcode == "dot"]


@pytest.mark.parametrize("exact, precise", [("false", False), ("true", True)])
def test_factors_are_rounded_to_bfloat16_unless_exact_products_is_set(exact, precise):
    hlo, _ = _lowered(8, train__exact_products=exact)
    for products in map(_products, hlo):
        assert products
        # XLA's PrecisionConfig: 0 is the TPU's default, and 2 the highest precision.
        given = {tuple(one.precision_config.operand_precision) or (0, 0) for one in products}
        assert given == {(2, 2) if precise else (0, 0)}


@pytest.mark.parametrize("recipe", ["dense_100", "linear_100", "relu_regression"])
def test_every_recipe_compiles(recipe):
    (loop, evaluation) = tpu_compile.compile_for("v5e:2x4", _lowered(8, recipe)[0])
    assert (loop.exchanges, evaluation.exchanges) == (1, 0)


def test_every_optimizer_streamed_data_and_clipped_gradients_compile():
    programs = [_lowered(8, optimizer__name=name)[0][0] for name in _OPTIMIZERS]
    programs.append(_lowered(8, data__placement="stream")[0][0])
    programs.append(_lowered(8, optimizer__global_clipnorm="0.5")[0][0])
    assert [one.exchanges for one in tpu_compile.compile_for("v6e:2x4", programs)] == [1] * 7


@pytest.mark.parametrize("kind", ["v4:2x2x1", "v5e:2x2", "v5p:2x2x1", "v6e:2x2"])
def test_a_program_too_large_for_the_memory_is_refused_with_the_compilers_own_limit(kind):
    @tf.function(jit_compile=True)
    def sweep(x):
        return tf.cumsum(tf.sort(x))

    ir = sweep.experimental_get_compiler_ir(tf.TensorSpec([2**35]))
    with pytest.raises(ConfigError) as caught:
        tpu_compile.compile_for(kind, [ir(stage="hlo_serialized", platform_name="TPU")])
    room = tpu_memory.HBM_GIB[kind.partition(":")[0]]
    assert str(caught.value) == (
        "`--tpu_topology` names cores that the run does not fit: it needs at least 128.00 GiB, of "
        f"{room:.2f} GiB. Received: '{kind}'; lower `model.hidden_units`, or stream the data "
        "(`data.placement=stream`)."
    )


def test_a_killed_compiler_is_reported_in_one_line(monkeypatch, tmp_path):
    killed = tmp_path / "python"
    killed.write_text("#!/bin/sh\nkill -9 $$\n")
    killed.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(killed))
    with pytest.raises(ConfigError) as caught:
        tpu_compile.compile_for("v5e:2x2", [])
    assert str(caught.value) == (
        "`--tpu_topology` runs the TPU's compiler on this machine, where it was killed by SIGKILL. "
        "Received: 'v5e:2x2'; use a larger machine, or lower `model.hidden_units`."
    )


def test_a_model_larger_than_the_tpu_is_refused_before_it_is_compiled():
    flags = ["--tpu_topology=v5e:2x4", "--config.model.hidden_units=2000000"]
    with cluster.Process([*cluster.TRAINER, "check", *flags]) as check:
        assert check.wait() == 2, check.said
    (line,) = [line for line in check.screen if line.startswith("WRONG")]
    assert "it needs 17.77 GiB of state and data alone, of 15.75 GiB. Received: 'v5e:2x4'; " in line


def test_check_reports_what_a_run_would_use(tmp_path):
    flags = ["--tpu_topology=v5e:2x4", f"--workdir={tmp_path / 'run'}"]
    with cluster.Process([*cluster.TRAINER, "check", *flags]) as check:
        assert check.wait() == 0, check.said
    (start,) = [index for index, line in enumerate(check.screen) if "tpu       v5e" in line]
    compiled, step, memory = (line.strip() for line in check.screen[start : start + 3])
    assert compiled.startswith("ok    tpu       v5e:2x4, 8 cores of TPU v5 lite: it compiles, in ")
    assert step.startswith("a step on each core: ") and step.endswith(", 1 exchange of 0.41 MB")
    assert memory.startswith("memory of each core: ") and " for a loop of 24 steps, " in memory


def test_an_unknown_topology_is_reported():
    with cluster.Process([*cluster.TRAINER, "check", "--tpu_topology=v5e:3x3"]) as check:
        assert check.wait() == 2, check.said
    (line,) = [line for line in check.screen if line.startswith("WRONG")]
    assert "`data.global_batch_size` must divide evenly among replicas. Received: 64 for 9" in line
