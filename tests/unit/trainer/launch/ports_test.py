"""The ports for a cluster on this machine."""

import socket

from trainer.launch import ports as ports_lib


def test_free_ports_can_be_bound_and_are_below_those_of_outgoing_connections():
    ports = ports_lib.free_ports(20)
    assert len(set(ports)) == 20
    for port in ports:
        with socket.socket() as listener:
            listener.bind(("127.0.0.1", port))
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        assert max(ports) < other.getsockname()[1]
