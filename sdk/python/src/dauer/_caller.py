"""Requests to a daemon's caller API: where it listens, one connection a request, what may be made again."""

from __future__ import annotations

import http.client
import json
import os
import socket
import ssl
import time
from dataclasses import dataclass
from typing import Any, Mapping, Optional, Tuple, Union
from urllib.parse import urlencode, urlsplit

from ._blocking import check_head
from ._steps import TIMED_OUT
from .errors import NotUnderstood, Refused, Unreachable

#: A path in the kernel's socket address has at most this many bytes.
_SOCKET_PATH_BYTES_MAX = 107

_PAUSE_FIRST_SECONDS = 0.02
_PAUSE_MAX_SECONDS = 0.5

#: A daemon that never answered this client is waited for so long.
_STRANGER_SECONDS = 2.0

Query = Mapping[str, Union[str, int, None]]


@dataclass(frozen=True)
class Host:
    """The address of a daemon."""

    scheme: str
    #: The path of a unix socket, or a host name.
    where: str
    port: int = 0

    @classmethod
    def parse(cls, text: str) -> Host:
        """Reads ``unix:///path/dauer.sock``, an absolute path, ``http://host:port`` or ``https://host:port``."""
        if text.startswith("/"):
            return cls("unix", text)
        parts = urlsplit(text)
        if parts.scheme == "unix" and parts.path.startswith("/") and not parts.netloc:
            return cls("unix", parts.path)
        if parts.scheme in ("http", "https") and parts.hostname and parts.path in ("", "/"):
            return cls(parts.scheme, parts.hostname, parts.port or (443 if parts.scheme == "https" else 80))
        raise ValueError(f"not a host: {text!r}; use unix:///path/dauer.sock, an absolute path or https://host:port")

    @classmethod
    def default(cls) -> Host:
        """Where the command line looks, but for its settings file: DAUER_HOST, DAUER_RUN_DIR, DAUER_DATA_DIR, this user's."""
        host, run, data = (os.environ.get(name) for name in ("DAUER_HOST", "DAUER_RUN_DIR", "DAUER_DATA_DIR"))
        if host:
            return cls.parse(host)
        if not run and data:
            run = os.path.join(data, "run")
        if not run and os.geteuid() == 0:
            run = "/run/dauer"
        if not run:
            base = os.environ.get("XDG_RUNTIME_DIR")
            run = os.path.join(base, "dauer") if base else f"/tmp/dauer-{os.geteuid()}"
        return cls("unix", os.path.join(os.path.abspath(run), "dauer.sock"))

    def __str__(self) -> str:
        return f"unix://{self.where}" if self.scheme == "unix" else f"{self.scheme}://{self.where}:{self.port}"


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: str, timeout: Optional[float]):
        super().__init__("dauer", timeout=timeout)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        if len(os.fsencode(self._path)) <= _SOCKET_PATH_BYTES_MAX:
            self.sock.connect(self._path)
            return
        # Through an open descriptor of its folder, whose name is short.
        folder = os.open(os.path.dirname(self._path), os.O_PATH | os.O_DIRECTORY)
        try:
            self.sock.connect(f"/proc/self/fd/{folder}/{os.path.basename(self._path)}")
        finally:
            os.close(folder)


