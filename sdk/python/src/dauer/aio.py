"""The calls of a job for asyncio: as in :mod:`dauer`, awaited. A call that is cancelled leaves nothing behind."""

from __future__ import annotations

import asyncio
import os
import sys
import time
from types import TracebackType
from typing import Any, NoReturn, Optional, Set, Tuple, Type

from . import _process, _steps
from ._asyncio import drive
from ._durations import Duration, seconds as _seconds
from ._steps import Checkpoint, Metadata, Ready
from .errors import CheckpointFailed, Refused

__all__ = [
    "Lock",
    "checkpoint",
    "exit",
    "lock",
    "metadata",
    "params",
    "progress",
    "ready",
    "restored",
    "sleep",
    "wait_signal",
]

# A loop holds its tasks only weakly.
_background: Set["asyncio.Task[None]"] = set()


async def checkpoint(suspend: Optional[Duration] = None) -> Checkpoint:
    """As :func:`dauer.checkpoint`. All tasks of the loop are in it, wherever they are."""
    address = _process.api_address()
    if address is None:
        return Checkpoint("not_managed")
    _process.check_no_lock_held()
    result = await drive(address, _steps.checkpoint(_process.new_token(), suspend))
    if not result.restored:
        _process.note_generation(result.generation)
    return result


async def ready() -> Ready:
    """As :func:`dauer.ready`. All tasks of the loop begin where they are now."""
    address = _process.api_address()
    if address is None:
        return Ready("not_managed")
    result, env = await drive(address, _steps.ready())
    os.environ.update(env)
    if not result.restored:
        _process.note_generation(result.generation)
    return result


async def sleep(duration: Duration) -> None:
    """As :func:`dauer.sleep`. The other tasks sleep with it: it is the job that is suspended."""
    span = _seconds(duration)
    until = time.time() + span
    try:
        if _process.api_address() is not None:
            await checkpoint(suspend=span)
            return
    except CheckpointFailed:
        pass
    except Refused as refusal:
        if refusal.code not in _steps.CANNOT_FREEZE:
            raise
    await asyncio.sleep(max(0.0, until - time.time()))


class Lock:
    """As :class:`dauer.Lock`, for ``async with``."""

    def __init__(self, ttl: Optional[Duration] = None):
        self._ttl = ttl
        self._id: Optional[str] = None

    async def acquire(self) -> None:
        """Returns once it is held."""
        if self._id is not None:
            raise RuntimeError("this lock is held already")
        address = _process.api_address()
        if address is None:
            return
        token = _process.new_token()
        try:
            self._id = await drive(address, _steps.acquire(token, self._ttl))
        except asyncio.CancelledError:
            # It may have been given, and a lock that nobody knows of would hold up all checkpoints.
            cleaning = asyncio.ensure_future(_give_up(address, token, self._ttl))
            _background.add(cleaning)
            cleaning.add_done_callback(_background.discard)
            raise
        if self._ttl is None:
            _process.lock_taken(self._id, _process.holder())

    async def release(self) -> None:
        """Lets it go; harmless where it is not held."""
        lock, self._id = self._id, None
        if lock is None:
            return
        try:
            await drive(_process.needed_api(), _steps.release(lock))
        except asyncio.CancelledError:
            cleaning = asyncio.ensure_future(drive(_process.needed_api(), _steps.release(lock)))
            _background.add(cleaning)
            cleaning.add_done_callback(_background.discard)
            raise
        finally:
            _process.lock_left(lock)

    async def __aenter__(self) -> Lock:
        await self.acquire()
        return self

    async def __aexit__(
        self, kind: Optional[Type[BaseException]], error: Optional[BaseException], trace: Optional[TracebackType]
    ) -> None:
        await self.release()


async def _give_up(address: Tuple[str, int], token: str, ttl: Optional[Duration]) -> None:
    await drive(address, _steps.release(await drive(address, _steps.acquire(token, ttl))))


def lock(ttl: Optional[Duration] = None) -> Lock:
    """``async with dauer.aio.lock():`` as :func:`dauer.lock`."""
    return Lock(ttl)


async def params(default: Any = None) -> Any:
    """As :func:`dauer.params`."""
    address = _process.api_address()
    value = None if address is None else await drive(address, _steps.params())
    return default if value is None else value


async def metadata() -> Metadata:
    """As :func:`dauer.metadata`."""
    address = _process.api_address()
    return Metadata() if address is None else await drive(address, _steps.metadata())


async def progress(done: float, total: Optional[float] = None, message: Optional[str] = None) -> None:
    """As :func:`dauer.progress`."""
    address = _process.api_address()
    if address is not None:
        await drive(address, _steps.progress(done, total, message))


async def wait_signal(name: str, timeout: Optional[Duration] = None, suspend: bool = True) -> Any:
    """As :func:`dauer.wait_signal`. A wait that was cancelled is taken up by the next one for this name."""
    address = _process.needed_api()
    if suspend:
        _process.check_no_lock_held()
    with _process.signal_turn(name) as token:
        return await drive(address, _steps.wait_signal(name, token, timeout, suspend))


async def restored() -> bool:
    """As :func:`dauer.restored`."""
    address = _process.api_address()
    if address is None:
        return False
    view = await drive(address, _steps.self_view())
    return _process.generation_moved(int(view.get("generation") or 0), int(view.get("retries") or 0))


async def exit(output: Any = None, code: int = 0) -> NoReturn:
    """As :func:`dauer.exit`."""
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:
            stream.flush()
    address = _process.api_address()
    if address is not None:
        await drive(address, _steps.exit_with(code, output))
    sys.exit(code)
