"""What is wrong with the pipeline, from looks at it. Pure: no clock, no I/O.

Every rule is about one thing at a time: a job, a store's ticks or readings, Flink, the broker. A look says of a thing
that it is in trouble, that it is fine, or nothing, where it cannot be known now: then its alert stays as it is.

Three clocks, in seconds: the guard's own, and of it the parts in which the broker, or Flink, answered. What cannot be
seen does not grow old: an hour without the broker makes no store silent for an hour.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from math import inf, log, log1p
from typing import NamedTuple

from guard.seen import INGESTION, TICKER, BrokerSeen, Heard, JobSeen, Look, Part
from guard.trail import Trail

CHAIN = "chain"
FEEDS = (TICKER, INGESTION)
BROKER, FLINK = "broker", "flink"


@dataclass(frozen=True, slots=True)
class Rule:
    """action: what a person does about it. docs/operations.md has a paragraph under the rule's name."""

    name: str
    severity: str
    asset_class: str
    action: str


BROKER_SILENT = Rule("broker_not_answering", "critical", "broker", "Look at the broker's log and disk, start it again.")
FLINK_SILENT = Rule("flink_not_answering", "critical", "flink", "Look at the job manager's log, start it again.")
NOT_RUNNING = Rule("job_not_running", "critical", "job", "See `grocery stream status` and the job manager's log.")
CHECKPOINTS = Rule(
    "checkpoints_stopped",
    "critical",
    "job",
    "See the job's checkpoints on Flink's page. No alert becomes readable until one completes.",
)
LAGS = Rule("job_lags", "warning", "job", "See back pressure on Flink's page; give the job more cores or slots.")
CIRCLES = Rule(
    "job_restarts_in_circles",
    "critical",
    "job",
    "See the exception on Flink's page; `grocery stream cancel` stops the circle, nothing is lost.",
)
UNMONITORED = Rule(
    "store_unmonitored", "critical", "feed", "Look whether `grocery ingest ticker` and the store's gateway run."
)
RULES = {
    rule.name: rule for rule in (BROKER_SILENT, FLINK_SILENT, NOT_RUNNING, CHECKPOINTS, LAGS, CIRCLES, UNMONITORED)
}


@dataclass(frozen=True, slots=True)
class Limits:
    """All in seconds, but for counts. With a look every 5 s each trouble is told within 60 s.

    look_s: from one look to the next.
    first_s: patience with what has not been up since the guard began: a stack that starts takes its time.
    silent_s: the broker or Flink gives no answer. down_s: a job does not run; a deploy takes half of it.
    checkpoint_s: no checkpoint of a running job; three of its intervals where that is more.
    failed: so many failed checkpoints within failed_within_s.
    lag_s: a job is so far behind and not catching up; it is over below lag_over_s.
    restarts: so many within restarts_within_s; it is over after calm_s without one.
    unheard_s: a store's ticks, or readings, have stopped; group_s: those of more than half of the stores.
    """

    look_s: float = 5
    first_s: float = 90
    silent_s: float = 20
    down_s: float = 40
    checkpoint_s: float = 30
    failed: int = 3
    failed_within_s: float = 60
    lag_s: float = 30
    lag_over_s: float = 10
    restarts: int = 3
    restarts_within_s: float = 300
    calm_s: float = 120
    unheard_s: float = 45
    group_s: float = 35


HEARD_BEFORE = 3
"""Times that a store's sign must have come before its absence says anything."""
GAPS = 3
"""A sign is missed after so many of its usual gaps, where that is longer than unheard_s."""
GAPS_TAKEN = 32
"""The usual gap is the mean of about so many."""
UNLIKELY = log(1e9)
"""Where only a part of the records was read, a store is met by chance. It is missed when that it was not met for so
long has a chance of one in a thousand million: with 2,000 stores one false alarm in a month, at the very worst."""
SURELY = 0.98
"""Share of looks at which a store is met, at most: one that was met at every look may be missed by chance for once."""
SAMPLED_S = 120
"""So long after a look that left records out, meeting a store counts as chance."""


class Thing(NamedTuple):
    """What an alert is about; no two open alerts have the same."""

    rule: str
    store_id: str
    asset_id: str


