"""The cold-chain job in a version that fails as soon as it decides, for tests of a deploy."""

import sys

from streaming_jobs import decide
from streaming_jobs.cold_chain.job import JOB
from streaming_jobs.runtime import run


class Failing(decide.Decide):
    def open(self, context):
        raise RuntimeError("this version does not come up")


if __name__ == "__main__":
    decide.Decide = Failing
    run(JOB, sys.argv[1:])
