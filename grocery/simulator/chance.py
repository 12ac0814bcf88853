"""Seeded chance: every store, asset and purpose draws from its own stream, so that adding one disturbs no other."""

from __future__ import annotations

import zlib

import numpy as np


def chance(seed: int, *names: str) -> np.random.Generator:
    """The stream of these names under a seed. Same seed and names, same numbers."""
    return np.random.default_rng([seed, *(zlib.crc32(name.encode()) for name in names)])
