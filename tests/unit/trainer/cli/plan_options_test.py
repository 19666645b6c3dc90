"""Are the numbers and quantities of `plan` read as written, and refused with a fix?"""

import pytest

from trainer.cli import parser as cli_parser
from trainer.cli.plan_options import PlanOptions
from trainer.config.fields import ConfigError


def _plan(*argv: str) -> PlanOptions:
    command = cli_parser.parse(["plan", *argv])
    assert isinstance(command, PlanOptions)
    return command


def test_plan_takes_fields_numbers_of_workers_and_a_link():
    command = _plan(
        "--config=mnist_dense",
        "--config.train.seed=1",
        "--workers=1..1024",
        "--bandwidth=100Mbit",
        "--latency=0.1ms",
        "--accuracy=64,1024",
    )
    assert command.overrides == {"train.seed": "1"}
    assert command.worker_counts == (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)
    assert command.accuracy_counts == (64, 1024)
    assert (command.bits_per_s, command.latency_s) == (1e8, pytest.approx(1e-4))


@pytest.mark.parametrize(
    "typed, numbers",
    [("3", (3,)), ("6,1,2", (1, 2, 6)), ("3..20", (3, 4, 8, 16, 20)), ("1..2,7", (1, 2, 7))],
)
def test_a_range_has_its_ends_and_the_powers_of_two_between(typed, numbers):
    assert _plan(f"--workers={typed}").worker_counts == numbers


@pytest.mark.parametrize("typed", ["", "0", "1..", "8..2", "two", "1,,2", "99999"])
def test_no_numbers_are_refused_with_a_fix(typed):
    with pytest.raises(ConfigError) as caught:
        _plan(f"--workers={typed}")
    assert str(caught.value) == (
        "`--workers` must be numbers from 1 to 65536, or a range of them. Received: "
        f'"{typed}"; try --workers=1,2,4 or --workers=1..64.'
    )


@pytest.mark.parametrize("typed", ["100", "mbit", "0mbit", "1 gbit", "-1gbit", "1ms"])
def test_no_bandwidth_is_refused_with_a_fix(typed):
    with pytest.raises(ConfigError) as caught:
        _plan(f"--bandwidth={typed}")
    assert str(caught.value) == (
        "`--bandwidth` must be a number above 0 and one of bit, kbit, mbit, gbit. Received: "
        f'"{typed}"; try --bandwidth=100mbit.'
    )
