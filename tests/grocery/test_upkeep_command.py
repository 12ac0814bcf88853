from __future__ import annotations

import io

import duckdb
import pytest
from rich.console import Console
from typer.testing import CliRunner

from batch_jobs import erasure
from batch_jobs.erasure import Cleaned, Erasure
from batch_jobs.maintenance import Kept
from batch_jobs.sought import Scan, Sought
from grocery.cli import app
from grocery.commands import batch, upkeep
from grocery.settings import settings
from ingestion.pseudonym import Pseudonyms

KEY = "sixteen secret bytes"
CUSTOMER = Pseudonyms(KEY.encode()).of("90210-4711")


@pytest.fixture
def grocery(tmp_path, monkeypatch):
    """Runs `grocery …` in a home of its own, and says what was typed into it."""
    monkeypatch.setenv("GROCERY_HOME", str(tmp_path))
    monkeypatch.setenv("GROCERY_PSEUDONYM_KEY", KEY)
    settings.cache_clear()
    yield lambda *words, typed="": CliRunner().invoke(app, list(words), input=typed)
    settings.cache_clear()


def erase(grocery, *words, typed="90210-4711\n"):
    return grocery("batch", "erase", "--reference", "DSR 17", *words, typed=typed)


@pytest.fixture
def asked(monkeypatch):
    """Stands in for the lake: what it was asked to erase."""
    seen = []

    def note(self, about, reference, dry_run):
        seen.append((about, reference, dry_run))
        return True

    monkeypatch.setattr(batch.AtWork, "erase", note)
    return seen


def test_a_number_from_a_pipe_is_hashed_as_the_gate_does(grocery, asked):
    assert erase(grocery, typed=" 90210-4711 \n\n90210-4711\n").exit_code == 0
    ((about, reference, dry_run),) = asked
    assert (about.pseudonyms, reference, dry_run) == ((CUSTOMER,), "DSR 17", False)


def test_a_plate_is_hashed_however_it_is_written_and_a_hash_is_taken_as_it_is(grocery, asked):
    erase(grocery, "--given", "plate", typed="m-ab 1234\n")
    erase(grocery, "--given", "pseudonym", "--dry-run", typed=CUSTOMER)
    (plate, *_), (itself, _, dry_run) = asked
    assert plate.pseudonyms == (Pseudonyms(KEY.encode()).of("MAB1234", "car"),)
    assert (itself.pseudonyms, itself.plain, dry_run) == ((CUSTOMER,), (), True)


@pytest.mark.parametrize(
    ("words", "typed", "told"),
    [
        ((), "\n", "no loyalty_number given"),
        (("--given", "name"), "Smith", "--given name: there are loyalty_number, plate, pseudonym"),
        (("--given", "pseudonym"), "cust_12\n", "1 of 1 lines are no pseudonym"),
        (("--given", "plate"), " - \n", "1 of 1 lines hold no plate"),
        (("--reference", "90210-4711 wants out"), "90210-4711", "--reference holds the value that shall be erased"),
    ],
)
def test_what_cannot_be_erased_is_refused_before_anything_is_done(grocery, asked, words, typed, told):
    result = erase(grocery, *words, typed=typed)
    assert result.exit_code == 1
    assert told in " ".join(result.output.split())
    assert asked == []


def test_a_pseudonym_key_that_is_not_there_is_not_made(grocery, asked, monkeypatch, tmp_path):
    monkeypatch.delenv("GROCERY_PSEUDONYM_KEY")
    settings.cache_clear()
    result = erase(grocery)
    assert result.exit_code == 1
    assert "the gate's pseudonym key is not here" in " ".join(result.output.split())
    assert not (tmp_path / "keys").exists()