class Caller:
    """Asks one daemon. Connections are not shared, so any thread may use it."""

    def __init__(
        self,
        host: Host,
        token: Optional[str],
        patience: float,
        context: Optional[ssl.SSLContext],
    ):
        self.host = host
        self.token = token
        self.patience = patience
        self.context = context
        self._answered = False

    def call(
        self,
        method: str,
        path: str,
        body: Any = None,
        query: Optional[Query] = None,
        repeatable: bool = False,
        timeout: Optional[float] = None,
    ) -> Any:
        """The JSON of the answer; ``None`` where it has none."""
        raw = None if body is None else json.dumps(body, allow_nan=False).encode()
        answer = self.fetch(method, path, raw, query, repeatable or method == "GET", timeout)
        if not answer:
            return None
        try:
            return json.loads(answer)
        except ValueError:
            raise NotUnderstood(f"{self.host} answered no JSON: {answer[:100]!r}") from None

    def fetch(
        self,
        method: str,
        path: str,
        body: Optional[bytes] = None,
        query: Optional[Query] = None,
        repeatable: bool = False,
        timeout: Optional[float] = None,
    ) -> bytes:
        """The whole body of the answer. A request that cannot have arrived, or may be made twice, is made again."""
        pauses = Pauses(self.patience)
        while True:
            reached = False
            try:
                connection, response = self.open(method, path, body, query, timeout=timeout)
                reached = True
                with connection:
                    answer = response.read()
                if response.status < 300:
                    return answer
                refusal = Refused.of(response.status, answer)
                passes = response.status == 429 or (repeatable and response.status in (502, 503, 504))
                if not passes or not pauses.again():
                    raise refusal
            except Unreachable:
                # A daemon that never was there will hardly come; one that just died is started again by whoever comes first.
                if not pauses.again(None if self._answered else _STRANGER_SECONDS):
                    raise
            except (OSError, http.client.HTTPException) as error:
                # A time that the caller set is the caller's to set anew.
                if isinstance(error, TIMED_OUT) or not repeatable or not pauses.again():
                    when = "before its answer was whole" if reached else "before the answer"
                    raise Unreachable(f"the connection to {self.host} was cut {when} ({error})") from error

    def open(
        self,
        method: str,
        path: str,
        body: Optional[bytes] = None,
        query: Optional[Query] = None,
        headers: Optional[Mapping[str, str]] = None,
        timeout: Optional[float] = None,
    ) -> Tuple[Connection, http.client.HTTPResponse]:
        """Sends a request and returns the answer's head. Raises :class:`Unreachable` where nobody listens."""
        given = {name: value for name, value in (query or {}).items() if value is not None}
        target = path + ("?" + urlencode(given) if given else "")
        connection = Connection(self._connection(timeout))
        try:
            try:
                connection.http.connect()
            except OSError as error:
                hint = "; start it with: dauer serve" if self.host.scheme == "unix" else ""
                raise Unreachable(f"no daemon answers at {self.host}: {error}{hint}") from error
            all_headers = {"content-type": "application/json", "connection": "close", **(headers or {})}
            if self.token is not None:
                all_headers["authorization"] = f"Bearer {self.token}"
            connection.http.request(method, target, body, all_headers)
            connection.response = response = connection.http.getresponse()
            check_head(response)
            self._answered = True
            return connection, response
        except BaseException:
            connection.close()
            raise

    def _connection(self, timeout: Optional[float]) -> http.client.HTTPConnection:
        if self.host.scheme == "unix":
            return _UnixConnection(self.host.where, timeout)
        if self.host.scheme == "http":
            return http.client.HTTPConnection(self.host.where, self.host.port, timeout=timeout)
        return http.client.HTTPSConnection(self.host.where, self.host.port, timeout=timeout, context=self.context)


class Connection:
    """Open as long as its answer is read."""

    def __init__(self, connection: http.client.HTTPConnection):
        self.http = connection
        self.response: Optional[http.client.HTTPResponse] = None

    def close(self) -> None:
        # An answer that ends with its connection has taken the socket over.
        if self.response is not None:
            self.response.close()
        self.http.close()

    def __enter__(self) -> Connection:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class Pauses:
    """Pauses between tries, until so many seconds were paused in a row."""

    def __init__(self, patience: float):
        self._patience = patience
        self.reset()

    def reset(self) -> None:
        """There was an answer."""
        self._spent = 0.0
        self._pause = _PAUSE_FIRST_SECONDS

    def again(self, patience: Optional[float] = None) -> bool:
        """Pauses; false where patience, or this smaller one, is at its end."""
        if self._spent >= min(self._patience, self._patience if patience is None else patience):
            return False
        time.sleep(self._pause)
        self._spent += self._pause
        self._pause = min(self._pause * 2, _PAUSE_MAX_SECONDS)
        return True
