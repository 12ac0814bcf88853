from __future__ import annotations

import json
import time
from contextlib import nullcontext
from pathlib import Path

import pytest

from batch_jobs import landing, silver, tables
from batch_jobs.errors import BatchError, CountsDontAddUp, LakeError
from batch_jobs.landing import LOADED, SET_ASIDE, Fate, Landed, LandingError, Taken
from schemas.contract import contract
from tests.batch_jobs.bronze_rows import NOON, READINGS, a_run, reading, receive, versions
from tests.fixtures.landing import BEGUN, LONG_AGO, land, put

KEY = "sensor-readings/2026/10/05/12/grocery-1-2026-10-05-12-03-44-8d1f.gz"


def load(spark, tmp_path: Path, run: str = "r1", *, contracts=(READINGS,), **options) -> Taken:
    """The files in <tmp_path>/in; what the first contract's came to."""
    return landing.land(spark, a_run(tmp_path / "lake", run), str(tmp_path / "in"), contracts, **options)[0]


def curate(spark, tmp_path: Path, run: str = "r1") -> silver.Curated:
    (done,) = silver.silver(spark, a_run(tmp_path / "lake", run), [READINGS])
    return done


def rows(spark, tmp_path: Path) -> list:
    found = tables.read(spark, tables.path_of(str(tmp_path / "lake"), "bronze", "sensor_readings"))
    return found.orderBy("topic_id", "offset", "partition").collect()


def audited(spark, tmp_path: Path) -> list:
    return (
        tables.read(spark, tables.files_layout(str(tmp_path / "lake")).path).orderBy("run_id", "object_key").collect()
    )


def states(taken: Taken) -> dict[str, tuple[str, int, bool]]:
    """name -> state, rows, known."""
    return {Path(fate.file.key).name: (fate.state, fate.rows, fate.known) for fate in taken.fates}


@pytest.mark.integration
def test_files_come_into_bronze_once_with_their_lines_and_silver_settles_what_came_twice(spark, tmp_path):
    (tmp_path / "lake").mkdir()
    receive(spark, tmp_path / "lake", [reading(1), reading(2)])  # over Kafka
    first = land(tmp_path / "in", [reading(2), b"{broken", b"\xff{", reading(3)])
    land(tmp_path / "in", [reading(4), reading(5), reading(6)], 2, between=b"")
    land(tmp_path / "in", [reading(4), reading(5), reading(6)], 2, between=b"", delivery="again")
    put(tmp_path / "in/sensor-readings/late [1] *.ndjson", json.dumps(reading(7)).encode())

    taken = load(spark, tmp_path)
    assert [fate.state for fate in taken.fates] == ["loaded"] * 4
    assert taken.rows == 11
    found = {(row.topic_id.partition("@")[0], row.offset, row.partition): row for row in rows(spark, tmp_path)}
    key = str(first.relative_to(tmp_path / "in"))
    assert [(line, place) for name, line, place in found if name == key] == [(1, -1), (2, -1), (3, -1), (4, -1)]
    assert [found[key, line, -1].payload for line in (2, 3)] == ["{broken", "base64:/3s="]
    row = found[key, 1, -1]
    assert (row.cluster, row.topic, row.key, row.run_id) == (str(tmp_path / "in"), "sensor-readings", None, "r1")
    assert row.arrived_at.isoformat() == "2026-10-05T12:03:44"
    assert sorted(place for name, _, place in found if "-2-2026" in name) == [-3, -3, -2, -2, -1, -1]
    assert {one.state for one in audited(spark, tmp_path)} == {"loaded"}
    assert sum(one["rows"] for one in audited(spark, tmp_path)) == 11

    done = curate(spark, tmp_path)
    # 13 rows: readings 1 to 7, one of them by both ways, three delivered twice, two that are none
    assert (done.rows, done.inserted, done.duplicate, done.quarantined) == (13, 7, 4, 2)

    before = versions(spark, tmp_path / "lake")
    again = load(spark, tmp_path, "r2")
    assert (again.rows, [fate.known for fate in again.fates]) == (0, [True] * 4)
    assert versions(spark, tmp_path / "lake") == before

    changed = [reading(2), reading(8)]  # the same key with other bytes
    land(tmp_path / "in", changed)
    assert load(spark, tmp_path, "r3").rows == 2
    done = curate(spark, tmp_path, "r3")
    assert (done.inserted, done.duplicate, done.quarantined) == (1, 1, 0)


