"""`grocery export training` on the small gold, whose cameras keep no frames."""

import json
import shutil

import pytest
from typer.testing import CliRunner

from grocery.cli import app
from grocery.settings import settings


@pytest.fixture
def grocery(request, monkeypatch, tmp_path):
    """Runs the command line on a copy of the small gold; without the fixture `gold`, on an empty home."""
    if "integration" in request.keywords:
        (tmp_path / "main").mkdir()
        shutil.copy(request.getfixturevalue("gold") / "gold.duckdb", tmp_path / "main")
    monkeypatch.setenv("GROCERY_HOME", str(tmp_path))
    settings.cache_clear()
    yield lambda *words: CliRunner().invoke(app, ["export", "training", *words])
    settings.cache_clear()


def test_without_gold_or_with_a_wrong_place_it_says_what_to_do(grocery, tmp_path):
    outcome = grocery("--to", str(tmp_path / "set"))
    assert outcome.exit_code == 1
    assert "run `grocery batch run`" in outcome.stderr
    outcome = grocery("--to", "ftp://somewhere")
    assert outcome.exit_code == 1
    assert "neither a folder nor" in outcome.stderr
    assert not (tmp_path / "set").exists()


@pytest.mark.integration
def test_without_frames_nothing_is_written_and_the_counts_say_why(grocery, tmp_path):
    outcome = grocery("--to", str(tmp_path / "set"))
    assert outcome.exit_code == 1
    assert "left out: no frame" in outcome.stdout
    assert "left out: not proven so far" in outcome.stdout
    assert "nothing was written" in outcome.stderr
    assert not (tmp_path / "set").exists()


@pytest.mark.integration
def test_what_is_proven_and_has_a_frame_is_written_by_label_and_date(grocery, tmp_path):
    import duckdb

    with duckdb.connect(str(tmp_path / "main/gold.duckdb")) as gold:
        gold.execute("UPDATE fct_detection_outcome SET frame_ref = 's3://frames/' || detection_id || '.jpg'")
        proven = "SELECT count(*) FROM fct_detection_outcome WHERE label = 'shelf' AND proved IS NOT NULL"
        [expected] = gold.execute(proven).fetchone()
    assert expected > 0
    outcome = grocery(
        "--to", str(tmp_path / "set"), "--label", "shelf", "--from", "2026-10-05", "--until", "2026-10-06"
    )
    assert outcome.exit_code == 0, outcome.output
    read = [
        json.loads(line)
        for name in ("train", "validation")
        for line in (tmp_path / f"set/shelf/{name}.manifest").read_text().splitlines()
    ]
    assert len(read) == expected
    assert {line["shelf-metadata"]["class-name"] for line in read} == {"stocked"}
    assert not (tmp_path / "set/queue").exists()
    assert grocery("--to", str(tmp_path / "set"), "--until", "2026-10-05").exit_code == 1
