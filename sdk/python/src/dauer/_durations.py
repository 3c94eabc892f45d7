"""Durations as people give them: seconds, a timedelta, or text such as ``4s`` and ``1h30m``."""

from __future__ import annotations

import math
import re
from datetime import timedelta
from typing import Union

Duration = Union[float, timedelta, str]

_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0, "w": 604800.0}
_PART = re.compile(r"(\d+(?:\.\d*)?|\.\d+)(ms|[smhdw])")


def seconds(duration: Duration) -> float:
    """The duration in seconds. Raises ``ValueError`` for one that is negative or none at all."""
    if isinstance(duration, timedelta):
        total = duration.total_seconds()
    elif isinstance(duration, str):
        text = duration.strip()
        if not text or not re.fullmatch(f"(?:{_PART.pattern})+", text):
            raise ValueError(f"{duration!r} is not a duration: write for example 500ms, 10s, 5m, 1h30m or 3d")
        total = sum(float(number) * _SECONDS[unit] for number, unit in _PART.findall(text))
    else:
        total = float(duration)
    if not math.isfinite(total) or total < 0:
        raise ValueError(f"{duration!r} is not a duration: it has to be finite and not negative")
    return total


def milliseconds(duration: Duration) -> int:
    """The same in whole milliseconds, rounded up: never shorter than asked for."""
    # Binary fractions such as 0.1 * 1000 must not become one more.
    return math.ceil(round(seconds(duration) * 1000, 6))


def text(duration: Duration) -> str:
    """The same as the runtime API reads it."""
    return f"{milliseconds(duration)}ms"
