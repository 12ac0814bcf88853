"""docs/analyst-guide.md says what dbt/analyses asks; tests/dbt/test_answers.py asks it."""

import re

from ruamel.yaml import YAML

from batch_jobs.gold import DBT, questions

GUIDE = DBT.parent / "docs" / "analyst-guide.md"
SECTION = re.compile(r"^## \d+\. ([^\n]+)\n\n`(\w+)`\n\n(.+?)\n\n```sql\n(.+?)\n```\n", re.MULTILINE | re.DOTALL)


def test_the_guide_has_ten_questions_and_asks_each_by_the_text_of_its_file():
    sections = SECTION.findall(GUIDE.read_text("utf-8"))
    assert len(sections) >= 10
    told = {name: (text, sql) for text, name, _, sql in sections}
    assert told == {q.name: (q.text, q.sql) for q in questions()}


def test_the_exposure_of_the_questions_names_every_model_they_read():
    exposures = YAML(typ="safe").load(DBT / "models" / "exposures.yml")["exposures"]
    [ready] = [e for e in exposures if e["name"] == "analyst_questions"]
    read = {
        ref for path in (DBT / "analyses").glob("*.sql") for ref in re.findall(r"ref\('\w+'\)", path.read_text("utf-8"))
    }
    assert set(ready["depends_on"]) == read
