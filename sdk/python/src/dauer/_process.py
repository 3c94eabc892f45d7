"""What this process has to remember for its calls. All of it lies in memory, so it goes back in time with a restore."""

from __future__ import annotations

import asyncio
import heapq
import os
import threading
import uuid
from contextlib import contextmanager
from typing import Dict, Iterator, List, Optional, Tuple
from urllib.parse import urlsplit

from .errors import LockHeld, NotManaged, SignalTimeout


def api_address() -> Optional[Tuple[str, int]]:
    """Where the runtime API is; ``None`` outside of Dauer. Raises ``ValueError`` where ``DAUER_API`` is no address."""
    text = os.environ.get("DAUER_API", "")
    if not text:
        return None
    parts = urlsplit(text)
    if parts.scheme != "http" or not parts.hostname or parts.port is None:
        raise ValueError(f"DAUER_API is {text}, which is not http://host:port")
    return parts.hostname, parts.port


def needed_api() -> Tuple[str, int]:
    """The same for calls without a meaning outside of Dauer."""
    address = api_address()
    if address is None:
        raise NotManaged("not managed by dauer: DAUER_API is not set; start the program with: dauer run -- PROGRAM")
    return address


def new_token() -> str:
    """A key of one request, from the kernel's randomness: a restored process must not make the same ones again."""
    return str(uuid.uuid4())


class _State:
    """Of one process; a fork begins with a new one."""

    def __init__(self) -> None:
        self.guard = threading.Lock()
        self.id = uuid.uuid4()
        self.next_turn: Dict[str, int] = {}
        self.given_back: Dict[str, List[int]] = {}
        self.locks: Dict[str, object] = {}
        self.generation: Optional[int] = None


_state = _State()


def _after_fork() -> None:
    global _state
    _state = _State()


os.register_at_fork(after_in_child=_after_fork)


@contextmanager
def signal_turn(name: str) -> Iterator[str]:
    """The key for the next wait for this signal.

    Unlike other keys it is made of what is in memory: the n-th wait of a process for a name has the same key again after the
    process was rolled back, so it gets the signal that it got the first time. A turn that was left without an answer, such as by
    Ctrl-C or a cancelled task, is the next one to be taken: its signal may already be bound to it.
    """
    state = _state
    with state.guard:
        free = state.given_back.setdefault(name, [])
        if free:
            turn = heapq.heappop(free)
        else:
            turn = state.next_turn.get(name, 1)
            state.next_turn[name] = turn + 1
    try:
        # Names differ, so that threads may take turns for them in another order.
        yield f"{uuid.uuid5(state.id, name)}.{turn}"
    except SignalTimeout:
        # That is an answer, too.
        raise
    except BaseException:
        with state.guard:
            heapq.heappush(free, turn)
        raise


def holder() -> object:
    """Who runs: the asyncio task, else the thread."""
    try:
        task = asyncio.current_task()
    except RuntimeError:
        task = None
    return task if task is not None else threading.get_ident()


def lock_taken(lock: str, by: object) -> None:
    with _state.guard:
        _state.locks[lock] = by


def lock_left(lock: str) -> None:
    with _state.guard:
        _state.locks.pop(lock, None)


def check_no_lock_held() -> None:
    """A checkpoint waits until no lock is held. Whoever holds one itself would wait forever."""
    me = holder()
    with _state.guard:
        held = any(by is me or by == me for by in _state.locks.values())
    if held:
        raise LockHeld("a checkpoint waits for all locks, and this thread holds one: leave `with dauer.lock()` first")


def note_generation(generation: int) -> None:
    """Remembers the incarnation in which this process was first seen."""
    with _state.guard:
        if _state.generation is None:
            _state.generation = generation


def generation_moved(generation: int, retries: int) -> bool:
    """Whether the incarnation is another one than at the last call."""
    with _state.guard:
        known = _state.generation
        if known is None:
            # A job begins with its first incarnation; with which one it began once more is not known here.
            known = 1 if retries == 0 else generation
        _state.generation = generation
        return generation != known
