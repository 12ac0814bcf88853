from pathlib import Path

import pytest

from ingestion.chain_check import check_chain

STORES = """\
- store_id: store-001
  name: High Street
  status: active
  time_zone: America/Denver
  locale: en-US
  display_unit: "[degF]"
  currency: USD
  country: US
  opening_hours:
    - {day: mon, opens: "06:00", closes: "23:00"}
  holidays: []
"""
ASSETS = """\
- asset_id: s001-rack-01
  store_id: store-001
  asset_class: rack
  name: Rack
  area: back
  status: active
  devices: []
- asset_id: s001-freezer-01
  store_id: store-001
  asset_class: freezer
  name: Freezer
  area: frozen
  status: active
  parent_id: s001-rack-01
  devices:
    - {device_id: d-1, metric: temperature, unit: Cel, interval_s: 60}
"""
PRODUCTS = """\
- product_id: "4011"
  name: Bananas
  department: produce
  status: active
  sold_by: kg
  price: 149
  currency: USD
"""


def check(folder: Path, stores: str = STORES, assets: str = ASSETS, products: str = PRODUCTS) -> list[str]:
    for name, text in (("stores", stores), ("assets", assets), ("products", products)):
        (folder / f"{name}.yaml").write_text(text)
    return [str(problem).removeprefix(f"{folder}/") for problem in check_chain(folder)[1]]


def test_a_good_chain_has_no_problem(tmp_path: Path) -> None:
    assert check(tmp_path) == []
    assert [name for name, _ in check_chain(tmp_path)[0]] == ["stores", "assets", "assets", "products"]


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("asset_class: freezer", "asset_class: fridge", "assets.yaml:10: s001-freezer-01: asset_class"),
        ("parent_id: s001-rack-01", "parent_id: s001-rack-99", "assets.yaml:14: s001-freezer-01: parent s001-rack-99"),
        ("unit: Cel", "unit: kW", "assets.yaml:16: s001-freezer-01: device d-1 reports temperature in kW"),
        ("interval_s: 60", "interval_s: 0", "assets.yaml:16: s001-freezer-01: devices/0/interval_s"),
        ("  devices: []", "  devices: [{device_id: d-1, metric: power, unit: W, interval_s: 5}]", "already; ids are"),
        (
            "store_id: store-001\n  asset_class: rack",
            "store_id: store-7\n  asset_class: rack",
            "assets.yaml:2: s001-rack",
        ),
        ("name: Freezer\n", 'name: Freezer\n  gtin: "40123456"\n', "product 40123456 is not in products.yaml"),
        ("asset_id: s001-freezer-01", "asset_id: s001-rack-01", "stands at line 1 already"),
    ],
)
def test_a_problem_in_the_assets_is_named_with_its_line(tmp_path: Path, old: str, new: str, told: str) -> None:
    problems = check(tmp_path, assets=ASSETS.replace(old, new, 1))
    assert any(told in problem for problem in problems), problems


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("America/Denver", "America/Atlantis", "stores.yaml:4: store-001: time_zone America/Atlantis"),
        ('"23:00"', '"05:00"', "stores.yaml:10: store-001: mon opens 06:00 and closes 05:00"),
        ("country: US", "country: 1", "stores.yaml:8: store-001: country"),
        ("  locale: en-US\n", "", "stores.yaml:1: store-001: locale"),
    ],
)
def test_a_problem_in_the_stores_is_named_with_its_line(tmp_path: Path, old: str, new: str, told: str) -> None:
    problems = check(tmp_path, stores=STORES.replace(old, new, 1))
    assert any(told in problem for problem in problems), problems


def test_an_unquoted_product_number_and_a_price_without_currency_are_named(tmp_path: Path) -> None:
    assert "products.yaml:1" in check(tmp_path, products=PRODUCTS.replace('"4011"', "4011"))[0]
    without = check(tmp_path, products=PRODUCTS.replace("  currency: USD\n", ""))[0]
    assert "products.yaml:" in without
    assert "currency" in without


def test_two_versions_of_one_asset_are_fine(tmp_path: Path) -> None:
    rack = ASSETS[: ASSETS.index("- asset_id: s001-freezer-01")]
    later = rack.replace("status: active", "status: retired\n  valid_from: 2026-01-01T00:00:00Z")
    assert check(tmp_path, assets=ASSETS + later) == []


def test_a_device_of_two_metrics_is_named(tmp_path: Path) -> None:
    device = "    - {device_id: d-9, metric: %s, unit: %s, interval_s: 300}\n"
    devices = "  devices:\n" + device % ("temperature", "Cel") + device % ("power", "W")
    assert check(tmp_path, assets=ASSETS.replace("  devices: []\n", devices)) == [
        "assets.yaml:9: s001-rack-01: device d-9 is named twice; give each metric a device of its own"
    ]


def test_a_second_count_of_the_same_on_one_asset_is_named(tmp_path: Path) -> None:
    device = "{device_id: w-%s, metric: water, unit: m3, interval_s: 300}"
    assets = ASSETS.replace("  devices: []\n", f"  devices:\n    - {device % 1}\n    - {device % 2}\n")
    assert check(tmp_path, assets=assets) == [
        "assets.yaml:9: s001-rack-01: device w-2 is its second one of water; "
        "an asset has one, give the other an asset of its own"
    ]
