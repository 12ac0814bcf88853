"""What is set aside, judged by today's contracts, as a Glue or EMR job; what keeps them goes to silver. Twice is once.

--lake s3://bucket/lake   [--contracts sensor-readings,stores]: all, unless told   [--reason unit]   [--run ID]
"""

from __future__ import annotations

import argparse
import sys

from batch_jobs.quarantine import Choice, replay
from batch_jobs.run import alone
from batch_jobs.session import given
from schemas.contract import all_contracts, contract


def main(words: list[str]) -> None:
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("--lake", required=True)
    parser.add_argument("--contracts", type=lambda names: [contract(name) for name in names.split(",")])
    parser.add_argument("--reason")
    parser.add_argument("--run")
    asked, _ = parser.parse_known_args(words)  # Glue hands over arguments of its own: --JOB_NAME and more
    spark = given()
    with alone(asked.lake) as run:
        done = replay(spark, run, asked.contracts or all_contracts(), Choice(asked.reason, run=asked.run))
    for one in done:
        print(f"replay {one.contract}: {one.replayed} replayed, {one.duplicate} duplicate, {one.quarantined} stay")


if __name__ == "__main__":
    main(sys.argv[1:])
