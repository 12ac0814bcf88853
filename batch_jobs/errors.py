"""What can go wrong for a user of the lakehouse. Each message names the thing, the value, the limit, the next step."""

from __future__ import annotations

import re


class BatchError(Exception):
    """A batch job cannot go on. results: what it has done all the same. failures: one for each contract that failed,
    where those were worked on one by one, else empty."""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.results: list = []
        self.failures: list[BatchError] = []


class SeveralFailed(BatchError):
    """More than one contract failed; a line each."""

    def __init__(self, failures: list[BatchError]) -> None:
        super().__init__("\n".join(str(one) for one in failures))
        self.failures = failures


class BrokerError(BatchError):
    """The broker is away, or its topics are not what bronze read before."""


class LakeError(BatchError):
    """A table of the lake cannot be written, or is not what it should be."""


class NotHeld(LakeError):
    """Bronze does not hold, or no longer, what is to be made of it."""


class CountsDontAddUp(BatchError):
    """Bronze rows and their dispositions differ: something was lost or counted twice."""


_FULL = re.compile(r"No space left on device|Disk quota exceeded")
_CONFLICT = re.compile(
    r"(Concurrent\w+|MetadataChanged|ProtocolChanged)Exception|\[DELTA_(CONCURRENT_|METADATA_CHANGED|PROTOCOL_CHANGED)"
)
_CAUSE = re.compile(r"Caused by: (?:[\w.$]+(?:Exception|Error): )?(.+)")
_CALLED = re.compile(r"An error occurred while calling [^\n]*\n: (.+)")
"""What py4j says of an exception of Java that Spark has no class of its own for; the rest is the stack."""


def explain(error: BaseException, what: str) -> BatchError:
    """A Spark failure as one line for people; what: the step and contract it happened in."""
    text = str(error)
    if match := _FULL.search(text):
        return LakeError(f"{what}: {match[0]}; free some space and run again, what was written so far is kept")
    if "Permission denied" in text or "AccessDenied" in text or "Access Denied" in text:
        return LakeError(f"{what}: the lake cannot be written ({_last_cause(text)}); give this user write access")
    if is_conflict(error):
        return LakeError(f"{what}: someone else wrote the same table at the same time; run again")
    return BatchError(f"{what}: {_last_cause(text)}")


def is_conflict(error: BaseException) -> bool:
    """Whether Delta refused a write because another one came before it."""
    return _CONFLICT.search(str(error)) is not None


def _last_cause(text: str) -> str:
    causes = _CAUSE.findall(text) or _CALLED.findall(text)
    line = causes[-1] if causes else next((line for line in text.splitlines() if line.strip()), "no message")
    return line.strip()[:300]
