"""Are fingerprints compared field by field, and what a task may lack only where the leader has it?"""

from strategies.rendezvous.mismatch import IF_PRESENT, difference


def _of(*digests):
    """Fingerprints with these digests, the leader's first; None: the task has none."""
    return {
        f"worker {index}": {"batch": 64} | ({IF_PRESENT: {"weights": one}} if one else {})
        for index, one in enumerate(digests)
    }


def test_what_a_task_may_lack_is_compared_only_where_the_leader_has_it():
    assert difference(_of("a", None, "a")) is None
    assert difference(_of(None, "a", "b")) is None
    found = str(difference(_of("a", None, "b")))
    assert found.startswith("`weights` must be the same on every task. Received: ")
    assert '"a" on worker 0' in found and '"b" on worker 2' in found