@pytest.mark.integration
def test_bad_files_are_set_aside_by_name_and_the_others_are_loaded(spark, tmp_path):
    folder = tmp_path / "in" / "sensor-readings"
    land(tmp_path / "in", [reading(1)])
    cut = land(tmp_path / "in", [reading(n) for n in range(2, 30)], 2)
    put(cut, cut.read_bytes()[:-30])
    put(folder / "a.parquet", b"PAR1....PAR1")
    put(folder / "young.ndjson", json.dumps(reading(40)).encode(), time.time())
    put(folder / "_temporary" / "part", b"not meant to be read")
    put(tmp_path / "in" / "sensor-reading" / "typo.ndjson", b"{}")
    put(tmp_path / "in" / "lost.ndjson", b"{}")

    run = a_run(tmp_path / "lake", "r1")
    taken, strays = landing.land(spark, run, str(tmp_path / "in"), [READINGS])
    assert sorted(state for state, *_ in states(taken).values()) == ["loaded", "set_aside", "set_aside", "waiting"]
    assert (states(taken)[cut.name], taken.rows) == (("set_aside", 0, False), 1)
    reasons = {Path(fate.file.key).name: fate.reason for fate in taken.open + strays.open}
    assert reasons[cut.name].startswith("truncated: the gzip ends in the middle; have it delivered again")
    assert reasons["a.parquet"].startswith("not_ndjson: it is Parquet")
    assert reasons["typo.ndjson"].startswith("no_contract: no contract has the topic sensor-reading; ")
    assert reasons["lost.ndjson"].startswith("no_contract: it lies in no topic's folder; ")
    assert len(audited(spark, tmp_path)) == 6

    # The next run does not read them again, still says so, and takes what has changed.
    land(tmp_path / "in", [reading(n) for n in range(2, 30)], 2)
    put(folder / "young.ndjson", json.dumps(reading(40)).encode())
    taken, strays = landing.land(spark, a_run(tmp_path / "lake", "r2"), str(tmp_path / "in"), [READINGS], accept=True)
    assert taken.rows == 29
    assert states(taken)["a.parquet"] == ("set_aside", 0, False)
    assert (taken.open, strays.open) == ([], [])
    taken, strays = landing.land(spark, a_run(tmp_path / "lake", "r3"), str(tmp_path / "in"), [READINGS])
    assert all(fate.known for fate in taken.fates + strays.fates)
    assert (taken.open, strays.open) == ([], [])


@pytest.mark.integration
def test_a_file_that_cannot_be_read_is_accepted_until_it_changes_and_loaded_once_it_can_be_read(
    spark, tmp_path, monkeypatch
):
    locked = put(tmp_path / "in/sensor-readings/locked.ndjson", json.dumps(reading(1)).encode())

    def refuse(path):
        raise PermissionError(13, "Permission denied")

    with monkeypatch.context() as without_right:
        without_right.setattr(landing, "_sha256", refuse)
        first = load(spark, tmp_path)
        assert [fate.reason[:10] for fate in first.open] == ["unreadable"]
        again = load(spark, tmp_path, "r2")
        assert [(fate.known, fate.accepted) for fate in again.open] == [(True, False)]
        assert load(spark, tmp_path, "r3", accept=True).open == []
        accepted = load(spark, tmp_path, "r4")
        assert (accepted.open, states(accepted)) == ([], {locked.name: ("set_aside", 0, True)})
        assert [row.run_id for row in audited(spark, tmp_path)] == ["r1", "r3"]
        put(locked, json.dumps(reading(22)).encode(), LONG_AGO + 1)
        assert len(load(spark, tmp_path, "r5").open) == 1
    # The right is given: the file is what it was.
    taken = load(spark, tmp_path, "r6")
    assert states(taken) == {locked.name: ("loaded", 1, False)}
    assert len(rows(spark, tmp_path)[0].topic_id.partition("@")[2]) == 64, "known by its bytes"


