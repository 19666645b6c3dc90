"""How do tests resolve a cluster from flags and an environment, and read its error?"""

import pytest

from strategies.cluster import resolve
from strategies.cluster.flags import ClusterFlags
from strategies.errors import ClusterError


def found(cluster="", task="", ps=0, **environ):
    return resolve.find(ClusterFlags(cluster, task, ps), environ)


def error_of(*flags, **environ):
    with pytest.raises(ClusterError) as caught:
        found(*flags, **environ)
    assert len(str(caught.value).splitlines()) == 1
    return str(caught.value)
