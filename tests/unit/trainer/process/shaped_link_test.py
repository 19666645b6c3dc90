"""Is a link as slow as it is asked to be, and is one that cannot be made refused in one line?"""

import shlex
import subprocess
import sys

import pytest

from strategies.errors import InputError
from trainer.process import shaped_link

# Sends a number of bytes to itself, and prints the seconds.
SEND = """
import socket, sys, threading, time
server = socket.create_server(("127.0.0.1", 0))
rest = size = int(sys.argv[1])
send = lambda: socket.create_connection(server.getsockname()).sendall(bytes(size))
began = time.monotonic()
threading.Thread(target=send).start()
receiver, _ = server.accept()
while rest:
    rest -= len(receiver.recv(min(rest, 1 << 16)))
print(time.monotonic() - began)
"""


def inside(link, *command):
    shaping = " && ".join(map(shlex.join, shaped_link.commands(link)))
    made = ["unshare", "--map-root-user", "--net", "sh", "-c"]
    try:
        subprocess.run([*made, shaping], capture_output=True, check=True)
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"needs network namespaces: {error}")
    return subprocess.run(
        [*made, f'{shaping} && exec "$@"', "sh", *command],
        capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip


def test_bytes_take_the_time_of_the_rate():
    size = 4_000_000
    seconds = float(inside("16mbit", sys.executable, "-c", SEND, str(size)))
    # The bucket is full at the start: so much is sent at once.
    expected = 8 * (size - 256 * 1024) / 16e6
    assert 0.9 * expected < seconds < 1.5 * expected + 10  # For a machine that is busy.


def test_a_delay_is_before_the_rate():
    up, delay, rate = map(shlex.join, shaped_link.commands("2gbit,5ms"))
    assert up == "ip link set lo up"
    assert delay == "tc qdisc add dev lo root handle 1: netem delay 5ms"
    assert rate == "tc qdisc add dev lo parent 1: tbf rate 2gbit burst 2500000 latency 200ms"


@pytest.mark.parametrize("text", ["fast", "0mbit", "100", "10mbit,5", "10mbit;reboot", "1mbit,0ms"])
def test_what_is_no_link_is_refused(text):
    with pytest.raises(
        InputError, match="`--link` must be a rate, and perhaps a delay. Received: "
    ):
        shaped_link.enter(text, [], {})


def test_a_machine_that_cannot_make_it_says_so_in_one_line(monkeypatch):
    monkeypatch.setenv("PATH", "")
    with pytest.raises(InputError, match="`--link` needs a network namespace") as caught:
        shaped_link.enter("10mbit", [], {})
    assert "\n" not in str(caught.value)


def test_a_process_behind_the_link_stays():
    assert shaped_link.enter("10mbit", [], {"MUSTER_LINK": "10mbit"}) is None