@dataclass(frozen=True, slots=True)
class Trouble:
    """age_s: how long it has lasted. members: the stores it stands for, where it is one for many."""

    age_s: float
    summary: str
    members: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class JobFigures:
    """up: None while Flink does not answer. restarts, completed, failed: since the guard began. Ages in seconds."""

    up: bool | None
    restarts: int
    completed: int
    failed: int
    checkpoint_age_s: float | None
    behind_records: int | None
    behind_s: float | None


@dataclass(slots=True)
class Verdict:
    """troubles, fine: as far as they are known now; fine's text is why, where it isn't simply over. The rest is for
    metrics: ages: store -> TICKER or INGESTION -> seconds."""

    broker: bool
    flink: bool
    troubles: dict[Thing, Trouble] = field(default_factory=dict)
    fine: dict[Thing, str] = field(default_factory=dict)
    jobs: dict[str, JobFigures] = field(default_factory=dict)
    ages: dict[str, dict[str, float]] = field(default_factory=dict)


class _Clock:
    """Runs from one look that was answered to the next, if that was answered too."""

    def __init__(self) -> None:
        self.now = self.passed = 0.0
        self._last: float | None = None

    def look(self, at: float, answered: bool) -> None:
        self.passed = at - self._last if answered and self._last is not None else 0.0
        self.now += self.passed
        self._last = at if answered else None


@dataclass(slots=True)
class _Sign:
    """Ticks, or readings, of one store. at: when the newest came, on the broker's clock. read_at: the same on the clock
    that runs only as far as records are read; gap_s: the usual time between two, on that clock."""

    at: float
    read_at: float
    times: int
    gap_s: float

    def take(self, at: float, read_at: float, times: int, longest_s: float) -> None:
        if at <= self.at:
            return
        # An outage says little about the usual gap, a slower ticker says it again and again.
        gap = min((read_at - self.read_at) / times, longest_s)
        self.gap_s += (gap - self.gap_s) / min(self.times, GAPS_TAKEN)
        self.at, self.read_at, self.times = at, read_at, self.times + times


@dataclass(slots=True)
class _Counter:
    """A count that Flink begins anew with every run."""

    total: int = 0
    seen: int | None = None

    def take(self, value: int | None) -> int:
        """How much has been added since the last look; what was there before the first one is no news."""
        if value is None:
            return 0
        fresh = max(0, value - self.seen) if self.seen is not None else 0
        self.seen, self.total = value, self.total + fresh
        return fresh


@dataclass(slots=True)
class _Job:
    """What is remembered of a job; times on Flink's clock, those of behind on the broker's.

    waiting_since: from when on a checkpoint is missed: the last one, or when it began to run again.
    """

    wanted_at: float
    up_at: float | None = None
    run: str | None = None
    restarts: _Counter = field(default_factory=_Counter)
    completed: _Counter = field(default_factory=_Counter)
    failed: _Counter = field(default_factory=_Counter)
    restarted: deque[float] = field(default_factory=lambda: deque(maxlen=1000))
    failures: deque[float] = field(default_factory=lambda: deque(maxlen=1000))
    checkpoint_at: float | None = None
    waiting_since: float | None = None
    trails: dict[tuple[str, int], Trail] = field(default_factory=dict)
    behind: deque[tuple[float, int]] = field(default_factory=lambda: deque(maxlen=1000))
    behind_s: float | None = None

    def follow(self, now: float, seen: JobSeen | None) -> None:
        """Take in what Flink says of it."""
        if seen is None:
            self.waiting_since = None
            return
        fresh = 0
        if seen.run != self.run:
            if self.run is not None:  # the first run that is met is no restart
                fresh = 1
                self.restarts.total += 1
                for counter in (self.restarts, self.completed, self.failed):
                    counter.seen = 0
            self.run = seen.run
        fresh += self.restarts.take(seen.restarts)
        self.restarted.extend([now] * fresh)
        done = self.completed.take(seen.completed)
        if done:
            self.checkpoint_at = now
        self.failures.extend([now] * self.failed.take(seen.failed))
        if not seen.up:
            self.waiting_since = None
            return
        self.up_at = now
        if done or fresh or self.waiting_since is None:
            self.waiting_since = now

    def place(self, now: float, places: Mapping[tuple[str, int], Part], remember_s: float) -> None:
        """Take in where it stands in its partitions. behind[0] is then some remember_s ago, where that is known."""
        for key in self.trails.keys() - places.keys():
            del self.trails[key]
        ages = [0.0]
        for key, part in places.items():
            # Where only markers lie ahead, the reader is at the end.
            position = part.position if part.records else part.end
            ages.append(self.trails.setdefault(key, Trail()).behind_s(now, position, part.end))
        self.behind_s = max(ages)
        self.behind.append((now, sum(part.records for part in places.values())))
        while len(self.behind) > 1 and now - self.behind[1][0] >= remember_s:
            self.behind.popleft()