@pytest.mark.system
@pytest.mark.integration
def test_a_run_that_was_killed_between_its_writes_does_no_harm(spark, tmp_path, monkeypatch):
    land(tmp_path / "in", [reading(1), reading(2)])
    land(tmp_path / "in", [reading(3)], 2)
    monkeypatch.setattr(landing, "COMMIT_FILES", 1)
    with monkeypatch.context() as killed:
        written = []

        def in_bronze(self, item, some):
            written.append(some)
            raise KeyboardInterrupt

        killed.setattr(landing._AtHand, "_in_bronze", in_bronze)
        with pytest.raises(BatchError):
            load(spark, tmp_path)
    assert len(written) == 1
    assert len(rows(spark, tmp_path)) == 2
    assert not (tmp_path / "lake" / "audit").exists()

    taken = load(spark, tmp_path, "r2")
    assert sorted(fate.rows for fate in taken.fates) == [1, 2]
    assert [row.run_id for row in rows(spark, tmp_path)] == ["r1", "r1", "r2"]
    assert {row.state for row in audited(spark, tmp_path)} == {"loaded"}


@pytest.mark.integration
def test_what_a_first_try_loaded_before_somebody_was_in_the_way_is_there_and_counted_once(spark, tmp_path, monkeypatch):
    land(tmp_path / "in", [reading(1), reading(2)])
    land(tmp_path / "in", [reading(3)], 2)
    monkeypatch.setattr(landing, "COMMIT_FILES", 1)
    look, begun = landing._AtHand._in_bronze, []

    def in_the_way_once(self, item, some):
        begun.append(some)
        if len(begun) == 1:
            raise RuntimeError("[DELTA_METADATA_CHANGED] MetadataChangedException: …")
        return look(self, item, some)

    monkeypatch.setattr(landing._AtHand, "_in_bronze", in_the_way_once)
    taken = load(spark, tmp_path)
    assert sorted(fate.rows for fate in taken.fates) == [1, 2]
    assert len(rows(spark, tmp_path)) == 3


@pytest.mark.system
@pytest.mark.integration
def test_a_file_that_changes_or_goes_while_the_run_is_at_it_waits(spark, tmp_path, monkeypatch):
    grows = put(tmp_path / "in/sensor-readings/grows.ndjson", json.dumps(reading(1)).encode())
    goes = put(tmp_path / "in/sensor-readings/goes.ndjson", json.dumps(reading(2)).encode())
    list_files = landing.survey

    def survey(*args):
        found = list_files(*args)
        grows.write_bytes(b'{"more": 1}\n' * 9)
        goes.unlink()
        return found

    monkeypatch.setattr(landing, "survey", survey)
    monkeypatch.setattr(landing, "_sha256", lambda path: f"hash-of-{path}")  # read a moment before
    assert states(load(spark, tmp_path)) == {
        "goes.ndjson": ("waiting", 0, False),
        "grows.ndjson": ("waiting", 0, False),
    }
    assert rows(spark, tmp_path) == []


@pytest.mark.integration
def test_a_landing_that_is_not_there_is_named(spark, tmp_path):
    with pytest.raises(LandingError, match=r"landing .*/in: there is nothing; let GROCERY_LANDING name"):
        load(spark, tmp_path)
    with pytest.raises(LandingError, match="there is nothing"):
        load(spark, tmp_path, strays=False)


