"""What a contender uses and how far it comes, twice a second."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

import psutil


@dataclass(frozen=True, slots=True)
class Sample:
    """at: seconds since the contender was started. done: records it has done. cpu_s: processor seconds it has used.
    rss: bytes it holds."""

    at: float
    done: int
    cpu_s: float
    rss: int


class Watch:
    """Samples of one run, taken twice a second while inside `with`."""

    def __init__(self, began: float, progress: Callable[[], list[int]], pids: Callable[[], list[int]]) -> None:
        """began: when the contender was started, by time.monotonic. progress: records done by partition, or in all.
        pids: the contender's own processes; their children count too."""
        self.samples: list[Sample] = []
        self.newest: list[int] = []
        self.ended: int | None = None
        """A process of the contender that is there no more."""
        self.error: Exception | None = None
        """Why no more samples are taken."""
        self._began, self._progress, self._pids = began, progress, pids
        self._stop = threading.Event()
        self._used_s: dict[int, float] = {}
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Watch:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    @property
    def elapsed_s(self) -> float:
        return time.monotonic() - self._began

    def _run(self) -> None:
        while not self._stop.wait(0.5):
            try:
                cpu_s, rss = self._used()
                done = self._progress()
            except Exception as error:
                self.error = error
                return
            self.newest = done
            self.samples.append(Sample(self.elapsed_s, sum(done), cpu_s, rss))

    def _used(self) -> tuple[float, int]:
        rss = 0
        for pid in self._pids():
            if not _alive(pid):
                self.ended = pid
                continue
            with contextlib.suppress(psutil.Error):
                parent = psutil.Process(pid)
                for process in [parent, *parent.children(recursive=True)]:
                    with contextlib.suppress(psutil.Error):
                        with process.oneshot():
                            times = process.cpu_times()
                            rss += process.memory_info().rss
                        self._used_s[process.pid] = times.user + times.system
        return sum(self._used_s.values()), rss


def _alive(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


@dataclass(frozen=True, slots=True)
class Steady:
    """rate: records a second. cpu_us: processor microseconds a record. seconds: how long it was looked at."""

    rate: float
    cpu_us: float
    seconds: float


def steady(samples: list[Sample], skip_s: float, until: int) -> Steady | None:
    """The rate once the contender is warm: from `skip_s` after its first progress on, as long as it has work.

    Progress comes in steps where it is known by commits, so a span begins and ends with a step.
    until: records after which some part of the log may have no more work. None where there are not two steps.
    """
    steps = [now for before, now in zip(samples, samples[1:], strict=False) if now.done > before.done]
    if not steps:
        return None
    inside = [step for step in steps if step.at >= steps[0].at + skip_s and step.done <= until]
    if len(inside) < 2:
        return None
    first, last = inside[0], inside[-1]
    records, seconds = last.done - first.done, last.at - first.at
    return Steady(records / seconds, (last.cpu_s - first.cpu_s) / records * 1e6, seconds)


def reached(samples: list[Sample], wanted: int, steps_more: int = 0) -> float | None:
    """Seconds from the start until so many records were done, and `steps_more` further steps were made."""
    before = None
    for number, sample in enumerate(samples):
        if sample.done >= wanted:
            if before is None:
                before = sample.done
            if steps_more == 0:
                return sample.at
            if number and sample.done > samples[number - 1].done and sample.done > before:
                steps_more -= 1
                if steps_more == 0:
                    return sample.at
    return None