def test_what_was_built_from_the_lake_is_searched_and_dropped(tmp_path):
    about = Sought((CUSTOMER,))
    gold, docs = tmp_path / "gold.duckdb", tmp_path / "docs"
    with duckdb.connect(str(gold)) as connection:
        connection.execute(f"CREATE TABLE fct_basket AS SELECT i, '{CUSTOMER}' AS customer_id FROM range(9999) t(i)")
    docs.mkdir()
    (docs / "page.html").write_text(f"<td>{CUSTOMER}</td>")
    (docs / "index.html").write_text("nothing")
    assert upkeep.elsewhere([gold, docs, tmp_path / "none"], about).hits == [str(gold), str(docs / "page.html")]
    assert upkeep.drop_pages(docs, about) == 1
    assert upkeep.drop_gold(gold, str(tmp_path / "lake"))
    assert upkeep.elsewhere([gold, docs], about).hits == []
    assert not upkeep.drop_gold(gold, str(tmp_path / "lake"))


def test_what_is_left_of_somebody_is_named_and_never_who():
    console = Console(file=io.StringIO(), width=200)
    proof = Scan(files=7, bytes=2_500_000, hits=["lake/bronze/x/part-0.parquet"], unread=["lake/cut.parquet"])
    erased = Erasure([Cleaned("bronze.orders", 3, 2)], ["letter-9"], proof)
    assert not erased.complete
    upkeep.show_erased(console, erased, Scan(files=1), 1, dry_run=False)
    told = " ".join(console.file.getvalue().split())
    assert "read 7 files of the lake, 2 MB: 1 hold it" in told
    assert "still in lake/bronze/x/part-0.parquet" in told
    assert "could not be read to the end: lake/cut.parquet" in told
    assert "dead letter letter-9: no key here opens it" in told


def test_a_table_that_was_left_makes_the_exit_code_1(grocery, monkeypatch):
    from batch_jobs import maintenance

    monkeypatch.setattr(batch.AtWork, "spark", None)
    kept = [Kept("silver.orders", files=1), Kept("bronze.orders", fault="maintain bronze.orders: someone else …")]
    monkeypatch.setattr(maintenance, "maintain", lambda *_, **__: kept)
    result = grocery("batch", "maintain")
    assert result.exit_code == 1
    assert "error maintain bronze.orders: someone else" in result.output


def test_gold_goes_before_it_is_built_anew_and_a_build_that_fails_makes_the_exit_code_1(grocery, monkeypatch):
    import typer

    gold = settings().gold_path
    gold.parent.mkdir(parents=True, exist_ok=True)
    duckdb.connect(str(gold)).close()

    def fail(self):
        assert not gold.exists()
        raise typer.Exit(1)

    monkeypatch.setattr(batch.AtWork, "spark", None)
    monkeypatch.setattr(batch.AtWork, "silver", lambda *_: None)
    monkeypatch.setattr(batch.AtWork, "gold", fail)
    monkeypatch.setattr(erasure, "erase", lambda *_, **__: Erasure())
    result = erase(grocery)
    assert result.exit_code == 1
    assert "erase: no table holds it" in result.output


def test_what_was_set_aside_on_the_way_is_told_and_the_exit_code_says_so(grocery, monkeypatch):
    def curate(self, _):
        self.records += 2

    monkeypatch.setattr(batch.AtWork, "spark", None)
    monkeypatch.setattr(batch.AtWork, "silver", curate)
    monkeypatch.setattr(erasure, "erase", lambda *_, **__: Erasure())
    result = erase(grocery)
    assert result.exit_code == batch.SET_ASIDE_EXIT
    assert "set aside: 2 records in quarantine" in " ".join(result.output.split())


def test_a_run_that_fails_at_a_table_names_it_in_one_line_and_says_how_to_go_on(grocery, monkeypatch):
    def fail(*_, on_table, **__):
        on_table("silver.orders")
        raise RuntimeError("Error\nCaused by: java.lang.IllegalStateException: the executor is gone\n at x")

    monkeypatch.setattr(batch.AtWork, "spark", None)
    monkeypatch.setattr(batch.AtWork, "silver", lambda *_: None)
    monkeypatch.setattr(erasure, "erase", fail)
    result = erase(grocery)
    assert result.exit_code == 1
    told = " ".join(result.output.split())
    assert "error erase silver.orders; run the same again, it goes on where this one stopped: the executor is" in told
    assert "Traceback" not in told
