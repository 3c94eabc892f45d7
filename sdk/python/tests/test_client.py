"""The caller client against a daemon that cuts connections wherever it can."""

from __future__ import annotations

import json
import os
import socket
import struct
import tempfile
import time
import unittest
from datetime import datetime, timezone
from typing import Any, Dict, List, Tuple
from unittest import mock
from urllib.parse import parse_qs, urlsplit

import dauer
from dauer import Dauer, Ended, Event, Output, _caller
from dauer._caller import Host
from dauer.client import size_bytes

from .fake import CuttingServer

VIEW = {"id": "j1", "name": None, "state": "running"}

# Multi-byte characters, bytes that are no text, line ends of all kinds.
OUTPUT = [("stdout", "öne\n".encode()), ("stderr", b"\xff\xfe\n"), ("stdout", b"two\r\n\n"), ("stdout", b"end")]


def frame(kind: int, offset: int, payload: bytes) -> bytes:
    return struct.pack("<IB3xQ", len(payload), kind, offset) + payload


class Daemon(CuttingServer):
    """Keeps jobs by their idempotency key, and one log."""

    def __init__(self, path: str) -> None:
        self.jobs: Dict[str, Any] = {}
        self.signals: Dict[str, Any] = {}
        self.results: List[str] = []
        self.headers: List[Dict[str, str]] = []
        self.refusals: List[Tuple[int, Any]] = []
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(path)
        listener.listen(64)
        super().__init__(listener)

    def answer(self, method: str, path: str, headers: Dict[str, str], body: Any) -> Tuple[int, str, bytes]:
        self.headers.append(headers)
        url = urlsplit(path)
        query = {name: values[0] for name, values in parse_qs(url.query).items()}
        if self.refusals:
            status, problem = self.refusals.pop(0)
            return status, "application/problem+json", json.dumps(problem).encode()
        if url.path.endswith("/logs"):
            return 200, "application/x-dauer-frames", self._log(int(query["since"]), query["follow"] == "true")
        if url.path == "/v1/events":
            numbers = range(int(headers["last-event-id"]) + 1, 4)
            lines = [f'id: {n}\nevent: event\ndata: {{"event": "started", "seq": {n}}}\n\n' for n in numbers]
            return 200, "text/event-stream", "".join(lines).encode()
        if url.path.endswith("/stream"):
            return self._stream(headers.get("last-event-id", "0"))
        status, answer = self._route(method, url.path, query, body)
        return status, "application/json", b"" if status == 204 else json.dumps(answer).encode()

    def _route(self, method: str, path: str, query: Dict[str, str], body: Any) -> Tuple[int, Any]:
        if (method, path) == ("POST", "/v1/jobs"):
            view = self.jobs.setdefault(body["idempotency_key"], {**VIEW, "id": f"j{len(self.jobs) + 1}"})
            return 201, {"job_id": view["id"], **view}
        if (method, path) == ("GET", "/v1/jobs"):
            at, limit = int(query.get("cursor", 0)), int(query["limit"])
            page = [{**VIEW, "id": f"j{number}"} for number in range(at, min(at + limit, 5))]
            return 200, {"jobs": page, "next_cursor": str(at + limit) if at + limit < 5 else None}
        if (method, path) == ("GET", "/v1/jobs/j1"):
            return 200, VIEW
        if path == "/v1/jobs/j1/result":
            state = self.results.pop() if self.results else "completed"
            return 200, {"job_id": "j1", "state": state, "exit_code": 0, "output": {"n": 1}, "newer": 1}
        if path == "/v1/jobs/j2/result":
            return 200, {"job_id": "j2", "state": "failed", "exit_code": 3, "reason": "exit_code", "message": None}
        if path == "/v1/jobs/j1/signal":
            self.signals[body["token"]] = (body["name"], body["payload"])
            return 202, {"signal_id": f"s{len(self.signals)}"}
        if path == "/v1/jobs/j1/stop":
            return 200, VIEW
        return 404, {"code": "not_found", "detail": f"there is nothing at {path}", "type": "t", "instance": "r1"}

    @staticmethod
    def _log(since: int, follow: bool) -> bytes:
        out, offset = b"", 0
        for number, (stream, data) in enumerate(OUTPUT):
            offset += 100
            payload = struct.pack("<qB", 7, 2 if stream == "stderr" else 1) + data
            if offset > since:
                out += frame(4, 0, b"") + frame(1, offset, payload)
            if number == 1 and offset + 1 > since:
                out += frame(2, offset + 1, b"{}")
        return out + (frame(3, offset, b"{}") if follow else b"")

    @staticmethod
    def _stream(last: str) -> Tuple[int, str, bytes]:
        if last == "5:end":
            return 204, "text/event-stream", b""
        events = [("event", {"event": "started", "seq": 1})]
        for stream, data in OUTPUT:
            try:
                events.append((stream, {"at": 7, "text": data.decode()}))
            except UnicodeDecodeError:
                events.append((stream, {"at": 7, "base64": "//4K"}))
        text = "retry: 1000\n\n:\n\n"
        for number, (name, value) in list(enumerate(events, 1))[int(last) :]:
            text += f"id: {number}\nevent: {name}\ndata: {json.dumps(value)}\n\n"
        return 200, "text/event-stream", (text + "id: 5:end\nevent: end\ndata: [ERROR] exit_code: code 3\n\n").encode()


