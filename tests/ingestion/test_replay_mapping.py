"""A mapping that is wrong is told with its line, the value, and what there is to choose from."""

import re
from pathlib import Path

import pytest

from grocery.settings import PROJECT
from ingestion.reference import Reference
from ingestion.replay import MappingError, load_mapping
from ingestion.replay.mapping import Csv, Time, Value

MAPPINGS = PROJECT / "chain" / "mappings"
GOOD = """\
csv: {delimiter: ";", decimal: ","}
time:
  columns: [Datum, Zeit]
  format: "%d.%m.%Y %H:%M"
  zone: Europe/Berlin
missing: ["", "---"]
values:
  - column: TK 1
    device: s002-freezer-01-t
    unit: Cel
"""


@pytest.fixture(scope="module")
def chain() -> Reference:
    return Reference.from_folder(PROJECT / "chain")


@pytest.mark.parametrize("file", sorted(MAPPINGS.glob("*.yaml")), ids=lambda path: path.stem)
def test_the_shipped_mappings_fit_the_shipped_chain(chain, file):
    assert load_mapping(file, chain).values


@pytest.mark.parametrize(
    ("old", "new", "line", "told"),
    [
        ("Europe/Berlin", "Europe/Berln", 5, "'Europe/Berln' is no IANA time zone; did you mean Europe/Berlin"),
        ("  zone: Europe/Berlin\n", "", 2, "zone is missing: '%d.%m.%Y %H:%M' is local time"),
        ("Europe/Berlin", '"+25:00"', 5, "is no IANA time zone"),
        ("unit: Cel", "unit: C", 10, "UCUM unit 'C' is unknown; known are Cel"),
        ("unit: Cel", "unit: kW", 10, "temperature is kept in Cel, and kW cannot be turned into Cel"),
        ("    unit: Cel\n", "", 8, "unit is missing; a number without its unit is no reading"),
        ("    device: s002-freezer-01-t\n", "", 8, "device is missing; it names the sensor"),
        ("freezer-01-t", "freezer-11-t", 9, "'s002-freezer-11-t' is unknown; the chain has s002-freezer-01-t"),
        ("missing:", "store: store-009\nmissing:", 6, "store 'store-009' is unknown; the chain has store-00"),
        ("    unit", "    asset: s002-cooler-01\n    unit", 8, "has asset s002-freezer-01, not s002-cooler-01"),
        ("    unit", "    metric: humidty\n    unit", 10, "'humidty' is unknown; the contract sensor-readings has"),
        ("    unit", "    asset_class: fridge\n    unit", 10, "asset class 'fridge' is unknown"),
        ("missing:", "mising:", 6, "no such key; did you mean missing?"),
        ("delimiter:", "delimeter:", 1, "csv.delimeter: no such key; did you mean delimiter?"),
        ('delimiter: ";"', 'delimiter: ";;"', 1, "one character"),
        ('decimal: ","', 'decimal: ",", thousands: ","', 1, "thousands and decimal are both ','"),
        ('decimal: ","', 'decimal: ",", encoding: utf-9', 1, "Python knows no encoding 'utf-9'"),
        ('"%d.%m.%Y %H:%M"', '"%d.%m. %H:%M"', 4, "does not say year, month, day and hour"),
        ('"%d.%m.%Y %H:%M"', '"%d.%m.%Y %I:%M"', 4, "12-hour clock (%I) without AM/PM"),
        ('"%d.%m.%Y %H:%M"', "dd.mm.yyyy", 4, "is no pattern"),
        ('"%d.%m.%Y %H:%M"', '"%d.%m.%Y %H:%M %z"', 2, "says its own offset; leave zone 'Europe/Berlin' out"),
        ("device: s002-freezer-01-t", "device: {map: {a: b}}", 9, "give either a text, or {column: NAME}"),
        ("device: s002-freezer-01-t", "device: {column: Probe, map: {a: nobody}}", 9, "device 'nobody' is unknown"),
        ("    unit: Cel\n", "    unit: Cel\n    unit: K\n", 11, "'unit' is written twice"),
        ("values:", "values: []\nother:", 7, "values: Tuple should have at least 1 item"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_named_with_its_line(chain, tmp_path, old, new, line, told):
    assert old in GOOD
    file = tmp_path / "mapping.yaml"
    file.write_text(GOOD.replace(old, new, 1))
    with pytest.raises(MappingError) as error:
        load_and_open(file, chain)
    assert any(text.startswith(f"{file}:{line}: ") and told in text for text in str(error.value).splitlines()), (
        error.value
    )


def load_and_open(file: Path, chain: Reference) -> None:
    """As `grocery replay` does, on an export whose header fits."""
    from ingestion.replay import replay

    export = file.with_name("export.csv")
    export.write_text("Datum;Zeit;TK 1;Probe\n01.01.2026;00:00;-18,0;a\n")
    replay(export, load_mapping(file, chain), chain).close()


def test_the_good_one_is_good(chain, tmp_path):
    (tmp_path / "mapping.yaml").write_text(GOOD)
    load_and_open(tmp_path / "mapping.yaml", chain)


def test_everything_wrong_is_told_at_once(chain, tmp_path):
    (tmp_path / "mapping.yaml").write_text(GOOD.replace("Berlin", "Berln").replace("columns", "collumns"))
    with pytest.raises(MappingError) as error:
        load_mapping(tmp_path / "mapping.yaml", chain)
    assert len(str(error.value).splitlines()) >= 3


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("a: [1", ":1: this is not YAML"),
        ("", ":1: a mapping begins with keys"),
        ("- a\n- b\n", ":1: a mapping begins with keys"),
    ],
)
def test_a_file_that_is_no_mapping_is_told(tmp_path, text, told):
    (tmp_path / "mapping.yaml").write_text(text)
    with pytest.raises(MappingError, match=told):
        load_mapping(tmp_path / "mapping.yaml")


def test_a_mapping_that_is_not_there_is_told(tmp_path):
    with pytest.raises(MappingError, match="cannot be read"):
        load_mapping(tmp_path / "none.yaml")


def test_without_a_chain_nothing_can_be_looked_up(tmp_path):
    (tmp_path / "mapping.yaml").write_text(GOOD)
    with pytest.raises(MappingError) as error:
        load_mapping(tmp_path / "mapping.yaml")
    for name in ("store", "asset", "asset_class", "metric"):
        assert f"{name} is missing; without a chain" in str(error.value)


def test_texts_stay_as_they_are_written(chain, tmp_path):
    (tmp_path / "mapping.yaml").write_text(GOOD.replace('"---"', "-999.0, 007, no, NaN"))
    assert load_mapping(tmp_path / "mapping.yaml", chain).missing == ("", "-999.0", "007", "no", "NaN")


def test_the_guide_names_every_key_and_every_reason():
    guide = (PROJECT / "docs" / "replay.md").read_text()
    keys = [f"csv.{name}" for name in Csv.model_fields] + [f"time.{name}" for name in Time.model_fields]
    keys += [name for name in Value.model_fields if name != "column"] + ["missing", "values"]
    code = "".join(path.read_text() for path in (PROJECT / "ingestion" / "replay").glob("*.py"))
    reasons = set(re.findall(r'(?:Bad|Broken)\(\s*"(\w+)"', code)) | {"fields", "quote"}
    assert len(reasons) > 10
    assert [name for name in [*keys, *reasons] if f"`{name}`" not in guide] == []
