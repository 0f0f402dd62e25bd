"""Evenly spaced positions in canonical order: the same few stand for the many every time."""

import numpy as np

from winnow.results import Positions


def evenly(n: int, limit: int) -> Positions:
    """At most `limit` positions out of n, first and last among them; canonical order is random, so this is a sample."""
    if n <= limit:
        return np.arange(n, dtype=np.int64)
    return np.unique(np.linspace(0, n - 1, limit).round().astype(np.int64))
