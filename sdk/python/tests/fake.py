"""A runtime API in this process that can cut any connection at any byte, and remembers what was really done."""

from __future__ import annotations

import json
import socket
import struct
import threading
from typing import Any, Callable, Dict, List, Optional, Tuple
from urllib.parse import unquote

Answer = Tuple[int, Any]

_REASONS = {200: "OK", 201: "Created", 202: "Accepted", 204: "No Content"}


class Fake:
    """One job. A token is answered as the real thing does: what it names is done once."""

    def __init__(self) -> None:
        #: For each connection, in order: after so many bytes of the (request, answer) it is cut. None: not.
        self.cuts: List[Tuple[Optional[int], Optional[int]]] = []
        #: Every whole request: method, path, body.
        self.requests: List[Tuple[str, str, Any]] = []
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
        self.attempt = 1
        self.before_answer: Callable[[str], None] = lambda path: None
        self.answer_bytes = 0
        self._guard = threading.Lock()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._listener.getsockname()[1]}"

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
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
            method, path, body = request
            self.before_answer(path)
            with self._guard:
                self.requests.append(request)
                status, answer = self._route(method, path, body)
            payload = b"" if status == 204 else json.dumps(answer).encode()
            reason = _REASONS.get(status, "Error")
            head = f"HTTP/1.1 {status} {reason}\r\ncontent-type: application/json\r\ncontent-length: {len(payload)}\r\n"
            whole = head.encode() + b"connection: close\r\n\r\n" + payload
            self.answer_bytes = len(whole)
            connection.sendall(whole if cut_answer is None else whole[:cut_answer])

    def _route(self, method: str, path: str, body: Any) -> Answer:
        parts = [unquote(part) for part in path.split("/")[1:]]
        if path in self.refusals:
            return self.refusals[path]
        if parts[:3] == ["v1", "self", "checkpoint"]:
            return self._checkpoint(method, parts, body)
        if (method, path) == ("GET", "/v1/self"):
            return 200, {"id": "j", "generation": self.generation, "attempt": self.attempt}
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


def _read(connection: socket.socket, cut: Optional[int]) -> Optional[Tuple[str, str, Any]]:
    """The request, or None once so many bytes of it were read."""
    data = b""
    while cut is None or len(data) < cut:
        head, found, rest = data.partition(b"\r\n\r\n")
        if found:
            lines = head.decode().lower().split("\r\n")
            length = next((int(line[15:]) for line in lines if line.startswith("content-length:")), 0)
            if len(rest) >= length:
                method, path, _ = head.decode().split(" ", 2)
                return method, path, json.loads(rest) if rest else None
        piece = connection.recv(65536 if cut is None else min(65536, cut - len(data)))
        if not piece:
            return None
        data += piece
    return None


def _reset(connection: socket.socket) -> None:
    """Ends it with a reset, as a connection of a frozen process does."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()
