"""dbt's side of the contracts: the sources file of the silver tables."""

from __future__ import annotations

import io
from typing import Any

from ruamel.yaml import YAML

from schemas.contract import Contract

# Athena finds silver in the Glue catalog (glue/catalog.py), Redshift where it was loaded into, DuckDB in the lake.
SCHEMA = "{{ env_var('GROCERY_GLUE_PREFIX', 'grocery') ~ '_silver' if target.type == 'athena' else 'silver' }}"
LOCATION = "delta_scan('{{ env_var('GROCERY_LAKE') if target.type == 'duckdb' }}/silver/{name}')"
HEAD = "# Generated from schemas/ by `grocery contracts generate`; change a contract, not this file.\n"


def sources(contracts: tuple[Contract, ...]) -> str:
    """YAML: one table a contract, its columns with descriptions, and not_null where the contract requires one.

    Not `unique` on event_id: silver is unique on (event_id, event date), which staging tests.
    """
    doc = {
        "version": 2,
        "sources": [
            {
                "name": "silver",
                "description": "Typed and deduplicated events, one row per (event_id, event_date).",
                "schema": SCHEMA,
                "config": {"meta": {"external_location": LOCATION}},
                "tables": [_table(contract) for contract in contracts],
            }
        ],
    }
    out = io.StringIO()
    yaml = YAML()
    yaml.width = 4096
    yaml.indent(mapping=2, sequence=4, offset=2)
    yaml.dump(doc, out)
    return HEAD + out.getvalue()


def _table(contract: Contract) -> dict[str, Any]:
    columns = []
    for field in contract.fields:
        column: dict[str, Any] = {"name": field.name, "description": field.description}
        if field.required:
            column["data_tests"] = ["not_null"]
        columns.append(column)
    return {"name": contract.table, "description": contract.description, "columns": columns}
