"""New identifiers: a prefix and a UUIDv7 in hex, so that ids sort by creation."""

import secrets
import time


def new_id(prefix: str) -> str:
    """For example `job_0190...`: 48 bits of milliseconds, then 74 random bits around version and variant."""
    milliseconds = time.time_ns() // 1_000_000
    random_a, random_b = secrets.randbits(12), secrets.randbits(62)
    value = milliseconds << 80 | 0x7 << 76 | random_a << 64 | 0b10 << 62 | random_b
    return f"{prefix}_{value:032x}"
