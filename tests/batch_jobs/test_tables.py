from __future__ import annotations

import os
import subprocess
import sys
from datetime import date, timedelta
from pathlib import Path
from unittest.mock import MagicMock

import pytest

from batch_jobs import files, run, tables
from batch_jobs.errors import CountsDontAddUp, LakeError, SeveralFailed, explain
from schemas.contract import all_contracts


def test_dates_stand_literally_in_the_condition():
    days = [date(2026, 10, 6), date(2026, 10, 5)]
    assert tables.date_list("old.event_date", days) == "old.event_date IN (DATE'2026-10-05', DATE'2026-10-06')"
    assert tables.date_list("event_date", []) == "false"


def test_a_lake_that_cannot_be_written_is_named(tmp_path):
    in_the_way = tmp_path / "file"
    in_the_way.write_text("")
    with pytest.raises(
        LakeError, match=rf"lake {in_the_way / 'lake'}: cannot be written \(Not a directory\).*GROCERY_LAKE"
    ):
        files.check_writable(str(in_the_way / "lake"))


def test_a_disk_with_too_little_space_is_named_before_the_run(tmp_path):
    with pytest.raises(LakeError, match="MB free, a run needs .* MB; make room"):
        files.check_writable(str(tmp_path), space_needed=2**60)
    assert list(tmp_path.iterdir()) == []


def test_two_runs_at_once_on_one_lake_are_refused(tmp_path):
    project = Path(run.__file__).parent.parent
    other = f"from batch_jobs.run import lease\nwith lease({str(tmp_path)!r}): pass"
    with run.lease(str(tmp_path)):
        refused = subprocess.run(
            [sys.executable, "-c", other], cwd=project, capture_output=True, text=True, check=False
        )
        assert f"another run is at work on it (process {os.getpid()})" in refused.stderr
    subprocess.run([sys.executable, "-c", other], cwd=project, check=True)


def test_a_patient_run_tells_whom_it_waits_for_and_goes_on_once_he_has_ended(tmp_path):
    project = Path(run.__file__).parent.parent
    hold = (
        f"import sys\nfrom batch_jobs.run import lease\nwith lease({str(tmp_path)!r}):\n print(1, flush=True); input()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", hold],
        cwd=project,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    ) as other:
        other.stdout.readline()
        told = []

        def end(words):
            told.append(words)
            other.stdin.close()

        with run.lease(str(tmp_path), timedelta(minutes=1), end):
            pass
    assert len(told) == 1
    assert f"(process {other.pid}); waiting until it has ended" in told[0]


def test_work_that_another_writer_was_in_the_way_of_is_done_again_and_other_errors_are_not():
    append = RuntimeError("io.delta.exceptions.ConcurrentAppendException: [DELTA_CONCURRENT_APPEND] …")
    columns = RuntimeError("Query terminated with exception: [DELTA_METADATA_CHANGED] MetadataChangedException: …")
    for error, tries in ((append, 3), (columns, 3), (ValueError("no"), 1)):
        begun = []

        def work(error=error, begun=begun):
            begun.append(1)
            raise error

        with pytest.raises(type(error)):
            run.unless_in_the_way(work, tries=3)
        assert len(begun) == tries
    assert run.unless_in_the_way(lambda: 7) == 7


def test_rows_of_the_audit_are_written_again_where_somebody_made_the_table_at_the_same_time(monkeypatch):
    spark, made = MagicMock(), []

    def ensure(*_):
        made.append(1)
        if len(made) == 1:
            raise RuntimeError("[DELTA_PROTOCOL_CHANGED] ProtocolChangedException: …")

    monkeypatch.setattr(tables, "ensure", ensure)
    layout = tables.files_layout("lake")
    tables.append(spark, layout, [()])
    # Before each of two tries, and once when the rows are there.
    assert len(made) == 3 and spark.createDataFrame.call_count == 1
    tables.append(spark, layout, [])
    assert len(made) == 3


def test_one_that_fails_keeps_no_other_from_its_work_and_each_failure_is_named(monkeypatch):
    monkeypatch.setattr(run, "AT_ONCE", 1)
    first, second, third, fourth, *_ = all_contracts()
    failing = {second.name: ValueError("Caused by: java.io.IOException: No space left on device")}

    def work(item):
        if item.name in failing:
            raise failing[item.name]
        return _Named(item.name)

    with pytest.raises(LakeError, match=f"silver {second.name}: No space left on device; free some space") as caught:
        run.in_parallel("silver", [first, second, third], work)
    assert [one.contract for one in caught.value.results] == [first.name, third.name]
    assert caught.value.failures == [caught.value]

    failing[fourth.name] = CountsDontAddUp("silver: 5 rows, but 4")
    with pytest.raises(SeveralFailed, match="No space left on device(.|\n)*silver: 5 rows, but 4") as caught:
        run.in_parallel("silver", [first, second, third, fourth], work)
    assert [one.contract for one in caught.value.results] == [first.name, third.name]
    assert [type(one) for one in caught.value.failures] == [LakeError, CountsDontAddUp]


class _Named:
    def __init__(self, contract: str) -> None:
        self.contract = contract


def test_a_spark_failure_is_told_by_its_root_cause():
    trace = (
        "Error\nCaused by: org.x.AnException: outer\n at x\nCaused by: java.lang.RuntimeException: the bottom\n at y"
    )
    assert str(explain(RuntimeError(trace), "bronze stores")) == "bronze stores: the bottom"
    alone = (
        "An error occurred while calling o7.execute.\n: java.lang.OutOfMemoryError: Java heap space\n\tat org.apache.…"
    )
    told = "bronze stores: java.lang.OutOfMemoryError: Java heap space"
    assert str(explain(RuntimeError(alone), "bronze stores")) == told
