"""A job as its owner sees it: waits, output, freezing, ending."""

from __future__ import annotations

import base64
import http.client
import json
import struct
import threading
import time
import uuid
from dataclasses import dataclass
from typing import IO, Any, Dict, Iterator, List, Mapping, Optional, Sequence, Tuple, Union, cast
from urllib.parse import quote

from . import _frames, _sse
from ._caller import Caller, Pauses
from ._durations import Duration, milliseconds
from ._steps import TIMED_OUT
from .errors import DauerError, JobFailed, NotUnderstood, Refused, Unreachable

#: A followed stream says something at least every 15 seconds; after this long the connection is dead.
SILENCE_SECONDS = 50.0

ENDED = frozenset({"completed", "failed", "cancelled"})

_TIME_AND_STREAM = struct.Struct("<qB")


@dataclass(frozen=True)
class Result:
    """How a job ended."""

    job_id: str
    state: str
    exit_code: Optional[int] = None
    signal: Optional[int] = None
    #: Why it failed, for programs: ``exit_code``, ``signal``, ``timeout``, ``out_of_memory``, ``lost`` …
    reason: Optional[str] = None
    message: Optional[str] = None
    #: What the job gave to ``dauer.exit``.
    output: Any = None

    @classmethod
    def of(cls, view: Mapping[str, Any]) -> Result:
        return cls(**{name: view[name] for name in cls.__dataclass_fields__ if name in view})

    @property
    def ok(self) -> bool:
        """It completed."""
        return self.state == "completed"

    def summary(self) -> str:
        """One line for people."""
        why = self.message or self.reason or f"exit code {self.exit_code}"
        return f"job {self.job_id} {self.state}: {why}"


@dataclass(frozen=True)
class Output:
    """A piece of what a job wrote."""

    #: ``stdout`` or ``stderr``; what goes to a terminal is ``stdout``.
    stream: str
    data: bytes
    #: When it was written, in milliseconds since the epoch.
    at: int
    #: The place after it: ``since`` of another look.
    id: str

    @property
    def text(self) -> str:
        return self.data.decode(errors="replace")


@dataclass(frozen=True)
class Event:
    """An entry of a job's journal, or a place in its output where some may repeat."""

    #: ``started``, ``exited``, ``marker`` …
    name: str
    #: All that is known.
    data: Mapping[str, Any]
    #: The place after it.
    id: str


@dataclass(frozen=True)
class Ended:
    """The last thing of a stream."""

    #: ``done``, ``error`` or ``cancelled``.
    outcome: str
    #: Why, where it is an error.
    reason: Optional[str]
    #: The place of this end.
    id: str


@dataclass(frozen=True)
class Executed:
    """What came of a program that was run beside a job."""

    code: int
    stdout: bytes
    stderr: bytes


