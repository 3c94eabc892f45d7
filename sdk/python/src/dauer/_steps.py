"""The in-job calls without IO: generators that yield what to do next and are sent what came of it.

One freeze can cut any of these requests at any byte, and the process learns of it only afterwards, in another
incarnation. So each call has its key before its first try, keeps it in the frames below, and repeats it until it has a
whole answer. The blocking and the asyncio form drive the same generators.
"""

from __future__ import annotations

import json
import socket
from dataclasses import dataclass, field
from typing import Any, Generator, Mapping, Optional, Tuple, TypeVar, Union
from urllib.parse import quote

from ._durations import Duration, text as duration_text
from .errors import CheckpointFailed, NotUnderstood, Refused, SignalTimeout, Unreachable

T = TypeVar("T")

#: A long poll is answered within 20 s. This is for an answer that will never come.
ANSWER_SECONDS = 60.0

#: A request that failed is made again until so many seconds were spent on failures in a row. What is added up are the pauses,
#: not what a clock says: clocks jump over a freeze, and the first failure after one must not be the last.
PATIENCE_SECONDS = 60.0

#: What one timed out request counts for.
TIMED_OUT_SECONDS = 20.0

#: Two different ones before Python 3.10.
TIMED_OUT = (TimeoutError, socket.timeout)

_PAUSE_FIRST_SECONDS = 0.02
_PAUSE_MAX_SECONDS = 1.0

#: A key that the daemon does not know is asked with again so often.
_UNKNOWN_MAX = 20

#: What the relay and a daemon that is being restarted answer for a while.
_PASSING = frozenset({429, 502, 503, 504})


@dataclass(frozen=True)
class Call:
    """Make this request. Answer: :class:`Reply` or :class:`Lost`."""

    method: str
    path: str
    body: Optional[bytes] = None
    seconds: float = ANSWER_SECONDS
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Pause:
    """Let so many seconds pass. Answer: ``None``."""

    seconds: float


@dataclass(frozen=True)
class Reply:
    """A whole answer, whatever it says."""

    status: int
    body: bytes


@dataclass(frozen=True)
class Lost:
    """No whole answer: it is open whether the request arrived."""

    error: Exception


Steps = Generator[Union[Call, Pause], Union[Reply, Lost, None], T]


@dataclass(frozen=True)
class Checkpoint:
    """What became of a checkpoint."""

    #: ``taken``: this process asked. ``restored``: this process came out of it. ``not_managed``: this is no job of Dauer.
    status: str
    #: The incarnation that goes on; 0 outside of Dauer.
    generation: int = 0
    #: The checkpoint's id.
    id: Optional[str] = None
    #: The key it was asked for with.
    token: Optional[str] = None

    @property
    def restored(self) -> bool:
        """This process came out of the image: connections to the outside are gone."""
        return self.status == "restored"


@dataclass(frozen=True)
class Ready:
    """Where a program goes on that said that it was ready."""

    #: ``taken``: later jobs of the definition begin here. ``restored``: this is one of those. ``cold``: nothing was kept.
    #: ``not_managed``: this is no job of Dauer.
    status: str
    #: The incarnation that goes on; 0 outside of Dauer.
    generation: int = 0
    #: Why it is ``cold``.
    message: Optional[str] = None

    @property
    def restored(self) -> bool:
        """It began here, with the memory of another job: connections to the outside are gone."""
        return self.status == "restored"


@dataclass(frozen=True)
class Metadata:
    """Who this job is."""

    job_id: Optional[str] = None
    definition_name: Optional[str] = None
    definition_version: Optional[str] = None
    retry_count: int = 0
    last_checkpoint_at_ms: Optional[int] = None
    metadata: Mapping[str, Any] = field(default_factory=dict)
    tags: Mapping[str, str] = field(default_factory=dict)


def checkpoint(token: str, suspend: Optional[Duration]) -> Steps[Checkpoint]:
    body: dict[str, Any] = {"token": token}
    if suspend is not None:
        body["suspend"] = duration_text(suspend)
    ask = _post("/v1/self/checkpoint", body)
    poll = Call("GET", f"/v1/self/checkpoint/{quote(token, safe='')}")
    unknown = 0
    status: Mapping[str, Any] = {}
    call = ask
    while True:
        reply = yield from _answered(call)
        if call is poll and reply.status == 404 and unknown < _UNKNOWN_MAX:
            # The request was answered, but never written down.
            unknown += 1
            yield Pause(_PAUSE_FIRST_SECONDS * unknown)
            call = ask
            continue
        status = _object(reply)
        if status.get("status") != "pending":
            break
        call = poll
    name = status.get("status")
    if name == "failed":
        raise CheckpointFailed(f"no checkpoint was taken: {status.get('message') or 'no reason was given'}")
    if name not in ("taken", "restored"):
        raise NotUnderstood(f"the runtime API answered the checkpoint status {name!r}")
    return Checkpoint(name, int(status.get("generation") or 0), status.get("checkpoint"), token)


