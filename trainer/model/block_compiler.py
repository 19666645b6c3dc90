"""How is the gradient of a block compiled, for a recipe's own model on a CPU?

By XLA, block by block, unless its operations are ones that XLA computes slowly or not at all; then it
stays a plain graph. The model's operations decide, not the strategy: so a block has the same bits in a
loop and outside it, and on every strategy. The blocks of a batch are computed in parallel either way.
"""

import contextlib
import functools
from collections.abc import Callable, Iterator
from typing import Any
from unittest import mock

import keras
import tensorflow as tf

from trainer.config.fields import ConfigError
from trainer.data.dataset import Split
from trainer.model import model_checks
from trainer.model.step import TrainingProgram

# Operations that XLA computes several times slower on a CPU than TensorFlow does.
_CONVOLUTIONS = {"Conv2D", "Conv3D", "DepthwiseConv2dNative"}
_POOLS = {"MaxPool", "MaxPool3D", "AvgPool", "AvgPool3D"}


def choose(program: TrainingProgram, operations: set[str], wanted: str, sample: Split) -> str:
    """Has XLA compile the program's blocks where that is possible and pays. Returns how, and why.

    Args:
      operations: the kinds of TensorFlow's operations in a step.
      wanted: auto, graph or xla.
      sample: some examples.

    Raises ConfigError where the config wants XLA, and it cannot compile the model.
    """
    if wanted == "graph":
        return "as a graph, as the config says"
    slow = "" if wanted == "xla" else _reason_for_graph(program.model, operations)
    impossible = "" if slow else _reason_against_xla(program, sample)
    if wanted == "xla" and impossible:
        raise ConfigError(
            f"`train.compiler` must be auto or graph for this model, as {impossible}. Received: xla."
        )
    if reason := slow or impossible:
        return f"as a graph, as {reason}"
    compile_each(program)
    return "by XLA, block by block"


def keep_blocks_apart() -> None:
    """Lets TensorFlow run a graph as it is written: optimizing it moves operations between blocks."""
    tf.config.optimizer.set_experimental_options({"disable_meta_optimizer": True})


def compile_each(program: TrainingProgram) -> None:
    """Has XLA compile each of the program's blocks alone."""
    program.compile_blocks(_compiled)


def _reason_for_graph(model: keras.Model, operations: set[str]) -> str:
    if operations & _CONVOLUTIONS and _may_overlap(model):
        return "XLA computes convolutions slowly on a CPU"
    if operations & _POOLS:
        return "XLA computes pooling slowly on a CPU"
    if any(name is None for _, name in model_checks.embeddings(model)):
        return "XLA would not notice an index that is none of an embedding's"
    return ""


def _reason_against_xla(program: TrainingProgram, sample: Split) -> str:
    if program.shares_statistics:
        return "its blocks exchange the statistics of a batch"
    if program.blocks.kinds:
        return "its layers are cut into model blocks, which may exchange activations"
    (weights, _, layer_state), batch, key = model_checks.step_specs(program, sample)
    specs = (weights, layer_state, *program.block_specs(batch), key)

    def flat(*tensors):  # What gives the program's text takes no nested arguments.
        return program.block_terms(*tf.nest.pack_sequence_as(specs, tensors))

    try:
        _jitted(flat).experimental_get_compiler_ir(*tf.nest.flatten(specs))(stage="hlo")
    except (tf.errors.OpError, ValueError, TypeError) as error:
        return f"XLA cannot compile it ({str(error).splitlines()[0][:120]})"
    return ""


def _compiled(compute: Callable) -> Callable:
    """A function of a block as one that XLA compiles."""
    function = _jitted(compute)

    def call(*args):  # Numbers would be compiled in, block by block.
        return function(*tf.nest.map_structure(tf.convert_to_tensor, args))

    return call


def _jitted(compute: Callable) -> Any:
    def with_fast_draws(*args):
        with _fast_draws():
            return compute(*args)

    return tf.function(with_fast_draws, jit_compile=True, autograph=False)


@contextlib.contextmanager
def _fast_draws() -> Iterator[None]:
    """Inside it, what Keras traces draws from Philox, as it does without XLA.

    XLA's own choice of a generator is 15 times slower on a CPU.
    """
    with contextlib.ExitStack() as stack:
        for module, name, argument in (
            (tf.random, "stateless_uniform", "alg"),
            (tf.random, "stateless_normal", "alg"),
            (tf.random, "stateless_truncated_normal", "alg"),
            (tf.nn.experimental, "stateless_dropout", "rng_alg"),
        ):
            drawn = functools.partial(getattr(module, name), **{argument: "philox"})
            stack.enter_context(mock.patch.object(module, name, drawn))
        yield


def _may_overlap(model: keras.Model) -> bool:
    """Whether a pixel may be read several times: not in a net that cuts its input into patches."""
    layers = [layer for layer in model._flatten_layers() if hasattr(layer, "kernel_size")]
    return not layers or any(
        size > stride
        for layer in layers
        for size, stride in zip(layer.kernel_size, layer.strides, strict=True)
    )
