"""Persons out of the lake, as a Glue or EMR job. A second run finds nothing and changes nothing.

--lake s3://bucket/lake   --reference DSR-2026-17   --hashes s3://bucket/17.txt: pseudonyms, one a line; a file, because
everybody sees a job's arguments. For what is in dead letters it takes the gate's keys: `grocery batch erase`.
"""

from __future__ import annotations

import argparse
import sys

from batch_jobs import files
from batch_jobs.erasure import NotErased, erase
from batch_jobs.run import alone
from batch_jobs.session import given
from batch_jobs.silver import silver
from batch_jobs.sought import of_hashes
from schemas.contract import all_contracts


def main(words: list[str]) -> None:
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("--lake", required=True)
    parser.add_argument("--reference", required=True)
    parser.add_argument("--hashes", required=True)
    asked, _ = parser.parse_known_args(words)  # Glue hands over arguments of its own: --JOB_NAME and more
    spark, contracts = given(), all_contracts()
    about = of_hashes(files.text(spark, asked.hashes).split())
    with alone(asked.lake) as run:
        silver(spark, run, contracts)
        done = erase(spark, run, contracts, about, asked.reference)
    print(*(f"erase {one.table}: {one.rows} rows" for one in done.tables), sep="\n")
    print(f"erase: read {done.proof.files} files, {len(done.proof.hits)} hold it")
    if not done.complete:
        raise NotErased(done)


if __name__ == "__main__":
    main(sys.argv[1:])
