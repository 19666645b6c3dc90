"""Are public addresses pointed out, and others not?"""

import pytest

from strategies.cluster.spec import ClusterSpec, Task
from strategies.network.sockets import exposed


def _cluster(*hosts: str) -> ClusterSpec:
    return ClusterSpec({"worker": tuple(f"{host}:2222" for host in hosts)}, Task("worker", 0))


def test_private_addresses_and_names_are_not_public():
    cluster = _cluster("10.0.0.1", "192.168.1.1", "127.0.0.1", "[fd00::1]", "localhost", "host1")
    assert exposed(cluster, True) == ""
    assert exposed(ClusterSpec(), True) == exposed(_cluster("1.1.1.1"), True) == ""


@pytest.mark.parametrize("host", ["1.1.1.1", "[2606:4700::1111]"])
def test_a_literal_public_address_is_named(host):
    said = exposed(_cluster("10.0.0.1", host), True)
    assert said.startswith(
        f"public addresses: worker 1 ({host.strip('[]')}); TensorFlow's servers "
    )
    assert "SECURITY.md" in said
    assert "execute" not in exposed(_cluster("10.0.0.1", host), False)


def test_the_address_of_tf_config_is_the_one_that_is_told():
    cluster = _cluster("10.0.0.1", "1.1.1.1")
    assert "worker 1 (1.1.1.1)" in exposed(cluster, True, {Task("worker", 1): "1.0.0.1"})


def test_a_name_that_turns_out_to_be_public_is_named_with_its_address():
    hosts = {Task("worker", 1): "1.1.1.1"}
    assert "worker 1 (1.1.1.1)" in exposed(_cluster("host0", "host1"), False, hosts)
