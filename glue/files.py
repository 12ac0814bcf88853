"""Landed files to bronze, as a Glue or EMR job. A second run loads the files that came since, each once.

--lake s3://bucket/lake   --landing s3://bucket/landing   [--contracts sensor-readings,stores]: all, unless told
[--accept true]: don't fail again for what is set aside now
"""

from __future__ import annotations

import argparse
import sys

from batch_jobs.landing import FilesSetAside, land
from batch_jobs.run import alone
from batch_jobs.session import given
from schemas.contract import all_contracts, contract


def main(words: list[str]) -> None:
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("--lake", required=True)
    parser.add_argument("--landing", required=True)
    parser.add_argument("--contracts", type=lambda names: [contract(name) for name in names.split(",")])
    parser.add_argument("--accept", choices=("true", "false"), default="false")
    asked, _ = parser.parse_known_args(words)  # Glue hands over arguments of its own: --JOB_NAME and more
    contracts, accept, spark = asked.contracts or all_contracts(), asked.accept == "true", given()
    with alone(asked.lake) as run:
        taken = land(spark, run, asked.landing, contracts, strays=not asked.contracts, accept=accept)
    for one in taken:
        print(f"files {one.contract}: {one.rows} new records of {one.count('loaded')} files")
    if stands := [fate for one in taken for fate in (*one.open, *one.waiting)]:
        raise FilesSetAside("\n".join(f"{fate.file.key} {fate.reason}" for fate in stands))


if __name__ == "__main__":
    main(sys.argv[1:])
