"""What can go wrong, by what the caller can do next. Everything is a :class:`DauerError`."""

from __future__ import annotations

import json
from typing import Any, Optional


class DauerError(Exception):
    """The base of all errors of this package."""


class Unreachable(DauerError, ConnectionError):
    """Nothing answered, also after many tries. Asking again later is safe where the call says it is repeatable."""


class NotManaged(DauerError):
    """This process is no job of Dauer, and the call has no meaning without one."""


class NotUnderstood(DauerError):
    """The answer is none this version understands: SDK and daemon are of different versions."""


class CheckpointFailed(DauerError):
    """No checkpoint was taken; the job goes on without it."""


class LockHeld(DauerError):
    """A checkpoint would wait for a lock which the same thread or task holds: it would wait forever."""


class SignalTimeout(DauerError, TimeoutError):
    """The signal did not come in time."""


class Refused(DauerError):
    """The daemon said no. ``code`` is for programs and stays the same over versions, ``detail`` is for people."""

    def __init__(self, status: int, code: str, detail: str, type: Optional[str] = None, instance: Optional[str] = None):
        super().__init__(f"{detail} ({code})")
        self.status = status
        self.code = code
        self.detail = detail
        #: The page about this code.
        self.type = type
        #: The id of the request, as the daemon's log has it.
        self.instance = instance

    @classmethod
    def of(cls, status: int, body: bytes) -> Refused:
        """Reads ``application/problem+json``; anything else becomes the detail."""
        problem: Any
        try:
            problem = json.loads(body)
        except ValueError:
            problem = None
        if not isinstance(problem, dict):
            text = body.decode(errors="replace").strip()
            return cls(status, "unknown", text or f"the daemon answered {status}")
        detail = problem.get("detail") or problem.get("title") or f"the daemon answered {status}"
        return cls(
            status,
            str(problem.get("code") or "unknown"),
            str(detail),
            problem.get("type"),
            problem.get("instance"),
        )


class JobFailed(DauerError):
    """A job whose result was asked for did not complete; ``result`` says how it ended."""

    def __init__(self, result: Any):
        super().__init__(result.summary())
        self.result = result