class ClientTest(unittest.TestCase):
    def setUp(self) -> None:
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.path = os.path.join(folder.name, "dauer.sock")
        self.daemon = Daemon(self.path)
        self.addCleanup(self.daemon.close)
        quick = mock.patch.object(_caller, "_PAUSE_FIRST_SECONDS", 0.0)
        quick.start()
        self.addCleanup(quick.stop)
        self.client = Dauer(self.path)
        # A daemon that answered once is waited for.
        self.job = self.client.job("j1")

    def cut_everywhere(self, call: Any, check: Any) -> None:
        self.daemon.answer_bytes.clear()
        check(call())
        for connection, answer_bytes in enumerate(list(self.daemon.answer_bytes)):
            for kind, end in (("request", 400), ("answer", answer_bytes)):
                for at in range(end):
                    cut = (at, None) if kind == "request" else (None, at)
                    self.daemon.cuts = [(None, None)] * connection + [cut]
                    with self.subTest(connection=connection, kind=kind, at=at):
                        check(call())

    def test_a_run_makes_one_job_however_often_it_was_cut(self) -> None:
        def run() -> Any:
            self.daemon.jobs.clear()
            return self.client.run(["true"])

        self.cut_everywhere(run, lambda job: self.assertEqual((job.id, len(self.daemon.jobs)), ("j1", 1)))

    def test_a_log_is_whole_wherever_it_was_cut(self) -> None:
        expected = [(stream, data) for stream, data in OUTPUT]

        def check(pieces: List[Output]) -> None:
            self.assertEqual([(piece.stream, piece.data) for piece in pieces], expected)

        self.cut_everywhere(lambda: list(self.job.logs(follow=True)), check)

    def test_a_stream_is_whole_wherever_it_was_cut(self) -> None:
        expected = [("event", "started"), *OUTPUT, ("error", "exit_code: code 3")]

        def check(items: List[Any]) -> None:
            seen: List[Any] = []
            for item in items:
                if isinstance(item, Output):
                    seen.append((item.stream, item.data))
                elif isinstance(item, Event):
                    seen.append(("event", item.name))
                else:
                    seen.append((item.outcome, item.reason))
            self.assertEqual(seen, expected)

        self.cut_everywhere(lambda: list(self.job.stream()), check)

    def test_the_events_of_all_jobs_are_whole_wherever_they_were_cut(self) -> None:
        def first(after: int, count: int) -> List[Any]:
            return [event.data["seq"] for _, event in zip(range(count), self.client.events(after))]

        self.cut_everywhere(lambda: first(0, 3), lambda seen: self.assertEqual(seen, [1, 2, 3]))
        self.assertEqual(first(1, 2), [2, 3])

    def test_a_stream_goes_on_after_an_item_that_was_seen(self) -> None:
        items = list(self.job.stream())
        self.assertEqual(list(self.job.stream(since=items[2].id)), items[3:])
        self.assertEqual(list(self.job.stream(since=items[-1].id)), [])
        self.assertIsInstance(items[-1], Ended)

    def test_waits_and_results(self) -> None:
        def check(result: Any) -> None:
            self.assertEqual(result, dauer.Result("j1", "completed", 0, output={"n": 1}))

        self.cut_everywhere(self.job.wait, check)
        self.assertEqual(self.job.result(), {"n": 1})
        self.client.run(["a"])
        failed = self.client.run(["b"])
        with self.assertRaisesRegex(dauer.JobFailed, "job j2 failed: exit_code") as raised:
            failed.result()
        self.assertEqual(raised.exception.result.exit_code, 3)

    def test_a_wait_may_have_a_limit(self) -> None:
        self.daemon.results = ["running", "running", "running"]
        self.daemon.before_answer = lambda path: time.sleep(0.05)
        with self.assertRaises(TimeoutError):
            self.job.wait(timeout=0.12)
        self.daemon.results = ["running"]
        self.assertTrue(self.job.wait(timeout=20).ok)

    def test_what_may_not_be_done_twice_is_not(self) -> None:
        for cut in ((20, None), (None, 10), (None, 100)):
            self.daemon.cuts = [cut]
            self.daemon.requests.clear()
            with self.assertRaises(dauer.Unreachable):
                self.job.stop()
            self.assertLessEqual(len(self.daemon.requests), 1)
        self.assertEqual(self.job.stop().state, "running")

    def test_a_signal_is_sent_once(self) -> None:
        def check(signal: Any) -> None:
            self.assertEqual((signal, len(self.daemon.signals)), ("s1", 1))

        def send() -> Any:
            self.daemon.signals.clear()
            return self.job.signal("go", {"n": 1})

        self.cut_everywhere(send, check)
        self.assertEqual(list(self.daemon.signals.values()), [("go", {"n": 1})])

    def test_jobs_come_by_pages(self) -> None:
        for page in (1, 2, 3, 5, 100):
            found = [job.id for job in self.client.jobs(state=["running", "failed"], tag="a:b", page=page)]
            self.assertEqual(found, ["j0", "j1", "j2", "j3", "j4"])
        self.assertIn("state=running%2Cfailed&tag=a%3Ab", self.daemon.requests[-1][1])

    def test_a_refusal_is_told_with_all_it_has(self) -> None:
        with self.assertRaises(dauer.Refused) as raised:
            self.client.job("none/../x")
        error = raised.exception
        self.assertEqual((error.status, error.code, error.type, error.instance), (404, "not_found", "t", "r1"))
        self.assertEqual(self.daemon.requests[-1][1], "/v1/jobs/none%2F..%2Fx")

    def test_a_limit_and_a_restart_are_waited_for(self) -> None:
        self.daemon.refusals = [(429, {"code": "rate_limited"}), (503, {})]
        self.assertEqual(self.client.job("j1").id, "j1")
        # A call that may have been done is not repeated after 503, but one that was only too early is.
        self.daemon.refusals = [(429, {"code": "rate_limited"})]
        self.assertTrue(self.job.stop())
        self.daemon.refusals = [(503, {"code": "busy"})]
        with self.assertRaises(dauer.Refused):
            self.job.stop()

    def test_nobody_there_is_told_soon_with_what_to_do(self) -> None:
        with mock.patch.object(_caller, "_STRANGER_SECONDS", 0.0), self.assertRaisesRegex(dauer.Unreachable, "dauer serve"):
            Dauer(self.path + ".none").info()

    def test_a_run_sends_what_was_given_and_nothing_else(self) -> None:
        moment = datetime(2027, 1, 31, 9, tzinfo=timezone.utc)
        self.client.run(
            ["a", "b"], cpus=0.5, memory="1.5g", timeout="1m", run_at=moment, max_retries=2, retry_delay=3, tags={"k": "v"}
        )
        body = self.daemon.requests[-1][2]
        self.assertTrue(body.pop("idempotency_key"))
        expected = {
            "argv": ["a", "b"],
            "cpu_millis": 500,
            "memory_bytes": 3 << 29,
            "timeout_ms": 60_000,
            "run_at": 1_801_386_000_000,
            "retry": {"max_retries": 2, "retry_delay": 3000},
            "tags": {"k": "v"},
        }
        self.assertEqual(body, expected)
        self.client.run(
            ["a"],
            retry={"max_retries": 5, "jitter": "full", "retry_on": {"exit_codes": [75]}},
            job_timeout="2h",
            queue_timeout=0.5,
            queue="mail",
            concurrency_key="customer-7",
            unique="import",
            after=["j0", self.job, {"job": "j2", "when": "ended"}],
            parent=self.job,
        )
        body = self.daemon.requests[-1][2]
        self.assertTrue(body.pop("idempotency_key"))
        expected = {
            "argv": ["a"],
            "retry": {"max_retries": 5, "jitter": "full", "retry_on": {"exit_codes": [75]}},
            "job_timeout": 7_200_000,
            "queue_timeout": 500,
            "queue": "mail",
            "concurrency_key": "customer-7",
            "unique": {"key": "import"},
            "after": [{"job": "j0"}, {"job": "j1"}, {"job": "j2", "when": "ended"}],
            "parent": "j1",
        }
        self.assertEqual(body, expected)
        with self.assertRaises(ValueError):
            self.client.run(["a"], retry={"max_retries": 1}, max_retries=2)
        self.client.submit("resize@1.2.0", {"w": 1}, idempotency_key="mine")
        expected = {"definition_name": "resize", "definition_version": "1.2.0", "params": {"w": 1}, "idempotency_key": "mine"}
        self.assertEqual(self.daemon.requests[-1][2], expected)

    def test_sizes(self) -> None:
        self.assertEqual([size_bytes(size) for size in ("512m", "2GiB", "1024", 7, "1kb")], [512 << 20, 2 << 30, 1024, 7, 1024])
        with self.assertRaises(ValueError):
            size_bytes("much")

    def test_a_token_is_sent(self) -> None:
        Dauer(self.path, token="secret").job("j1")
        self.assertEqual(self.daemon.headers[-1]["authorization"], "Bearer secret")

    def test_a_long_socket_path_works(self) -> None:
        deep = os.path.join(os.path.dirname(self.path), "x" * 150)
        os.symlink(os.path.dirname(self.path), deep)
        self.assertEqual(Dauer(os.path.join(deep, "dauer.sock")).job("j1").id, "j1")


