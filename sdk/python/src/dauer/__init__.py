"""Dauer for Python: checkpoint, suspend and resume a plain program from within, and run programs from outside.

From within a job::

    import dauer

    plan = think()                       # runs once, also if the machine is switched off at the next line
    dauer.checkpoint()
    act(plan)
    dauer.sleep("3d")                    # no process, no memory meanwhile
    answer = dauer.wait_signal("answer") # neither while it waits for a human
    dauer.exit({"answer": answer})

From outside::

    job = dauer.Dauer().run(["python3", "agent.py"])
    for event in job.stream(): ...

Outside of Dauer the calls of the first kind are harmless: :func:`checkpoint` answers ``not_managed``, :func:`sleep` sleeps.
The same functions for asyncio are in :mod:`dauer.aio`.
"""

from __future__ import annotations

import os
import sys
import time
from types import TracebackType
from typing import Any, NoReturn, Optional, Type

from . import _process, _steps
from ._blocking import drive
from ._durations import Duration, seconds as _seconds
from ._steps import Checkpoint, Metadata, Ready
from .client import Dauer, Ended, Event, Executed, Job, Output, Result
from .errors import (
    CheckpointFailed,
    DauerError,
    JobFailed,
    LockHeld,
    NotManaged,
    NotUnderstood,
    Refused,
    SignalTimeout,
    Unreachable,
)

__version__ = "0.1.0"

__all__ = [
    "Checkpoint",
    "CheckpointFailed",
    "Dauer",
    "DauerError",
    "Duration",
    "Ended",
    "Event",
    "Executed",
    "Job",
    "JobFailed",
    "Lock",
    "LockHeld",
    "Metadata",
    "NotManaged",
    "NotUnderstood",
    "Output",
    "Ready",
    "Refused",
    "Result",
    "SignalTimeout",
    "Unreachable",
    "checkpoint",
    "exit",
    "lock",
    "managed",
    "metadata",
    "params",
    "progress",
    "ready",
    "restored",
    "sleep",
    "wait_signal",
]


def managed() -> bool:
    """Whether this process runs as a job of Dauer."""
    return _process.api_address() is not None


def checkpoint(suspend: Optional[Duration] = None) -> Checkpoint:
    """Keeps this moment: memory, files, threads. Returns once it is on disk, and again in each process that comes out of it.

    With ``suspend`` the job then sleeps for so long at no cost: no process, no memory. ``0`` seconds is a freeze and a thaw.
    What was done before the call is done once; what comes after it may happen again, if the machine dies in the middle.

    Raises :class:`CheckpointFailed` where none could be taken (the job goes on), :class:`Refused` with ``unsupported`` where the
    driver or the network of the job cannot be frozen.
    """
    address = _process.api_address()
    if address is None:
        return Checkpoint("not_managed")
    _process.check_no_lock_held()
    result = drive(address, _steps.checkpoint(_process.new_token(), suspend))
    if not result.restored:
        _process.note_generation(result.generation)
    return result


def ready() -> Ready:
    """Everything that jobs of this definition have in common is done: imports, models, caches.

    Where the definition says ``warm``, the first job is frozen here and goes on; every later one begins here, in the memory of that
    one. So what comes after the call is each job's own: :func:`params`, files and connections to open, random numbers to seed. What
    the job adds to the environment is in ``os.environ`` from here on, and ``DAUER_JOB_ID`` is its own. Nothing is raised where no
    state can be kept.
    """
    address = _process.api_address()
    if address is None:
        return Ready("not_managed")
    result, env = drive(address, _steps.ready())
    os.environ.update(env)
    if not result.restored:
        _process.note_generation(result.generation)
    return result


def sleep(duration: Duration) -> None:
    """Sleeps, suspended: the job has no process and no memory meanwhile. Somebody who resumes the job ends the sleep.

    Where the job cannot be frozen, and outside of Dauer, it sleeps as :func:`time.sleep` does. A freeze and a thaw take about
    half a second, so a short pause belongs to :func:`time.sleep`.
    """
    span = _seconds(duration)
    # The wall clock is right after a thaw, the monotonic one need not be.
    until = time.time() + span
    try:
        if managed():
            checkpoint(suspend=span)
            return
    except CheckpointFailed:
        pass
    except Refused as refusal:
        if refusal.code not in _steps.CANNOT_FREEZE:
            raise
    time.sleep(max(0.0, until - time.time()))