def ready() -> Steps[Tuple[Ready, Mapping[str, str]]]:
    """What it is now, and what this job adds to the environment."""
    status: Mapping[str, Any] = {"status": "pending"}
    while status.get("status") == "pending":
        status = _object((yield from _answered(_post("/v1/self/ready", {}))))
    name = status.get("status")
    if name not in ("taken", "restored", "cold"):
        raise NotUnderstood(f"the runtime API answered the status {name!r} to a program that is ready")
    view = yield from self_view()
    env = {**(view.get("env") or {}), "DAUER_JOB_ID": str(view.get("id"))}
    return Ready(name, int(status.get("generation") or 0), status.get("message")), env


def wait_signal(name: str, token: str, timeout: Optional[Duration], suspend: bool) -> Steps[Any]:
    body: dict[str, Any] = {"name": name, "token": token, "suspend": suspend}
    if timeout is not None:
        body["timeout"] = duration_text(timeout)
    while True:
        try:
            answer = _object((yield from _answered(_post("/v1/self/signals/wait", body))))
        except Refused as refusal:
            if body["suspend"] and refusal.code in (*CANNOT_FREEZE, "failed"):
                # Waiting is what was asked for; to sleep meanwhile only saves memory.
                body["suspend"] = False
                continue
            raise
        status = answer.get("status")
        if status == "signalled":
            return answer.get("payload")
        if status == "timeout":
            raise SignalTimeout(f"the signal {name!r} did not come in time")
        if status != "pending":
            raise NotUnderstood(f"the runtime API answered the signal status {status!r}")


def acquire(token: str, ttl: Optional[Duration]) -> Steps[str]:
    body: dict[str, Any] = {"token": token}
    if ttl is not None:
        body["ttl"] = duration_text(ttl)
    answer = _object((yield from _answered(_post("/v1/self/locks", body))))
    lock = answer.get("lock_id")
    if not isinstance(lock, str):
        raise NotUnderstood("the runtime API gave a lock without an id")
    return lock


def release(lock: str) -> Steps[None]:
    reply = yield from _answered(Call("DELETE", f"/v1/self/locks/{quote(lock, safe='')}"))
    # Gone already: released by a try whose answer was lost, or by its time to live.
    if reply.status != 404:
        _accepted(reply)


def params() -> Steps[Any]:
    return _value((yield from _answered(Call("GET", "/v1/self/params"))))


def metadata() -> Steps[Metadata]:
    answer = _object((yield from _answered(Call("GET", "/v1/self/metadata"))))
    known = {name: answer[name] for name in Metadata.__dataclass_fields__ if answer.get(name) is not None}
    return Metadata(**known)


def self_view() -> Steps[Mapping[str, Any]]:
    return _object((yield from _answered(Call("GET", "/v1/self"))))


def progress(done: float, total: Optional[float], message: Optional[str]) -> Steps[None]:
    body = {"done": done, "total": total, "message": message}
    _accepted((yield from _answered(_post("/v1/self/progress", body))))


def exit_with(exit_code: int, output: Any) -> Steps[None]:
    _accepted((yield from _answered(_post("/v1/self/exit", {"exit_code": exit_code, "output": output}))))


#: The codes by which a sandbox that cannot be frozen refuses.
CANNOT_FREEZE = frozenset({"unsupported", "cannot_freeze"})


def _post(path: str, body: Mapping[str, Any]) -> Call:
    return Call("POST", path, json.dumps(body, allow_nan=False).encode())


def _answered(call: Call) -> Steps[Reply]:
    """Repeats the request until it has a whole answer."""
    spent = 0.0
    pause = _PAUSE_FIRST_SECONDS
    while True:
        outcome = yield call
        if isinstance(outcome, Reply) and outcome.status not in _PASSING and _is_whole(outcome):
            return outcome
        if isinstance(outcome, Lost) and isinstance(outcome.error, TIMED_OUT):
            spent += TIMED_OUT_SECONDS
        if spent >= PATIENCE_SECONDS:
            if isinstance(outcome, Reply):
                raise Refused.of(outcome.status, outcome.body)
            why = outcome.error if isinstance(outcome, Lost) else None
            raise Unreachable(f"no answer from the runtime API: {why}") from why
        yield Pause(pause)
        spent += pause
        pause = min(pause * 2, _PAUSE_MAX_SECONDS)


def _is_whole(reply: Reply) -> bool:
    """Every answer with a body is JSON. One that is not was cut before the header that says how long it is."""
    if reply.status == 204:
        return True
    try:
        json.loads(reply.body)
    except ValueError:
        return False
    return True


def _accepted(reply: Reply) -> Reply:
    if 200 <= reply.status < 300:
        return reply
    raise Refused.of(reply.status, reply.body)


def _value(reply: Reply) -> Any:
    return json.loads(_accepted(reply).body)


def _object(reply: Reply) -> Mapping[str, Any]:
    value = _value(reply)
    if not isinstance(value, dict):
        raise NotUnderstood(f"the runtime API answered {value!r} where an object was expected")
    return value
