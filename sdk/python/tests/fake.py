"""Servers in this process that can cut any connection at any byte, and remember what was really done."""

from __future__ import annotations

import json
import socket
import struct
import threading
from contextlib import suppress
from typing import Any, Callable, Dict, List, Optional, Tuple
from urllib.parse import unquote

Answer = Tuple[int, Any]

_REASONS = {200: "OK", 201: "Created", 202: "Accepted", 204: "No Content"}


class CuttingServer:
    """Answers requests, and cuts connections where it is told."""

    def __init__(self, listener: socket.socket) -> None:
        #: For each connection, in order: after so many bytes of the (request, answer) it is cut. None: not.
        self.cuts: List[Tuple[Optional[int], Optional[int]]] = []
        #: Every whole request: method, path, body.
        self.requests: List[Tuple[str, str, Any]] = []
        self.before_answer: Callable[[str], None] = lambda path: None
        #: Of each answer, in order.
        self.answer_bytes: List[int] = []
        self._guard = threading.Lock()
        self.listener = listener
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def answer(self, method: str, path: str, headers: Dict[str, str], body: Any) -> Tuple[int, str, bytes]:
        """Status, media type and body."""
        raise NotImplementedError

    def close(self) -> None:
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        self._thread.join()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self._answer, args=(connection,), daemon=True).start()

    def _answer(self, connection: socket.socket) -> None:
        with connection:
            with self._guard:
                cut_request, cut_answer = self.cuts.pop(0) if self.cuts else (None, None)
            request = _read(connection, cut_request)
            if request is None:
                return _reset(connection)
            method, path, headers, body = request
            self.before_answer(path)
            with self._guard:
                self.requests.append((method, path, body))
                status, media_type, payload = self.answer(method, path, headers, body)
            reason = _REASONS.get(status, "Error")
            head = f"HTTP/1.1 {status} {reason}\r\ncontent-type: {media_type}\r\ncontent-length: {len(payload)}\r\n"
            whole = head.encode() + b"connection: close\r\n\r\n" + payload
            self.answer_bytes.append(len(whole))
            # A client that has given up is told nothing.
            with suppress(BrokenPipeError, ConnectionResetError):
                connection.sendall(whole if cut_answer is None else whole[:cut_answer])


class Fake(CuttingServer):
    """The runtime API of one job. A token is answered as the real thing does: what it names is done once."""

    def __init__(self) -> None:
        self.checkpoints: Dict[str, int] = {}
        self.polls_until_taken = 1
        self.checkpoint_status = "taken"
        self.refusals: Dict[str, Answer] = {}
        self.locks: Dict[str, str] = {}
        self.locks_taken = 0
        self.signals: Dict[str, List[Any]] = {}
        self.bound: Dict[str, Any] = {}
        self.polls_until_timeout = 1
        self.params: Any = None
        self.progress: List[Any] = []
        self.exits: List[Any] = []
        self.generation = 1
        self.retries = 0
        self.env: Dict[str, str] = {}
        self.ready_status = "taken"
        self.polls_until_ready = 0
        super().__init__(socket.create_server(("127.0.0.1", 0)))

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.listener.getsockname()[1]}"

    def answer(self, method: str, path: str, headers: Dict[str, str], body: Any) -> Tuple[int, str, bytes]:
        status, answer = self._route(method, path, body)
        return status, "application/json", b"" if status == 204 else json.dumps(answer).encode()

    def _route(self, method: str, path: str, body: Any) -> Answer:
        parts = [unquote(part) for part in path.split("/")[1:]]
        if path in self.refusals:
            return self.refusals[path]
        if parts[:3] == ["v1", "self", "checkpoint"]:
            return self._checkpoint(method, parts, body)
        if (method, path) == ("GET", "/v1/self"):
            view = {"id": "j", "generation": self.generation, "retries": self.retries}
            return 200, {**view, "env": self.env}
        if (method, path) == ("POST", "/v1/self/ready"):
            left, self.polls_until_ready = self.polls_until_ready, max(0, self.polls_until_ready - 1)
            status = "pending" if left else self.ready_status
            return 200, {"status": status, "message": "why" if status == "cold" else None, "generation": self.generation}
        if (method, path) == ("GET", "/v1/self/params"):
            return 200, self.params
        if (method, path) == ("GET", "/v1/self/metadata"):
            return 200, {"job_id": "j", "retry_count": 2, "tags": {"k": "v"}, "new_field": 1}
        if (method, path) == ("POST", "/v1/self/locks"):
            if body["token"] not in self.locks:
                self.locks_taken += 1
                self.locks[body["token"]] = f"lock/{self.locks_taken}"
            return 201, {"lock_id": self.locks[body["token"]]}
        if method == "DELETE" and parts[:3] == ["v1", "self", "locks"]:
            held = {lock: token for token, lock in self.locks.items()}
            if parts[3] not in held:
                return 404, {"code": "not_found", "detail": "there is no such lock"}
            del self.locks[held[parts[3]]]
            return 204, None
        if (method, path) == ("POST", "/v1/self/signals/wait"):
            return self._wait(body)
        if (method, path) == ("POST", "/v1/self/progress"):
            self.progress.append(body)
            return 204, None
        if (method, path) == ("POST", "/v1/self/exit"):
            self.exits.append(body)
            return 204, None
        return 404, {"code": "not_found", "detail": f"there is nothing at {path}"}

    def _checkpoint(self, method: str, parts: List[str], body: Any) -> Answer:
        token = body["token"] if method == "POST" else parts[3]
        if method == "POST":
            left = self.checkpoints.setdefault(token, self.polls_until_taken)
        elif token not in self.checkpoints:
            return 404, {"code": "not_found", "detail": "no such token"}
        else:
            self.checkpoints[token] = left = max(0, self.checkpoints[token] - 1)
        status = "pending" if left else self.checkpoint_status
        view = {"token": token, "status": status, "checkpoint": "c1", "message": "no space", "generation": self.generation}
        return (202 if method == "POST" else 200), view

    def _wait(self, body: Any) -> Answer:
        token, name = body["token"], body["name"]
        if token not in self.bound and self.signals.get(name):
            self.bound[token] = self.signals[name].pop(0)
        if token in self.bound:
            return 200, {"status": "signalled", "name": name, "payload": self.bound[token], "signal_id": "s"}
        if "timeout" in body and self.polls_until_timeout == 0:
            return 200, {"status": "timeout"}
        self.polls_until_timeout -= 1
        return 200, {"status": "pending"}


def _read(connection: socket.socket, cut: Optional[int]) -> Optional[Tuple[str, str, Dict[str, str], Any]]:
    """The request, or None once so many bytes of it were read."""
    data = b""
    while cut is None or len(data) < cut:
        head, found, rest = data.partition(b"\r\n\r\n")
        if found:
            first, *lines = head.decode().split("\r\n")
            headers = {name.lower(): value for name, value in (line.split(": ", 1) for line in lines)}
            if len(rest) >= int(headers.get("content-length", 0)):
                method, path, _ = first.split(" ", 2)
                return method, path, headers, json.loads(rest) if rest else None
        piece = connection.recv(65536 if cut is None else min(65536, cut - len(data)))
        if not piece:
            return None
        data += piece
    return None


def _reset(connection: socket.socket) -> None:
    """Ends it with a reset, as a connection of a frozen process does."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()
