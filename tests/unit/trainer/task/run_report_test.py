"""Can a report harm a run? What goes wrong with it is one warning."""

import logging
from types import SimpleNamespace
from typing import Any, cast

from trainer.storage.workdir import Workdir
from trainer.task import run_report


def test_what_goes_wrong_is_one_line_and_no_error(tmp_path, caplog):
    class Broken:
        def __getattr__(self, name):
            raise RuntimeError("two\nlines")

    caplog.set_level(logging.WARNING)
    broken = cast(Any, SimpleNamespace(cluster=Broken(), options=Broken(), config=None))
    run_report.write(
        broken, cast(Any, SimpleNamespace(dataset=1, choice=Broken())), Workdir(tmp_path), None
    )
    (record,) = caplog.records
    assert record.getMessage() == "no report was written: two lines"
    assert [*tmp_path.iterdir()] == []
