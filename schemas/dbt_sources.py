"""dbt's side of the contracts and of the lake: the sources files of silver and of the audit."""

from __future__ import annotations

import io
from collections.abc import Iterable
from typing import Any

from ruamel.yaml import YAML

from schemas.contract import Contract

# Athena finds silver in the Glue catalog (glue/catalog.py), Redshift where it was loaded into, DuckDB in the lake.
SCHEMA = "{{ env_var('GROCERY_GLUE_PREFIX', 'grocery') ~ '_LAYER' if target.type == 'athena' else 'LAYER' }}"
LOCATION = "delta_scan('{{ env_var('GROCERY_LAKE') if target.type == 'duckdb' }}/LAYER/{name}')"
HEAD = "# Generated from schemas/ by `grocery contracts generate`; change a contract, not this file.\n"


def sources(contracts: tuple[Contract, ...]) -> str:
    """YAML: one table a contract, its columns with descriptions, and not_null where the contract requires one: where
    only some of its versions do, of the rows of those.

    Not `unique` on event_id: silver is unique on (event_id, event date), which staging tests.
    """
    about = "Typed and deduplicated events, one row per (event_id, event_date)."
    return HEAD + _yaml("silver", about, [_table(contract) for contract in contracts])


def audit_sources(layouts: Iterable[Any]) -> str:
    """YAML: one table a layout (batch_jobs/tables.py). They need not be there: dbt/macros/audit.sql."""
    found = [
        {
            "name": layout.path.rpartition("/")[2],
            "description": layout.comment,
            "columns": [{"name": one.name, "description": one.metadata["comment"]} for one in layout.columns.fields],
        }
        for layout in layouts
    ]
    about = "What became of the records, and what the quality gate found."
    return HEAD.replace("schemas/", "batch_jobs/tables.py").replace("a contract", "it") + _yaml("audit", about, found)


def _yaml(layer: str, description: str, found: list[dict[str, Any]]) -> str:
    doc = {
        "version": 2,
        "sources": [
            {
                "name": layer,
                "description": description,
                "schema": SCHEMA.replace("LAYER", layer),
                "config": {"meta": {"external_location": LOCATION.replace("LAYER", layer)}},
                "tables": found,
            }
        ],
    }
    out = io.StringIO()
    yaml = YAML()
    yaml.width = 4096
    yaml.indent(mapping=2, sequence=4, offset=2)
    yaml.dump(doc, out)
    return out.getvalue()


def _table(contract: Contract) -> dict[str, Any]:
    columns = []
    for field in contract.fields:
        column: dict[str, Any] = {"name": field.name, "description": field.description}
        requiring = [str(one.version) for one in contract.versions if field.name in one.schema["required"]]
        if len(requiring) == len(contract.versions):
            column["data_tests"] = ["not_null"]
        elif requiring:
            column["data_tests"] = [{"not_null": {"config": {"where": f"schema_version in ({', '.join(requiring)})"}}}]
        columns.append(column)
    return {"name": contract.table, "description": contract.description, "columns": columns}
