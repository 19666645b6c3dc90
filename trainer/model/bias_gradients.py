"""Would TensorFlow mix up the gradients of a model's biases? `check` refuses such a model.

On a CPU TensorFlow's oneDNN pass computes the gradient of a convolution's bias with that of its kernel.
It finds the pair by the operation that both gradients come from, and not by which of its outputs that is.
Where several convolutions are stacked, as by `TimeDistributed`, their gradients are outputs of one
operation, and a bias gets the gradient of another: which one differs from trace to trace.
"""

import os
from collections.abc import Iterable, Mapping

from trainer.config.fields import ConfigError

_KERNEL_GRADIENTS = {
    "Conv2DBackpropFilter": 2,
    "Conv2DBackpropFilterV2": 2,
}  # Where the gradient is.
_BIAS_GRADIENT = "BiasAddGrad"


def check(nodes: Iterable, environ: Mapping[str, str] = os.environ) -> None:
    """Raises ConfigError where the nodes of a step's graph are such that biases would be mixed up."""
    if environ.get("TF_ENABLE_ONEDNN_OPTS") == "0":
        return
    places = {_BIAS_GRADIENT: 0, **_KERNEL_GRADIENTS}
    outputs: dict[str, set[str]] = {}
    sources: dict[str, set[str]] = {"bias": set(), "kernel": set()}
    for node in nodes:
        if node.op in places:
            gradient = node.input[places[node.op]]
            source = gradient.partition(":")[0]
            outputs.setdefault(source, set()).add(gradient)
            sources["bias" if node.op == _BIAS_GRADIENT else "kernel"].add(source)
    if any(len(outputs[source]) > 1 for source in sources["bias"] & sources["kernel"]):
        raise ConfigError(
            "`get_model` must return a model whose convolutions' outputs are not stacked, as by "
            "TimeDistributed: TensorFlow's oneDNN would mix up the gradients of their biases. Received: "
            "one that stacks them; concatenate them, use use_bias=False, or set TF_ENABLE_ONEDNN_OPTS=0."
        )
