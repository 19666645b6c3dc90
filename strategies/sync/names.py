"""Which names have the ways to agree? Configs and flags need these, not the code behind them."""

EVERY_STEP = ("gradients",)
APART = ("parameters", "dynamic", "federated")  # Replicas take steps without each other.
ON_SERVERS = ("async_window", "async")
MODES = (*EVERY_STEP, *APART, *reversed(ON_SERVERS))

SLOTS = ("keep", "average", "reset")  # What becomes of a replica's optimizer state.
OUTERS = ("none", "sgd", "nesterov")  # How the mean update changes the weights.
COMPRESSIONS = ("none", "bf16", "fp16", "int8", "topk")