class Judge:
    """Remembers looks as far as rules need it: bounded by the jobs that are wanted and the stores that are active."""

    def __init__(self, limits: Limits | None = None) -> None:
        self._limits = limits or Limits()
        self._clock, self._broker, self._flink = _Clock(), _Clock(), _Clock()
        self._answered: dict[str, float] = {}
        self._jobs: dict[str, _Job] = {}
        self._signs: dict[str, dict[str, _Sign]] = {}
        self._active_since: dict[str, float] = {}
        self._ticking_since: float | None = None
        self._read = dict.fromkeys(FEEDS, 0.0)
        self._share = dict.fromkeys(FEEDS, 1.0)
        self._sampled_at = dict.fromkeys(FEEDS, -inf)
        self._many = dict.fromkeys(FEEDS, False)
        self._many_at = dict.fromkeys(FEEDS, 0.0)

    def look(self, look: Look, told: Collection[Thing] = ()) -> Verdict:
        """Take in one look, the next in time. told: what has an open alert now."""
        self._clock.look(look.at, True)
        self._broker.look(look.at, look.broker is not None)
        self._flink.look(look.at, look.jobs is not None)
        verdict = Verdict(look.broker is not None, look.jobs is not None)
        self._silence(verdict, BROKER_SILENT, BROKER, look.broker is not None)
        if look.wanted:
            self._silence(verdict, FLINK_SILENT, FLINK, look.jobs is not None)
        else:
            reason = "" if look.jobs is not None else "no job is wanted"
            verdict.fine[Thing(FLINK_SILENT.name, CHAIN, FLINK)] = reason
        self._all_jobs(verdict, look, told)
        if look.broker is not None:
            self._all_stores(verdict, look.broker, told)
        for thing in told:
            if RULES[thing.rule].asset_class == "job" and thing.asset_id not in look.wanted:
                verdict.fine[thing] = "the job is not wanted any more"
        return verdict

    # ---- the broker, Flink

    def _silence(self, verdict: Verdict, rule: Rule, asset_id: str, answered: bool) -> None:
        thing, now = Thing(rule.name, CHAIN, asset_id), self._clock.now
        if answered:
            self._answered[asset_id] = now
            verdict.fine[thing] = ""
            return
        known = asset_id in self._answered
        age = now - self._answered.get(asset_id, 0.0)
        if age > (self._limits.silent_s if known else self._limits.first_s):
            verdict.troubles[thing] = Trouble(age, f"the {asset_id} has not answered for {_seconds(age)}")

    # ---- jobs

    def _all_jobs(self, verdict: Verdict, look: Look, told: Collection[Thing]) -> None:
        for name in self._jobs.keys() - look.wanted:
            del self._jobs[name]
        for name in sorted(look.wanted):
            job = self._jobs.setdefault(name, _Job(self._flink.now))
            places = look.broker.places.get(name) if look.broker is not None else None
            if places is not None:
                job.place(self._broker.now, places, self._limits.lag_s / 2)
            up = None
            if look.jobs is not None:
                seen = look.jobs.get(name)
                up = seen is not None and seen.up
                job.follow(self._flink.now, seen)
                self._runs(verdict, name, job, seen)
                self._circles(verdict, name, job, up, told)
                if seen is not None and up and seen.completed is not None:
                    self._checkpoints(verdict, name, job, seen)
                if up and places is not None:
                    self._lags(verdict, name, job)
            age = None if job.checkpoint_at is None else self._flink.now - job.checkpoint_at
            verdict.jobs[name] = JobFigures(
                up,
                job.restarts.total,
                job.completed.total,
                job.failed.total,
                age,
                job.behind[-1][1] if job.behind else None,
                job.behind_s,
            )

    def _runs(self, verdict: Verdict, name: str, job: _Job, seen: JobSeen | None) -> None:
        thing, now, limits = Thing(NOT_RUNNING.name, CHAIN, name), self._flink.now, self._limits
        if seen is not None and seen.up:
            verdict.fine[thing] = ""
            return
        age = now - (job.wanted_at if job.up_at is None else job.up_at)
        if age > limits.down_s and (job.up_at is not None or self._clock.now > limits.first_s):
            state = "Flink does not know it" if seen is None else f"it is {seen.state}"
            if seen is not None and seen.state == "RUNNING":
                state = "its tasks do not run"
            verdict.troubles[thing] = Trouble(age, f"{name} has not run for {_seconds(age)}: {state}")

    def _circles(self, verdict: Verdict, name: str, job: _Job, up: bool, told: Collection[Thing]) -> None:
        thing, now, limits = Thing(CIRCLES.name, CHAIN, name), self._flink.now, self._limits
        while job.restarted and now - job.restarted[0] > limits.restarts_within_s:
            job.restarted.popleft()
        calm = up and now - (job.restarted[-1] if job.restarted else job.wanted_at) > limits.calm_s
        if calm and thing in told:
            job.restarted.clear()
            verdict.fine[thing] = ""
        elif len(job.restarted) >= limits.restarts:
            age = now - job.restarted[0]
            verdict.troubles[thing] = Trouble(
                age, f"{name} was restarted {len(job.restarted)} times within {_seconds(age)}"
            )

    def _checkpoints(self, verdict: Verdict, name: str, job: _Job, seen: JobSeen) -> None:
        thing, now, limits = Thing(CHECKPOINTS.name, CHAIN, name), self._flink.now, self._limits
        while job.failures and now - job.failures[0] > limits.failed_within_s:
            job.failures.popleft()
        age = now - job.waiting_since
        if age > max(limits.checkpoint_s, 3 * seen.interval_s):
            verdict.troubles[thing] = Trouble(
                age, f"no checkpoint of {name} was completed for {_seconds(age)}; its alerts wait to become readable"
            )
        elif len(job.failures) >= limits.failed:
            since = now - job.failures[0]
            verdict.troubles[thing] = Trouble(
                since, f"{len(job.failures)} checkpoints of {name} failed within {_seconds(since)}"
            )
        elif job.checkpoint_at is not None and job.checkpoint_at >= job.waiting_since:
            verdict.fine[thing] = ""

    def _lags(self, verdict: Verdict, name: str, job: _Job) -> None:
        thing, limits = Thing(LAGS.name, CHAIN, name), self._limits
        (began, before), (now, records) = job.behind[0], job.behind[-1]
        if job.behind_s > limits.lag_s and records >= before and now - began >= limits.lag_s / 2:
            verdict.troubles[thing] = Trouble(
                job.behind_s, f"{name} is {records:,} records, {_seconds(job.behind_s)}, behind and not catching up"
            )
        elif job.behind_s <= limits.lag_over_s:
            verdict.fine[thing] = ""

    # ---- stores

    def _all_stores(self, verdict: Verdict, seen: BrokerSeen, told: Collection[Thing]) -> None:
        now = self._broker.now
        for kind in FEEDS:
            self._share[kind] = seen.shares.get(kind, 1.0)
            self._read[kind] += self._broker.passed * self._share[kind]
            if self._share[kind] < 1:
                self._sampled_at[kind] = now
        for store in self._active_since.keys() - seen.active:
            del self._active_since[store]
            self._signs.pop(store, None)
        for store in seen.active:
            self._active_since.setdefault(store, now)
        for store, signs in seen.heard.items():
            if store in seen.active:
                for kind, heard in signs.items():
                    self._hear(store, kind, heard)
        verdict.ages = {
            store: {kind: now - sign.at for kind, sign in signs.items()} for store, signs in self._signs.items()
        }
        for kind in FEEDS:
            self._feed(verdict, kind, told)
        self._never_ticked(verdict)
        for thing in told:
            if thing.rule == UNMONITORED.name and thing.store_id not in seen.active | {CHAIN}:
                verdict.fine[thing] = "the store is not active any more"

    def _hear(self, store: str, kind: str, heard: Heard) -> None:
        signs = self._signs.setdefault(store, {})
        at, read_at = self._broker.now - heard.newest_s, self._read[kind] - heard.newest_s * self._share[kind]
        if kind in signs:
            signs[kind].take(at, read_at, heard.times, 2 * self._patience(kind, signs[kind]))
        else:
            gap = heard.span_s / (heard.times - 1) if heard.times > 1 else 0.0
            signs[kind] = _Sign(at, read_at, heard.times, gap)

    def _sampled(self, kind: str) -> bool:
        return self._broker.now - self._sampled_at[kind] < SAMPLED_S

    def _patience(self, kind: str, sign: _Sign) -> float:
        """How long it may stay away, on the clock that runs as far as records are read."""
        if not self._sampled(kind):
            return max(self._limits.unheard_s, GAPS * sign.gap_s)
        look_s = self._limits.look_s * self._share[kind]
        met = min(SURELY, look_s / max(sign.gap_s, look_s))
        return look_s * UNLIKELY / -log1p(-met)

    def _missed(self, kind: str, sign: _Sign, part: float = 1.0) -> bool:
        """part: of the patience there is."""
        away, unread = self._broker.now - sign.at, self._read[kind] - sign.read_at
        return away > part * self._limits.unheard_s and unread > part * self._patience(kind, sign)

    def _feed(self, verdict: Verdict, kind: str, told: Collection[Thing]) -> None:
        """One kind of sign, in all stores: where more than half of them miss it, that is one trouble of the chain."""
        now, soon = self._broker.now, self._limits.group_s / self._limits.unheard_s
        known = {store: signs[kind] for store, signs in self._signs.items() if kind in signs}
        judged = {store: sign for store, sign in known.items() if sign.times >= HEARD_BEFORE}
        missed = sorted(store for store, sign in judged.items() if self._missed(kind, sign, soon))
        whole = Thing(UNMONITORED.name, CHAIN, kind)
        many = len(judged) > 1 and 2 * len(missed) > len(judged)
        if many:
            age = now - max(judged[store].at for store in missed)
            verdict.troubles[whole] = Trouble(age, _unheard(kind, f"{len(missed)} stores are", age), tuple(missed))
        elif 2 * sum(1 for sign in judged.values() if sign.at > self._many_at[kind]) > len(judged):
            verdict.fine[whole] = ""  # heard again, and not only missed less because less is read
        if many and not self._many[kind]:
            self._many_at[kind] = now
        self._many[kind] = many
        if kind == TICKER:
            ticks = len(missed) < len(judged) and not many
            self._ticking_since = (self._ticking_since or now) if ticks else None
        for store, sign in known.items():
            thing = Thing(UNMONITORED.name, store, kind)
            if now - sign.at <= self._limits.group_s:
                verdict.fine[thing] = ""
            elif self._missed(kind, sign) and store in judged and not many:
                age = now - sign.at
                verdict.troubles[thing] = Trouble(age, _unheard(kind, f"{store} is", age))

    def _never_ticked(self, verdict: Verdict) -> None:
        """A ticker ticks every active store: one that it leaves out is not monitored either."""
        if self._ticking_since is None or any(self._sampled(kind) for kind in FEEDS):
            return
        for store, since in self._active_since.items():
            age = self._broker.now - max(since, self._ticking_since)
            if TICKER not in self._signs.get(store, ()) and age > self._limits.unheard_s:
                verdict.troubles[Thing(UNMONITORED.name, store, TICKER)] = Trouble(
                    age, f"{store} is unmonitored: a ticker runs, but has no tick for this store"
                )


def _unheard(kind: str, who: str, age_s: float) -> str:
    if kind == TICKER:
        return f"{who} unmonitored: no tick for {_seconds(age_s)}; silence is not noticed, commands are not taken"
    return f"{who} unmonitored: no reading for {_seconds(age_s)}"


def _seconds(seconds: float) -> str:
    """`41 s`, `12 min`, `3 h`."""
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.0f} h"
