"""What do replicas agree on that take every step together? On the sum of their gradients, each step.

The strategies do that themselves, in compiled code; nothing is left for the agreement.
"""

from typing import ClassVar

from strategies.sync.agreement import Agreement


class Gradients(Agreement):
    """All replicas add their gradients in each step."""

    mode: ClassVar[str] = "gradients"
    trains_apart: ClassVar[bool] = False
