import pytest

from ingestion.units import UnitDoesNotFit, converter, metric_units
from schemas.contract import contract


@pytest.mark.parametrize(
    ("value", "unit", "to", "expected"),
    [
        (-0.4, "[degF]", "Cel", -18.0),
        (41, "[degF]", "Cel", 5.0),
        (255.15, "K", "Cel", -18.0),
        (1234.5, "W", "kW", 1.2345),
        (3.6, "MJ", "kW.h", 1.0),
        (12.5, "L", "m3", 0.0125),
        (100, "[gal_us]", "m3", 0.378541),
    ],
)
def test_a_value_is_converted_as_physics_has_it(value: float, unit: str, to: str, expected: float) -> None:
    convert = converter(unit, to)
    assert convert is not None
    assert convert(value) == expected


def test_the_same_unit_needs_no_conversion() -> None:
    assert converter("Cel", "Cel") is None


@pytest.mark.parametrize(("unit", "to"), [("kW", "Cel"), ("%", "1"), ("degrees", "Cel"), ("kW.h", "kW")])
def test_a_unit_that_does_not_fit_is_refused(unit: str, to: str) -> None:
    with pytest.raises(UnitDoesNotFit, match=unit):
        converter(unit, to)


def test_every_metric_of_the_contract_has_its_unit() -> None:
    readings = contract("sensor-readings")
    assert set(metric_units(readings)) == set(readings.schema["properties"]["metric"]["enum"])
