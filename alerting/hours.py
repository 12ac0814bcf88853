"""When a store is open, and when a recurring window is: local times, holidays and clock changes.

All instants are epoch milliseconds; local times are read in the store's zone.
"""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta
from functools import lru_cache
from itertools import islice
from zoneinfo import ZoneInfo

from dateutil.rrule import rrulestr

from alerting.events import StoreInfo

DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_SOME_DAY = datetime(2026, 1, 1)  # noqa: DTZ001
_LOOK_DAYS = 400
"""How far ahead a change of the opening hours is looked for."""


def is_open(store: StoreInfo, at: int) -> bool:
    """Whether the store is open. A store without any opening hours is never closed."""
    if not store.opening_hours:
        return True
    return any(begin <= at < end for begin, end in open_spans(store, local_date(store, at)))


def next_change(store: StoreInfo, at: int) -> int | None:
    """The next time it opens or closes after `at`; None where that never happens."""
    if not store.opening_hours:
        return None
    day, was = local_date(store, at), is_open(store, at)
    for number in range(_LOOK_DAYS):
        for edge in sorted(edge for span in open_spans(store, day + timedelta(days=number)) for edge in span):
            if edge > at and is_open(store, edge) != was:
                return edge
    return None


def local_date(store: StoreInfo, at: int) -> date:
    return datetime.fromtimestamp(at / 1000, ZoneInfo(store.time_zone)).date()


@lru_cache(maxsize=4096)
def open_spans(store: StoreInfo, day: date) -> tuple[tuple[int, int], ...]:
    """The store's opening hours on one local date, as (begin, end)."""
    holiday = next((item for item in store.holidays if item.date == day.isoformat()), None)
    if holiday is not None:
        spans = [] if holiday.closed else [(holiday.opens, holiday.closes)]
    else:
        spans = [(item.opens, item.closes) for item in store.opening_hours if item.day == DAYS[day.weekday()]]
    zone = ZoneInfo(store.time_zone)
    return tuple((_instant(day, opens, zone), _instant(day, closes, zone)) for opens, closes in spans)


def window_end(store: StoreInfo, days: tuple[str, ...], begins: str, lasts_ms: int, at: int) -> int | None:
    """End of the window that `at` lies in; None outside. The window begins at a local time (HH:MM) of those days (all
    where none is named) and lasts so long."""
    zone, today = ZoneInfo(store.time_zone), local_date(store, at)
    for back in range(lasts_ms // 86_400_000 + 2):
        day = today - timedelta(days=back)
        if days and DAYS[day.weekday()] not in days:
            continue
        begin = _instant(day, begins, zone)
        if begin <= at < begin + lasts_ms:
            return begin + lasts_ms
    return None


def check_recurrence(rule: str) -> None:
    """Raises ValueError for text that is no RFC 5545 recurrence rule, or one that recurs more often than hourly."""
    try:
        first_two = list(islice(rrulestr(rule, dtstart=_SOME_DAY), 2))
    except (ValueError, TypeError, AttributeError, KeyError) as error:
        raise ValueError(f"no recurrence rule as RFC 5545 has it, e.g. FREQ=WEEKLY;BYDAY=MO ({error})") from None
    if len(first_two) == 2 and first_two[1] - first_two[0] < timedelta(hours=1):
        raise ValueError("it recurs more often than hourly; take one long window")


@lru_cache(maxsize=1024)
def occurrence(rule: str, first: int, until: int, zone: str, lasts_ms: int, at: int) -> tuple[int | None, int | None]:
    """A window that recurs by RFC 5545, in local times from `first` on, and is over at `until`.

    Returns (end of the occurrence that `at` lies in or None, beginning of the next one after `at` or None).
    """
    place = ZoneInfo(zone)
    start, local = (datetime.fromtimestamp(ms / 1000, place).replace(tzinfo=None) for ms in (first, at))
    found = rrulestr(rule, dtstart=start)
    last, following = found.before(local, inc=True), found.after(local)
    end, begins = None, None
    if last is not None:
        begin = _ms(last.replace(tzinfo=place))
        if begin <= at < min(begin + lasts_ms, until):
            end = min(begin + lasts_ms, until)
    if following is not None:
        begins = _ms(following.replace(tzinfo=place))
    return end, begins if begins is not None and begins < until else None


def _instant(day: date, local: str, zone: ZoneInfo) -> int:
    if local == "24:00":
        return _ms(datetime.combine(day + timedelta(days=1), time(), zone))
    return _ms(datetime.combine(day, time.fromisoformat(local), zone))


def _ms(moment: datetime) -> int:
    return round(moment.astimezone(UTC).timestamp() * 1000)
