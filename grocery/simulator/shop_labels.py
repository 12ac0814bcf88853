"""What labels of checkouts and shelves may expect: the rules of chain/rules/checkout_queue.yaml and shelf.yaml, read a
second time. As in grocery.simulator.labels a margin is asked for.
"""

from __future__ import annotations

from grocery.simulator.labels import MINUTE

# As the rule files ship them; a test holds the two together.
WAIT, WAIT_S, WAIT_FOR = "checkout_wait", 240, 3 * MINUTE
SHORT, SHORT_FOR = "lanes_short", 5 * MINUTE
SHORT_ABOVE = 2 / 0.85
"""People per open lane: one served, one waiting, for 85 % of them."""
EMPTY, EMPTY_FOR = "facing_empty", 15 * MINUTE
PHANTOM, PHANTOM_ABOVE, PHANTOM_FOR = "phantom_inventory", 5, 30 * MINUTE
PHANTOM_GAPS = 20
"""Gaps between sales before a product is judged."""


def longest(samples: list[tuple[int, bool]]) -> int:
    """Milliseconds from the first to the last of the longest run of samples that are so; samples: (epoch ms, so)."""
    found, begun = 0, None
    for time, so in sorted(samples):
        begun = (time if begun is None else begun) if so else None
        found = max(found, time - begun) if begun is not None else found
    return found


def stopped_selling(sold: list[int], until: int) -> float:
    """How many times its usual gap a product has not sold; 0 where too little is known of it.

    sold: numbers of the receipts that it stands on, in order; until: number of the newest receipt. The usual gap is the
    one that nine of ten stay under.
    """
    gaps = sorted(b - a for a, b in zip(sold, sold[1:], strict=False))
    if len(gaps) < PHANTOM_GAPS:
        return 0.0
    return (until - sold[-1]) / gaps[int(0.9 * len(gaps))]
