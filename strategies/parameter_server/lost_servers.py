"""What is raised where a parameter server was lost? `lost_servers` turns TensorFlow's error into ours."""

import contextlib
from collections.abc import Iterator

import tensorflow as tf

from strategies.errors import Resumable


@contextlib.contextmanager
def lost_servers() -> Iterator[None]:
    """Raises Resumable in place of TensorFlow's error about a lost parameter server."""
    try:
        yield
    except (tf.errors.UnavailableError, tf.errors.AbortedError) as error:
        raise Resumable(
            "a parameter server was lost; run the same command again to resume from the last "
            f"checkpoint. ({str(error).splitlines()[0]})"
        ) from None
