"""Chains of any size."""

import pytest

from grocery.settings import PROJECT
from grocery.simulator.clones import events_of, of_size, write_chain
from ingestion.chain_check import check_chain
from ingestion.reference import Reference


@pytest.fixture(scope="module")
def chain():
    return Reference.from_folder(PROJECT / "chain")


def test_a_smaller_chain_has_the_first_stores_and_their_assets_only(chain):
    small = of_size(chain, 1)
    assert set(small.stores) == {"store-001"}
    assert {a["store_id"] for a in small.assets.values()} == {"store-001"}
    assert {owner for owner, _ in small.products} == {"chain"}


def test_a_chain_of_its_own_size_is_the_chain(chain):
    assert dict(of_size(chain, 3).assets) == dict(chain.assets)


def test_clones_have_their_own_ids_and_their_origins_products(chain):
    big = of_size(chain, 5)
    assert big.assets["s005-freezer-01"]["parent_id"] == "s005-rack-01"
    assert big.devices["s005-freezer-01-t"]["store_id"] == "store-005"
    assert big.products["store-005", "4011"]["currency"] == "EUR"
    ids = [event["event_id"] for _, event in events_of(big)]
    assert len(ids) == len(set(ids))


def test_a_written_chain_passes_the_check_and_is_what_it_was(chain, tmp_path):
    big = of_size(chain, 4)
    write_chain(big, tmp_path)
    events, problems = check_chain(tmp_path)
    assert problems == []
    assert Reference.of(events).assets.keys() == big.assets.keys()


@pytest.mark.parametrize("stores", [0, 1000])
def test_a_size_that_cannot_be_is_named(chain, stores):
    with pytest.raises(ValueError, match=f"--stores {stores}: must be from 1 to 999"):
        of_size(chain, stores)
