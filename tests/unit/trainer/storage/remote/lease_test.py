"""Does a folder of a bucket have one holder at a time, and never one that is dead for long?"""

import re
import time

import pytest

from strategies.errors import Resumable
from tests.bucket_server import BUCKET
from trainer.storage.remote import lease as lease_lib
from trainer.storage.remote.gcs import Address, Objects
from trainer.storage.remote.lease import Lease, LeaseLost


@pytest.fixture
def objects(bucket, monkeypatch):
    monkeypatch.setattr(lease_lib, "_LOOK_EVERY_S", 0.05)
    return Objects(Address.parse(f"gs://{BUCKET}/runs/one"))


def test_an_untouched_folder_is_taken_at_once_and_was_nobodys(objects):
    assert Lease(objects, "me").take(0) is False


def test_who_gave_it_back_is_known_for_the_last_and_others_need_not_wait(objects):
    mine = Lease(objects, "me")
    mine.take(0)
    mine.give_back()
    assert Lease(objects, "me").take(0) is True
    Lease(objects, "me").take(0)
    with pytest.raises(Resumable):
        Lease(objects, "you").take(0)


def test_who_died_here_is_followed_here_at_once(objects):
    Lease(objects, "me").take(0)
    assert Lease(objects, "me").take(0) is True


def test_who_died_elsewhere_is_waited_for_and_then_followed(objects, monkeypatch):
    monkeypatch.setattr(lease_lib, "EXPIRY_S", 0.5)
    Lease(objects, "me").take(0)
    began = time.monotonic()
    assert Lease(objects, "you").take(60) is False
    assert time.monotonic() - began >= 0.5
    assert Lease(objects, "you").take(0) is True


def test_who_beats_is_not_followed_and_who_waits_is_told_where_it_works(objects, monkeypatch):
    monkeypatch.setattr(lease_lib, "EXPIRY_S", 0.5)
    mine = Lease(objects, "me")
    mine.take(0)
    beating = time.monotonic() + 1.5

    def beat_and_sleep(seconds, sleep=time.sleep):
        if time.monotonic() < beating:
            mine.beat()
        sleep(seconds)

    monkeypatch.setattr(lease_lib.time, "sleep", beat_and_sleep)
    with pytest.raises(
        Resumable, match=re.escape(f"gs://{BUCKET}/runs/one; end that run")
    ) as caught:
        Lease(objects, "you").take(1.0)
    assert "process " in str(caught.value)
    assert Lease(objects, "you").take(60) is False
    assert time.monotonic() >= beating


def test_who_was_followed_is_told_at_its_next_beat(objects, monkeypatch):
    monkeypatch.setattr(lease_lib, "EXPIRY_S", 0.0)
    mine = Lease(objects, "me")
    mine.take(0)
    Lease(objects, "you").take(0)
    with pytest.raises(LeaseLost):
        mine.beat()


def test_who_has_not_beaten_for_long_knows_that_it_may_be_taken_for_dead(objects, monkeypatch):
    mine = Lease(objects, "me")
    assert not mine.is_fresh
    mine.take(0)
    assert mine.is_fresh
    monkeypatch.setattr(lease_lib, "EXPIRY_S", 0.0)
    assert not mine.is_fresh


def test_of_two_who_follow_a_dead_one_only_one_does(objects, monkeypatch):
    """The other has looked already when the first writes."""
    monkeypatch.setattr(lease_lib, "EXPIRY_S", 0.0)
    Lease(objects, "dead").take(0)
    first, second = Lease(objects, "first"), Lease(objects, "second")
    seen = second._look()
    assert first.take(0) is False
    assert not second._write(seen.generation, True)
    first.beat()


def test_a_beat_whose_answer_was_lost_is_ones_own(objects, bucket):
    mine = Lease(objects, "me")
    mine.take(0)
    bucket.lost_answers = 1
    mine.beat()
    mine.beat()


@pytest.mark.parametrize("content", [b"", b"{", b"[1]", b'{"holder": "me"}'])
def test_a_damaged_one_is_waited_for_as_if_somebody_were_at_work(objects, monkeypatch, content):
    monkeypatch.setattr(lease_lib, "EXPIRY_S", 0.3)
    objects.write(lease_lib.NAME, content, 0)
    with pytest.raises(Resumable):
        Lease(objects, "me").take(0)
    assert Lease(objects, "me").take(60) is False