class Job:
    """A job. ``view`` is what was last heard of it; :meth:`refresh` asks again."""

    def __init__(self, caller: Caller, view: Mapping[str, Any]):
        self._caller = caller
        self.view = view

    @property
    def id(self) -> str:
        return cast(str, self.view["id"])

    @property
    def name(self) -> Optional[str]:
        return cast(Optional[str], self.view.get("name"))

    @property
    def state(self) -> str:
        """As of :attr:`view`."""
        return cast(str, self.view["state"])

    def __repr__(self) -> str:
        return f"<dauer.Job {self.name or self.id} {self.state}>"

    def refresh(self) -> Job:
        """Asks for its present state."""
        self.view = self._ask("GET", "")
        return self

    def wait(self, timeout: Optional[Duration] = None) -> Result:
        """Returns when it has ended, however that was. Raises ``TimeoutError``; then ask again, nothing is lost.

        A daemon that is restarted meanwhile is waited for.
        """
        until = None if timeout is None else time.monotonic() + milliseconds(timeout) / 1000
        while True:
            left = None if until is None else max(until - time.monotonic(), 0.001)
            try:
                answer = self._ask("GET", "/result", query={"wait": "true"}, timeout=left)
            except Unreachable as error:
                if not isinstance(error.__cause__, TIMED_OUT):
                    raise
                raise TimeoutError(f"job {self.id} has not ended yet") from None
            if answer["state"] in ENDED:
                return Result.of(answer)

    def result(self, timeout: Optional[Duration] = None) -> Any:
        """Waits and returns what the job gave to ``dauer.exit``. Raises :class:`JobFailed` where it did not complete."""
        result = self.wait(timeout)
        if not result.ok:
            raise JobFailed(result)
        return result.output

    def logs(self, follow: bool = False, since: Union[int, str] = 0) -> Iterator[Output]:
        """What it wrote, from this place in its log; with ``follow`` until it has ended.

        Connections that break are made again: nothing is lost, nothing comes twice.
        """
        pauses = Pauses(self._caller.patience)
        while True:
            query = {"follow": "true" if follow else "false", "since": since}
            try:
                for kind, offset, payload in self._frames(query):
                    pauses.reset()
                    if kind == _frames.END:
                        return
                    if kind == _frames.KEEPALIVE:
                        continue
                    since = offset
                    if kind == _frames.OUTPUT:
                        at, number = _TIME_AND_STREAM.unpack_from(payload)
                        stream = "stderr" if number == _frames.STDERR else "stdout"
                        yield Output(stream, payload[_TIME_AND_STREAM.size :], at, str(offset))
                if not follow:
                    return
            except (OSError, http.client.HTTPException) as error:
                if not pauses.again():
                    raise _lost(error, self._caller) from error
                continue
            if not pauses.again():
                raise Unreachable(f"the log of job {self.id} at {self._caller.host} breaks off each time")

    def output(self) -> str:
        """Its standard output so far, as text."""
        return b"".join(piece.data for piece in self.logs() if piece.stream != "stderr").decode(errors="replace")

    def checkpoint(self) -> Mapping[str, Any]:
        """Takes a checkpoint; returns when it is on disk. The job goes on."""
        return self._ask("POST", "/checkpoint", {})

    def suspend(self, duration: Optional[Duration] = None) -> Mapping[str, Any]:
        """Takes a checkpoint and lets the job sleep: for so long, or until it is resumed."""
        return self._ask("POST", "/suspend", {} if duration is None else {"for_ms": milliseconds(duration)})

    def resume(self) -> Job:
        """Wakes it; returns when it runs."""
        return self._act("/resume", {})

    def stop(self, grace: Optional[Duration] = None) -> Job:
        """TERM, a grace, KILL; returns when it has ended."""
        return self._act("/stop", {} if grace is None else {"grace_ms": milliseconds(grace)})

    def cancel(self, grace: Optional[Duration] = None, children: bool = False) -> Job:
        """The same, for a job that may not have begun; with ``children``, returns when all jobs below it have ended, too."""
        below = {"children": True} if children else {}
        return self._act("/cancel", below if grace is None else {"grace_ms": milliseconds(grace), **below})

    def kill(self, signal: int = 9) -> Job:
        """Delivers a signal of the operating system; KILL ends the job."""
        return self._act("/kill", {"signal": signal})

    def retry(self) -> Job:
        """Begins a job that has failed once more."""
        return self._act("/retry", {})

    def signal(self, name: str, payload: Any = None) -> str:
        """Sends it a signal for ``dauer.wait_signal(name)``, which wakes it. Returns the signal's id."""
        # The daemon sends a signal with a token it knows no second time.
        body = {"name": name, "payload": payload, "token": str(uuid.uuid4())}
        return cast(str, self._ask("POST", "/signal", body, repeatable=True)["signal_id"])

    def delete(self, force: bool = False) -> None:
        """Removes the record and all data of an ended job; a living one only with ``force``."""
        self._caller.call("DELETE", self._path(""), query={"remove": "true", "force": "true" if force else "false"})

    def events(self, after: int = 0) -> List[Mapping[str, Any]]:
        """Its journal so far."""
        raw = self._caller.fetch("GET", self._path("/events"), query={"after": after}, repeatable=True)
        return [json.loads(line) for line in raw.splitlines() if line]

    def checkpoints(self) -> List[Mapping[str, Any]]:
        """The checkpoints there are, oldest first."""
        return cast(List[Mapping[str, Any]], self._caller.call("GET", self._path("/checkpoints")))

    def read_tar(self, path: str) -> bytes:
        """A file or folder of the job as a tar."""
        return self._caller.fetch("GET", self._path("/files"), query={"path": path}, repeatable=True)

    def write_tar(self, path: str, tar: bytes) -> None:
        """Unpacks a tar into a folder of the job."""
        self._caller.fetch("PUT", self._path("/files"), tar, {"path": path}, repeatable=True)

    def exec(
        self,
        argv: Sequence[str],
        input: bytes = b"",
        env: Optional[Mapping[str, str]] = None,
        workdir: Optional[str] = None,
        user: Optional[str] = None,
    ) -> Executed:
        """Runs another program beside the job, to its end."""
        call: Dict[str, Any] = {"argv": list(argv), "env": dict(env or {}), "stdin": bool(input)}
        call.update({name: value for name, value in (("workdir", workdir), ("user", user)) if value is not None})
        headers = {"connection": "upgrade", "upgrade": "dauer-exec"}
        connection, response = self._caller.open(
            "POST", self._path("/exec"), json.dumps(call).encode(), headers=headers
        )
        with connection:
            if response.status != 101:
                raise Refused.of(response.status, response.read())
            if input:
                threading.Thread(target=_feed, args=(connection.http, input), daemon=True).start()
            # What follows the head may have been read with it, into this buffer.
            return _executed(cast(IO[bytes], response.fp))

    def stream(self, since: Optional[str] = None) -> Iterator[Union[Output, Event, Ended]]:
        """Output and events as they come, from its beginning or after the item with this id; the last one is an :class:`Ended`.

        Connections that break are made again where they broke: nothing is lost, nothing comes twice.
        """
        for event in follow(self._caller, self._path("/stream"), since):
            item = item_of(event)
            yield item
            if isinstance(item, Ended):
                return

    def _frames(self, query: Mapping[str, Union[str, int, None]]) -> Iterator[Tuple[int, int, bytes]]:
        connection, response = self._caller.open(
            "GET", self._path("/logs"), query=query, timeout=SILENCE_SECONDS
        )
        with connection:
            if response.status != 200:
                raise Refused.of(response.status, response.read())
            yield from _frames.read_frames(response)

    def _path(self, rest: str) -> str:
        return f"/v1/jobs/{quote(self.id, safe='')}{rest}"

    def _ask(
        self,
        method: str,
        rest: str,
        body: Any = None,
        query: Optional[Mapping[str, Union[str, int, None]]] = None,
        timeout: Optional[float] = None,
        repeatable: bool = False,
    ) -> Mapping[str, Any]:
        answer = self._caller.call(method, self._path(rest), body, query, repeatable, timeout)
        if not isinstance(answer, dict):
            raise NotUnderstood(f"{self._caller.host} answered {answer!r} where an object was expected")
        return answer

    def _act(self, rest: str, body: Any) -> Job:
        self.view = self._ask("POST", rest, body)
        return self


