"""Which connections are closed, and which addresses does the warning call public?"""

import contextlib
import socket

import pytest

from strategies.cluster.spec import ClusterSpec, Task
from strategies.network.sockets import close_connections_to, public_address_warning


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


def test_closing_the_connections_to_an_address_leaves_those_to_others():
    listeners = [socket.create_server(("127.0.0.1", 0)) for _ in range(2)]
    addresses = [f"127.0.0.1:{listener.getsockname()[1]}" for listener in listeners]
    with contextlib.ExitStack() as stack:
        for listener in listeners:
            stack.enter_context(listener)
        theirs, others = (
            stack.enter_context(socket.create_connection(address.split(":"), 60))
            for address in addresses
        )
        # As gRPC makes them.
        by_ipv6 = stack.enter_context(socket.socket(socket.AF_INET6))
        by_ipv6.settimeout(60)
        by_ipv6.connect(("::ffff:127.0.0.1", int(addresses[0].split(":")[1])))
        close_connections_to(addresses[0])
        assert theirs.recv(1) == by_ipv6.recv(1) == b""
        others.setblocking(False)
        with pytest.raises(BlockingIOError):
            others.recv(1)