class HostTest(unittest.TestCase):
    def test_hosts_are_found_where_the_command_line_finds_them(self) -> None:
        cases: List[Tuple[Dict[str, str], str]] = [
            ({"DAUER_HOST": "https://h:1", "DAUER_RUN_DIR": "/r"}, "https://h:1"),
            ({"DAUER_RUN_DIR": "/r", "DAUER_DATA_DIR": "/d"}, "unix:///r/dauer.sock"),
            ({"DAUER_DATA_DIR": "/d"}, "unix:///d/run/dauer.sock"),
        ]
        for environment, expected in cases:
            with mock.patch.dict(os.environ, environment, clear=True):
                self.assertEqual(str(Host.default()), expected)
        with mock.patch.dict(os.environ, {"XDG_RUNTIME_DIR": "/x"}, clear=True):
            with mock.patch("os.geteuid", return_value=0):
                self.assertEqual(str(Host.default()), "unix:///run/dauer/dauer.sock")
            with mock.patch("os.geteuid", return_value=5):
                self.assertEqual(str(Host.default()), "unix:///x/dauer/dauer.sock")

    def test_both_forms_of_a_socket_mean_the_same(self) -> None:
        self.assertEqual(Host.parse("unix:///r/dauer.sock"), Host.parse("/r/dauer.sock"))
        self.assertEqual(Host.parse("https://[::1]:4711/"), Host("https", "::1", 4711))
        for wrong in ("", "dauer.sock", "unix://dauer.sock", "tcp://1.2.3.4", "https://h/path"):
            with self.assertRaisesRegex(ValueError, "unix:///path"):
                Host.parse(wrong)


if __name__ == "__main__":
    unittest.main()
