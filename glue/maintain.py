"""Upkeep of the lake, as a Glue or EMR job: expire, compact, vacuum. A second run on the same day finds nothing to do.

--lake s3://bucket/lake   [--contracts sensor-readings,stores]: all, unless told
"""

from __future__ import annotations

import argparse
import sys

from batch_jobs.errors import LakeError
from batch_jobs.maintenance import maintain
from batch_jobs.run import alone
from batch_jobs.session import given
from schemas.contract import all_contracts, contract


def main(words: list[str]) -> None:
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("--lake", required=True)
    parser.add_argument("--contracts", type=lambda names: [contract(name) for name in names.split(",")])
    asked, _ = parser.parse_known_args(words)  # Glue hands over arguments of its own: --JOB_NAME and more
    spark = given()
    with alone(asked.lake) as run:
        kept = maintain(spark, run, asked.contracts or all_contracts())
    for one in kept:
        print(f"maintain {one.table}: {one.expired} rows expired, {one.compacted} partitions compacted")
    if faults := [one.fault for one in kept if one.fault]:
        raise LakeError("\n".join(faults))


if __name__ == "__main__":
    main(sys.argv[1:])