@pytest.mark.integration
def test_a_contract_that_was_chosen_has_its_own_folders_looked_at_only(spark, tmp_path):
    land(tmp_path / "in", [reading(1)])
    put(tmp_path / "in" / "elsewhere" / "a.ndjson", b"{}")
    run = a_run(tmp_path / "lake")
    (stores,) = landing.land(spark, run, str(tmp_path / "in"), [contract("stores")], strays=False)
    assert stores.fates == []


@pytest.mark.parametrize("fails", ["work", "record"])
def test_a_failed_run_names_strays_and_what_was_set_aside_before_all_the_same(monkeypatch, fails):
    def file(key: str) -> Landed:
        return Landed(key, f"/in/{key}", 9, NOON, None)

    def fail(*_):
        raise RuntimeError("[DELTA_METADATA_CHANGED] MetadataChangedException: …")

    cut, fine, lost = file("sensor-readings/cut.gz"), file("sensor-readings/fine.gz"), file("lost.ndjson")
    ours, theirs = READINGS, contract("stores")
    bad = Fate(file("stores/a.gz"), SET_ASIDE, reason="empty: 0 bytes")
    before = landing.History(
        {(cut.key, "etag"): (SET_ASIDE, "truncated: …", False, "id"), (fine.key, "etag"): (LOADED, "", False, "id")},
        {(one.key, one.size, one.modified_ms): "etag" for one in (cut, fine)},
    )

    def take(self, item, listed):
        return fail() if item == ours and fails == "work" else Taken(item.name, [bad] if item == theirs else [])

    monkeypatch.setattr(landing, "survey", lambda *_: [cut, fine, bad.file, lost])
    monkeypatch.setattr(landing, "history", lambda *_: before)
    monkeypatch.setattr(landing, "_one_file_at_a_time", lambda _: nullcontext())
    monkeypatch.setattr(landing._AtHand, "take", take)
    recorded = []
    monkeypatch.setattr(landing, "_record", fail if fails == "record" else lambda *given: recorded.append(given[2]))
    with pytest.raises(LakeError, match="someone else wrote the same table") as told:
        landing.land(None, a_run(Path("lake")), "/in", [ours, theirs])
    named = [fate.file.key for one in told.value.results for fate in one.open]
    assert named == [bad.file.key, *([cut.key] if fails == "work" else []), lost.key]
    assert [note.split()[2] for note in told.value.__notes__] == named
    assert recorded == ([told.value.results] if fails == "work" else [])


def test_the_name_tells_when_firehose_began_the_file():
    assert landing.begun_at(KEY) == BEGUN
    for name in ("a.ndjson", "grocery-1-2026-13-05-12-03-44-8d1f.gz", "2026-10-05-12-03-44-x/part-0.gz"):
        assert landing.begun_at(f"sensor-readings/{name}") is None


def a_file(key: str, size: int = 1, hour: int = 0) -> Landed:
    return Landed(key, f"file:/in/{key}", size, NOON.replace(hour=hour), "etag")


def test_commits_are_bounded_in_files_and_bytes_and_follow_arrival(monkeypatch):
    monkeypatch.setattr(landing, "COMMIT_FILES", 2)
    monkeypatch.setattr(landing, "COMMIT_BYTES", 10)
    new = [a_file("t/d", 50, 3), a_file("t/a", 1, 2), a_file("t/b", 1, 1), a_file("t/c", 1, 0)]
    assert [[file.key for file in some] for some in landing.in_commits(new)] == [["t/c", "t/b"], ["t/a"], ["t/d"]]


def test_a_file_without_a_state_or_with_two_is_no_result():
    one, other = a_file("t/a"), a_file("t/b")
    Taken("t", [Fate(one, "loaded"), Fate(other, "waiting")]).check([one, other])
    for fates in ([Fate(one, "loaded")], [Fate(one, "loaded"), Fate(one, "waiting"), Fate(other, "waiting")]):
        with pytest.raises(CountsDontAddUp, match="files t: 2 files"):
            Taken("t", fates).check([one, other])
