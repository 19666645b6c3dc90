"""Does the warning name public addresses, and no others?"""

import pytest

from strategies.cluster.spec import ClusterSpec, Task
from strategies.network.sockets import public_address_warning


def _cluster(*hosts: str) -> ClusterSpec:
    return ClusterSpec({"worker": tuple(f"{host}:2222" for host in hosts)}, Task("worker", 0))


def test_private_addresses_and_names_are_not_public():
    cluster = _cluster("10.0.0.1", "192.168.1.1", "127.0.0.1", "[fd00::1]", "localhost", "host1")
    assert public_address_warning(cluster, True) == ""
    assert (
        public_address_warning(ClusterSpec(), True)
        == public_address_warning(_cluster("1.1.1.1"), True)
        == ""
    )


@pytest.mark.parametrize("host", ["1.1.1.1", "[2606:4700::1111]"])
def test_a_literal_public_address_is_named(host):
    warning = public_address_warning(_cluster("10.0.0.1", host), True)
    assert warning.startswith(
        f"public addresses: worker 1 ({host.strip('[]')}); TensorFlow's servers "
    )
    assert "SECURITY.md" in warning
    assert "execute" not in public_address_warning(_cluster("10.0.0.1", host), False)


def test_an_address_of_tf_config_is_shown_rather_than_the_connections():
    cluster = _cluster("10.0.0.1", "1.1.1.1")
    assert "worker 1 (1.1.1.1)" in public_address_warning(
        cluster, True, {Task("worker", 1): "1.0.0.1"}
    )


def test_a_host_name_is_shown_with_the_public_address_of_its_connection():
    hosts = {Task("worker", 1): "1.1.1.1"}
    assert "worker 1 (1.1.1.1)" in public_address_warning(_cluster("host0", "host1"), False, hosts)
