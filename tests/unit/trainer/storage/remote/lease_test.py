"""Does a folder of a bucket have one holder at a time, and is a dead one replaced?"""

import re
import time

import pytest

from strategies.errors import Resumable
from trainer.storage.remote import lease as lease_lib
from trainer.storage.remote.address import Address
from trainer.storage.remote.bucket import ABSENT
from trainer.storage.remote.lease import Lease, LeaseLost


@pytest.fixture
def folder(bucket, monkeypatch):
    monkeypatch.setattr(lease_lib, "_POLL_EVERY_S", 0.05)
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


def test_the_lease_of_a_dead_holder_is_acquired_once_it_has_expired(folder, monkeypatch):
    monkeypatch.setattr(lease_lib, "EXPIRY_S", 0.5)
    Lease(folder, "me").acquire(0)
    began = time.monotonic()
    assert Lease(folder, "you").acquire(60) is False
    assert time.monotonic() - began >= 0.5
    assert Lease(folder, "you").acquire(0) is True


def test_a_renewed_lease_is_not_taken_and_the_error_names_its_holders_place(
    folder, bucket, monkeypatch
):
    monkeypatch.setattr(lease_lib, "EXPIRY_S", 0.5)
    mine = Lease(folder, "me")
    mine.acquire(0)
    renewing_until = time.monotonic() + 1.5

    def renew_and_sleep(seconds, sleep=time.sleep):
        if time.monotonic() < renewing_until:
            mine.renew()
        sleep(seconds)

    monkeypatch.setattr(lease_lib.time, "sleep", renew_and_sleep)
    with pytest.raises(
        Resumable, match=re.escape(f"{bucket.folder_url}/runs/one; stop that run")
    ) as caught:
        Lease(folder, "you").acquire(1.0)
    assert "process " in str(caught.value)
    assert Lease(folder, "you").acquire(60) is False
    assert time.monotonic() >= renewing_until


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
def test_a_damaged_lease_counts_as_held_until_it_expires(folder, monkeypatch, content):
    monkeypatch.setattr(lease_lib, "EXPIRY_S", 0.3)
    folder.write(lease_lib.OBJECT_NAME, content, ABSENT)
    with pytest.raises(Resumable):
        Lease(folder, "me").acquire(0)
    assert Lease(folder, "me").acquire(60) is False
