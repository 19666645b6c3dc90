"""Is the number of threads the environment's, and one for each operation where that is asked for?"""

import pytest

from strategies.devices import threads

_INTRA_OP, _INTER_OP = "TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS"


@pytest.mark.parametrize(
    "environ, expected",
    [
        ({}, {_INTRA_OP: "1"}),
        ({_INTRA_OP: "1"}, {_INTRA_OP: "1"}),
        ({_INTRA_OP: "3"}, {_INTRA_OP: "1", _INTER_OP: "3"}),
        ({_INTRA_OP: "3", _INTER_OP: "2"}, {_INTRA_OP: "1", _INTER_OP: "2"}),
    ],
)
def test_threads_of_one_operation_become_operations_in_parallel(environ, expected):
    threads.use_one_per_operation(environ)
    assert environ == expected
    threads.use_one_per_operation(environ)
    assert environ == expected and threads.num_threads(environ) == 1
