"""How does a test start processes that take part in a roll call?

With the fixture `start`, which also ends them.
"""

import contextlib

import pytest

from tests.unit.strategies.rendezvous.tasks import (
    FINGERPRINT,
    PATIENCE_S,
    Participant,
)


@pytest.fixture
def start():
    """Starts the participant for one task of a cluster; all are killed after the test."""
    with contextlib.ExitStack() as stack:

        def start_one(
            cluster, fingerprint=FINGERPRINT, timeout_s=PATIENCE_S, peer_timeout_s=PATIENCE_S
        ):
            participant = Participant(cluster, fingerprint, timeout_s, peer_timeout_s)
            stack.callback(participant.kill)
            return participant

        yield start_one
