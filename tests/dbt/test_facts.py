"""What every fact has, by the contracts that dbt holds its SQL to."""

from ruamel.yaml import YAML

from batch_jobs.gold import DBT

MARTS = DBT / "models/marts"


def facts() -> dict[str, dict[str, str]]:
    """Each fact's columns with their types."""
    files = [YAML(typ="safe").load(path.read_text("utf-8")) for path in sorted(MARTS.glob("_*.yml"))]
    models = [one for file in files for one in file.get("models", ())]
    return {
        one["name"]: {column["name"]: column["data_type"] for column in one["columns"]}
        for one in models
        if one["name"].startswith("fct_")
    }


def test_every_fact_has_its_utc_instant_business_date_and_local_hour():
    found = facts()
    assert set(found) == {path.stem for path in MARTS.glob("fct_*.sql")}
    assert len(found) > 12
    lacking = {}
    for name, columns in found.items():
        instant = next((column for column in columns if column.endswith("_utc")), None)
        kinds = (columns.get(instant), columns.get("business_date"), columns.get("local_hour"))
        if not (str(kinds[0]).startswith(("timestamp", "{{")) and kinds[1:] == ("date", "integer")):
            lacking[name] = kinds
    assert lacking == {}
