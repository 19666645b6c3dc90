"""How many bits a second does a link carry? Two tasks swap messages over it, and one prints it.

    python -m benchmarks.carried ADDRESS PORT accept|connect

Both send at once, as workers do. Bits are those of an Ethernet, of which TCP carries 1448 of 1538 bytes.
A link that is limited by `tc` carries less than its limit where the kernel is too late to send.
"""

import socket
import statistics
import sys
import threading
import time

_MESSAGE = 400_000  # Bytes: about the gradients of the net that `benchmarks.plan` trains.
_ROUNDS = 40
_BYTES_OF_PACKET, _PAYLOAD = 1538, 1448
_TIMEOUT_S = 60.0


def main() -> None:
    address, role = (sys.argv[1], int(sys.argv[2])), sys.argv[3]
    if role == "accept":
        with socket.create_server(address) as listener:
            print("listening", flush=True)
            listener.settimeout(_TIMEOUT_S)
            connection, _ = listener.accept()
    else:
        connection = socket.create_connection(address, timeout=_TIMEOUT_S)
    with connection:
        connection.settimeout(_TIMEOUT_S)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        seconds = statistics.median([_swap(connection) for _ in range(_ROUNDS)])
    if role == "connect":
        print(_MESSAGE * _BYTES_OF_PACKET / _PAYLOAD * 8 / seconds)


def _swap(connection: socket.socket) -> float:
    """Seconds until this task has received a message and sent one."""
    began = time.perf_counter()
    sender = threading.Thread(target=connection.sendall, args=(bytes(_MESSAGE),))
    sender.start()
    left = _MESSAGE
    while left:
        received = len(connection.recv(left))
        if not received:
            raise EOFError("the other task has ended")
        left -= received
    sender.join()
    return time.perf_counter() - began


if __name__ == "__main__":
    main()
