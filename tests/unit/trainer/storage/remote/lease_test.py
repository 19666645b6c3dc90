"""Does a folder of a bucket have one holder at a time, and is a dead one replaced?"""

import re
from types import SimpleNamespace

import pytest

from strategies.errors import Resumable
from trainer.storage.remote import lease as lease_lib
from trainer.storage.remote.address import Address
from trainer.storage.remote.bucket import ABSENT
from trainer.storage.remote.lease import Lease, LeaseLost


class Clock:
    """A lease's time, which passes only while it sleeps, and by `advance`."""

    def __init__(self):
        self.now = 1000.0
        self.during_sleep = lambda: None

    def monotonic(self):
        return self.now

    def sleep(self, seconds):
        self.during_sleep()
        self.now += seconds

    def advance(self, seconds):
        self.now += seconds


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(
        lease_lib, "time", SimpleNamespace(monotonic=clock.monotonic, sleep=clock.sleep)
    )
    monkeypatch.setattr(lease_lib, "_POLL_EVERY_S", 9.0)
    return clock


@pytest.fixture
def folder(bucket, clock):
    return Address.parse(f"{bucket.folder_url}/runs/one").open()


def test_an_unused_folder_is_acquired_at_once(folder):
    assert Lease(folder, "me").acquire(0) is False


def test_a_released_lease_names_its_last_holder_and_others_need_not_wait(folder):
    mine = Lease(folder, "me")
    mine.acquire(0)
    mine.release()
    assert Lease(folder, "me").acquire(0) is True
    Lease(folder, "me").acquire(0)
    with pytest.raises(Resumable):
        Lease(folder, "you").acquire(0)


def test_the_same_holder_acquires_the_lease_again_at_once(folder):
    Lease(folder, "me").acquire(0)
    assert Lease(folder, "me").acquire(0) is True


def test_the_lease_of_a_dead_holder_is_acquired_once_it_has_expired(folder, clock):
    Lease(folder, "me").acquire(0)
    began = clock.now
    assert Lease(folder, "you").acquire(60) is False
    assert clock.now - began == lease_lib.EXPIRY_S
    assert Lease(folder, "you").acquire(0) is True


def test_a_renewed_lease_is_not_taken_and_the_error_names_its_holders_place(folder, bucket, clock):
    mine = Lease(folder, "me")
    mine.acquire(0)
    renewing_until = clock.now + 3 * lease_lib.EXPIRY_S
    clock.during_sleep = lambda: clock.now < renewing_until and mine.renew()
    with pytest.raises(
        Resumable, match=re.escape(f"{bucket.folder_url}/runs/one; stop that run")
    ) as caught:
        Lease(folder, "you").acquire(2 * lease_lib.EXPIRY_S)
    assert "process " in str(caught.value)
    assert Lease(folder, "you").acquire(120) is False
    assert clock.now >= renewing_until


def test_a_renewal_that_a_slow_bucket_has_told_late_counts(folder, bucket, clock):
    """The answer may be of the moment at which it comes."""
    mine = Lease(folder, "me")
    mine.acquire(0)

    def answer_late() -> None:
        bucket.before_request = lambda: None
        clock.advance(lease_lib.EXPIRY_S + 1)

    bucket.before_request = answer_late
    with pytest.raises(Resumable):
        Lease(folder, "you").acquire(0)
    mine.renew()


def test_a_holder_whose_lease_was_taken_learns_it_at_the_next_renewal(folder, monkeypatch):
    monkeypatch.setattr(lease_lib, "EXPIRY_S", 0.0)
    mine = Lease(folder, "me")
    mine.acquire(0)
    Lease(folder, "you").acquire(0)
    with pytest.raises(LeaseLost):
        mine.renew()


def test_a_lease_that_was_not_renewed_in_time_is_not_valid(folder, monkeypatch):
    mine = Lease(folder, "me")
    assert not mine.is_valid
    mine.acquire(0)
    assert mine.is_valid
    monkeypatch.setattr(lease_lib, "EXPIRY_S", 0.0)
    assert not mine.is_valid


def test_only_one_of_two_waiting_runs_acquires_an_expired_lease(folder, monkeypatch):
    """The other has read the state already when the first writes."""
    monkeypatch.setattr(lease_lib, "EXPIRY_S", 0.0)
    Lease(folder, "dead").acquire(0)
    first, second = Lease(folder, "first"), Lease(folder, "second")
    state = second._read()
    assert first.acquire(0) is False
    assert not second._write(state.version, True)
    first.renew()


def test_a_renewal_whose_response_was_lost_has_succeeded(folder, bucket):
    mine = Lease(folder, "me")
    mine.acquire(0)
    bucket.lost_responses = 1
    mine.renew()
    mine.renew()


@pytest.mark.parametrize("content", [b"", b"{", b"[1]", b'{"holder": "me"}'])
def test_a_damaged_lease_counts_as_held_until_it_expires(folder, content):
    folder.write(lease_lib.OBJECT_NAME, content, ABSENT)
    with pytest.raises(Resumable):
        Lease(folder, "me").acquire(0)
    assert Lease(folder, "me").acquire(60) is False
