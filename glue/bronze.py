"""Topics to bronze, as a Glue or EMR job. A second run loads what came since, once per record; what the broker let
expire unread fails it, when all else is loaded.

--lake s3://bucket/lake   --kafka broker:9092,…   [--contracts sensor-readings,stores]: all, unless told
"""

from __future__ import annotations

import argparse
import sys

from batch_jobs.broker import survey
from batch_jobs.bronze import RecordsLost, bronze
from batch_jobs.run import alone
from batch_jobs.session import given
from ingestion.topics import topics_of
from schemas.contract import all_contracts, contract


def main(words: list[str]) -> None:
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("--lake", required=True)
    parser.add_argument("--kafka", required=True)
    parser.add_argument("--contracts", type=lambda names: [contract(name) for name in names.split(",")])
    asked, _ = parser.parse_known_args(words)  # Glue hands over arguments of its own: --JOB_NAME and more
    contracts = asked.contracts or all_contracts()
    broker = survey(asked.kafka, [topic for item in contracts for topic in topics_of(item)])
    spark = given()
    with alone(asked.lake) as run:
        loaded = bronze(spark, broker, run, contracts)
    for one in loaded:
        print(f"bronze {one.contract}: {one.rows} new records", *one.notes, sep="\n  ")
    if lost := [one for one in loaded if one.lost]:
        raise RecordsLost("; ".join(f"{one.contract}: {one.lost} records expired unread" for one in lost))


if __name__ == "__main__":
    main(sys.argv[1:])