def _lost(error: Exception, caller: Caller) -> DauerError:
    return error if isinstance(error, DauerError) else Unreachable(f"the connection to {caller.host} was cut ({error})")


def _feed(connection: http.client.HTTPConnection, input: bytes) -> None:
    try:
        for at in range(0, len(input), 64 << 10):
            connection.sock.sendall(_frames.frame(_frames.EXEC_INPUT, input[at : at + (64 << 10)]))
        connection.sock.sendall(_frames.frame(_frames.EXEC_INPUT, b""))
    except OSError:
        # The program ended without reading all of it; how it ended is read on the other side.
        pass


def _executed(source: IO[bytes]) -> Executed:
    streams: Dict[int, List[bytes]] = {}
    for kind, number, payload in _frames.read_frames(source):
        if kind == _frames.EXEC_OUTPUT:
            streams.setdefault(number, []).append(payload)
        elif kind in (_frames.EXEC_EXITED, _frames.EXEC_FAILED):
            end = json.loads(payload)
            code = end.get("code")
            if code is None:
                code = 128 + int(end.get("signal") or 0)
            said = end.get("message", "").encode() if kind == _frames.EXEC_FAILED else b""
            return Executed(int(code), b"".join(streams.get(1, [])), b"".join(streams.get(2, [])) + said)
    raise Unreachable("the connection was cut before the program ended")


def follow(caller: Caller, path: str, since: Optional[str]) -> Iterator[_sse.ServerEvent]:
    """The events of a stream after this one. Connections that break are made again where they broke."""
    pauses = Pauses(caller.patience)
    while True:
        headers = {"accept": "text/event-stream", **({} if since is None else {"last-event-id": since})}
        error: Exception = EOFError("it ended early")
        try:
            connection, response = caller.open("GET", path, headers=headers, timeout=SILENCE_SECONDS)
            with connection:
                if response.status == 204:
                    # The end was sent already, so there is nothing after it.
                    return
                if response.status != 200:
                    raise Refused.of(response.status, response.read())
                for event in _sse.events(response):
                    pauses.reset()
                    since = event.id
                    yield event
        except (OSError, http.client.HTTPException) as broken:
            error = broken
        if not pauses.again():
            raise _lost(error, caller) from error


def item_of(event: _sse.ServerEvent) -> Union[Output, Event, Ended]:
    """What one event of a job's stream says."""
    if event.name == "end":
        outcome, _, reason = event.data.partition("]")
        return Ended(outcome.lstrip("[").lower(), reason.strip() or None, event.id)
    data = json.loads(event.data)
    if event.name in ("stdout", "stderr"):
        text = data.get("text")
        written = base64.b64decode(data["base64"]) if text is None else text.encode()
        return Output(event.name, written, data["at"], event.id)
    return Event(data["event"] if event.name == "event" else event.name, data, event.id)