class Lock:
    """While it is held no checkpoint is taken: for work with the outside that must be done whole. See :func:`lock`."""

    def __init__(self, ttl: Optional[Duration] = None):
        self._ttl = ttl
        self._id: Optional[str] = None

    def acquire(self) -> None:
        """Returns once it is held."""
        if self._id is not None:
            raise RuntimeError("this lock is held already")
        address = _process.api_address()
        if address is None:
            return
        token = _process.new_token()
        try:
            self._id = drive(address, _steps.acquire(token, self._ttl))
        except Exception:
            raise
        except BaseException:
            # Ctrl-C: it may have been given, and a lock that nobody knows of would hold up all checkpoints.
            drive(address, _steps.release(drive(address, _steps.acquire(token, self._ttl))))
            raise
        if self._ttl is None:
            _process.lock_taken(self._id, _process.holder())

    def release(self) -> None:
        """Lets it go; harmless where it is not held."""
        lock, self._id = self._id, None
        if lock is not None:
            try:
                drive(_process.needed_api(), _steps.release(lock))
            finally:
                _process.lock_left(lock)

    def __enter__(self) -> Lock:
        self.acquire()
        return self

    def __exit__(
        self, kind: Optional[Type[BaseException]], error: Optional[BaseException], trace: Optional[TracebackType]
    ) -> None:
        self.release()


def lock(ttl: Optional[Duration] = None) -> Lock:
    """``with dauer.lock():`` no checkpoint is taken inside, whoever asks for one waits.

    With ``ttl`` the lock ends by itself after so long. It ends with the attempt of the job in any case.
    """
    return Lock(ttl)


def params(default: Any = None) -> Any:
    """What the job was started with (``--params``); ``default`` where nothing was given, and outside of Dauer."""
    address = _process.api_address()
    value = None if address is None else drive(address, _steps.params())
    return default if value is None else value


def metadata() -> Metadata:
    """Who this job is; empty outside of Dauer."""
    address = _process.api_address()
    return Metadata() if address is None else drive(address, _steps.metadata())


def progress(done: float, total: Optional[float] = None, message: Optional[str] = None) -> None:
    """Tells how far it is, for ``dauer ps`` and those who follow the job."""
    address = _process.api_address()
    if address is not None:
        drive(address, _steps.progress(done, total, message))


def wait_signal(name: str, timeout: Optional[Duration] = None, suspend: bool = True) -> Any:
    """Waits for ``dauer signal JOB NAME [JSON]`` and returns its payload. One that was sent before is there at once.

    The job is suspended meanwhile, or stays in memory with ``suspend=False`` and where it cannot be frozen. A signal is
    handed out once; after a rollback to an earlier checkpoint the same wait gets the same signal again.

    Raises :class:`SignalTimeout`; :class:`NotManaged` outside of Dauer, for there nobody can send one.
    """
    address = _process.needed_api()
    if suspend:
        _process.check_no_lock_held()
    with _process.signal_turn(name) as token:
        return drive(address, _steps.wait_signal(name, token, timeout, suspend))


def restored() -> bool:
    """Whether the process was thawed or restored since this was last asked. Then connections to the outside are gone."""
    address = _process.api_address()
    if address is None:
        return False
    view = drive(address, _steps.self_view())
    return _process.generation_moved(int(view.get("generation") or 0), int(view.get("retries") or 0))


def exit(output: Any = None, code: int = 0) -> NoReturn:
    """Ends the job with this result, any JSON up to 1 MiB; ``dauer result JOB`` prints it. Outside of Dauer only exits.

    Raises ``SystemExit``, so that ``finally`` blocks run. Raises :class:`Refused` with ``too_large`` and goes on where the
    result is too long.
    """
    # What was printed is part of the job; the daemon may end it as soon as it has the result.
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:
            stream.flush()
    address = _process.api_address()
    if address is not None:
        drive(address, _steps.exit_with(code, output))
    sys.exit(code)
