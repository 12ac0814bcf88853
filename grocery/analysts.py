"""Marts as pandas tables, and training sets unloaded to S3, from Athena or Redshift, for a notebook.

    from grocery.analysts import mart, unload_training_set

    late = mart("fct_alert", since=date(2026, 10, 1), store_id="store-001")

All work is awswrangler's. AWS' own settings say who asks and where (AWS_PROFILE, AWS_REGION, …); the names are the
chain's: Athena's database is <GROCERY_GLUE_PREFIX>_gold, Redshift's schema gold. Nothing here changes a table.
"""

from __future__ import annotations

import difflib
import re
from datetime import date
from typing import TYPE_CHECKING, Any

from batch_jobs.gold import DBT

if TYPE_CHECKING:
    import pandas as pd
    import redshift_connector

_NAME = re.compile(r"[a-z][a-z0-9_]*")
_PLACE = re.compile(r"s3://[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]/[^'?#\s]+")


class BadRequest(ValueError):
    """What was asked for cannot be asked; nothing was sent. The message says what to write instead."""


def marts() -> tuple[str, ...]:
    """Names of the tables that dbt builds for analysts; docs/data-dictionary.md tells of their columns."""
    return tuple(sorted(path.stem for path in (DBT / "models" / "marts").glob("*.sql")))


def mart(
    name: str,
    *,
    columns: list[str] | None = None,
    since: date | None = None,
    until: date | None = None,
    limit: int | None = None,
    redshift: redshift_connector.Connection | None = None,
    database: str | None = None,
    **equals: str | int | bool | date,
) -> pd.DataFrame:
    """A mart, or a part of it, as a pandas table.

    name: one of `marts()`. columns: all, unless told. since: first business date; until: the one after the last.
    equals: column=value, all of them must hold. redshift: an open connection (awswrangler.redshift.connect); without
    it Athena is asked, in its workgroup `primary` or that of WR_WORKGROUP. database: Athena's, or Redshift's schema,
    where it is not the chain's own.

    Values are parameters and never become part of the SQL text by our hand. Athena reads whole files: name columns
    and dates of a large table. DECIMAL columns come as decimal.Decimal.

    Raises BadRequest, and awswrangler's errors where the warehouse answers no.
    """
    import awswrangler as wr

    wanted = _known(name)
    listed = ", ".join(_column(one) for one in columns) if columns else "*"
    bounds: list[tuple[str, str, str, Any]] = [(_column(one), "=", one, value) for one, value in equals.items()]
    if None in equals.values():
        raise BadRequest("a value is None, and nothing equals null; ask with SQL: awswrangler.athena.read_sql_query")
    if since is not None:
        bounds.append(("business_date", ">=", "since", since))
    if until is not None:
        bounds.append(("business_date", "<", "until", until))
    marks = [f"{column} {sign} " + ("%s" if redshift is not None else f":{mark}") for column, sign, mark, _ in bounds]
    where = f" WHERE {' AND '.join(marks)}" if marks else ""
    most = f" LIMIT {int(limit)}" if limit is not None else ""
    if redshift is not None:
        sql = f"SELECT {listed} FROM {_column(database or 'gold')}.{wanted}{where}{most}"
        return wr.redshift.read_sql_query(sql, con=redshift, params=[value for *_, value in bounds] or None)
    return wr.athena.read_sql_query(
        f"SELECT {listed} FROM {wanted}{where}{most}",
        database=database or _gold(),
        params={mark: value for _, _, mark, value in bounds} or None,
        ctas_approach=False,  # no tables of its own: reading is allowed, making tables may not be
    )


def unload_training_set(
    sql: str,
    to: str,
    *,
    redshift: redshift_connector.Connection | None = None,
    iam_role: str | None = None,
    database: str | None = None,
) -> list[str]:
    """Let the warehouse write a query's rows as Parquet to S3, past this computer; the files' addresses.

    sql: one SELECT, or a mart's name. to: s3://bucket/prefix with nothing in it yet: UNLOAD would add to an older set,
    or fail half-way. redshift, database: as for `mart`. iam_role: with Redshift, the role that it writes by (its ARN).

    Raises BadRequest, and awswrangler's errors where the warehouse answers no.
    """
    import awswrangler as wr

    if not _PLACE.fullmatch(to):
        raise BadRequest(f"{to}: no place on S3; write s3://bucket/prefix")
    query = sql.strip().rstrip(";").strip()
    if _NAME.fullmatch(query):
        schema = f"{_column(database or 'gold')}." if redshift is not None else ""
        query = f"SELECT * FROM {schema}{_known(query)}"
    elif not re.match(r"(select|with)\b", query, re.IGNORECASE):
        raise BadRequest(f"{query[:40]}: neither a mart nor a SELECT")
    place = to.rstrip("/") + "/"
    if found := wr.s3.list_objects(place):
        raise BadRequest(f"{place} holds {len(found)} objects already; name an empty prefix, or delete them first")
    if redshift is not None:
        if not iam_role:
            raise BadRequest("Redshift writes by a role: give its ARN as iam_role")
        wr.redshift.unload_to_files(query, place, con=redshift, iam_role=iam_role, unload_format="PARQUET")
    else:
        wr.athena.unload(query, place, database=database or _gold(), file_format="PARQUET", compression="snappy")
    return sorted(wr.s3.list_objects(place))


def _gold() -> str:
    from grocery.settings import settings

    return f"{settings().glue_prefix}_gold"


def _known(name: str) -> str:
    if name in marts():
        return name
    near = difflib.get_close_matches(name, marts(), n=3)
    raise BadRequest(f"{name}: no such mart; " + (f"did you mean {', '.join(near)}?" if near else "marts() lists them"))


def _column(name: str) -> str:
    """A name that may stand in SQL as it is."""
    if not _NAME.fullmatch(name):
        raise BadRequest(f"{name}: no name of a column or schema; docs/data-dictionary.md has them")
    return name
