"""Some days of silver and quarantine again from bronze, as a Glue or EMR job. A second run finds nothing that differs.

--lake s3://bucket/lake   --contracts sensor-readings   --from 2026-10-01   --to 2026-10-07: days, UTC, both included
"""

from __future__ import annotations

import argparse
import sys
from datetime import date

from batch_jobs.backfill import Span, backfill
from batch_jobs.run import alone
from batch_jobs.session import given
from schemas.contract import contract


def main(words: list[str]) -> None:
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("--lake", required=True)
    parser.add_argument("--contracts", required=True, type=lambda names: [contract(name) for name in names.split(",")])
    parser.add_argument("--from", required=True, dest="first", type=date.fromisoformat)
    parser.add_argument("--to", required=True, dest="last", type=date.fromisoformat)
    asked, _ = parser.parse_known_args(words)  # Glue hands over arguments of its own: --JOB_NAME and more
    spark = given()
    with alone(asked.lake) as run:
        done = backfill(spark, run, asked.contracts, Span(asked.first, asked.last))
    for one in done:
        counts = f"{one.inserted} inserted, {one.duplicate} duplicate, {one.quarantined} quarantined"
        changes = f"{one.added} added, {one.replaced} replaced, {one.removed} removed"
        print(f"backfill {one.contract}: {counts}; silver: {changes}")


if __name__ == "__main__":
    main(sys.argv[1:])
