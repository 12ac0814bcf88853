"""Bronze to silver and quarantine, then the quality gate, as a Glue or EMR job. A second run takes what bronze gained.

--lake s3://bucket/lake   [--contracts stores,…]: else all   [--accept true]: let what fails pass   [--suites FOLDER]
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

from batch_jobs.quality import GateClosed, quality
from batch_jobs.run import alone
from batch_jobs.session import given
from batch_jobs.silver import silver
from schemas.contract import all_contracts, contract


def main(words: list[str]) -> None:
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("--lake", required=True)
    parser.add_argument("--contracts", type=lambda names: [contract(name) for name in names.split(",")])
    parser.add_argument("--accept", choices=("true", "false"), default="false")
    parser.add_argument("--suites", type=Path)
    asked, _ = parser.parse_known_args(words)  # Glue hands over arguments of its own: --JOB_NAME and more
    contracts, spark = asked.contracts or all_contracts(), given()
    with alone(asked.lake) as run, tempfile.TemporaryDirectory() as docs:  # audit.quality stays
        curated = silver(spark, run, contracts)
        verdict = quality(spark, run, contracts, Path(docs), written=asked.suites, accept=asked.accept == "true")
    for one in curated:
        print(f"silver {one.contract}: {one.inserted} new, {one.duplicate} duplicate, {one.quarantined} quarantined")
    print(*(f"{one.severity}: {one}" for one in verdict.failures + verdict.warnings), sep="\n")
    if not verdict.passed:
        raise GateClosed("; ".join(map(str, verdict.failures)))


if __name__ == "__main__":
    main(sys.argv[1:])
