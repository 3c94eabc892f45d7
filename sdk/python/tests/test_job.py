"""The calls of a job, blocking and asyncio, against a runtime API that cuts connections wherever it can."""

from __future__ import annotations

import asyncio
import functools
import os
import signal
import subprocess
import sys
import threading
import unittest
from datetime import timedelta
from typing import Any, Awaitable, Callable, List, Optional, Tuple
from unittest import mock

import dauer
from dauer import _process, _steps, aio

from .fake import Fake


class JobTest(unittest.TestCase):
    """A fake job, and pauses that cost no time."""

    def setUp(self) -> None:
        self.fake = Fake()
        self.addCleanup(self.fake.close)
        environment = mock.patch.dict(os.environ, {"DAUER_API": self.fake.url, "DAUER_JOB_ID": "j"})
        environment.start()
        self.addCleanup(environment.stop)
        quick = mock.patch.object(_steps, "_PAUSE_FIRST_SECONDS", 0.0)
        quick.start()
        self.addCleanup(quick.stop)
        _process._after_fork()

    def bodies(self, path: str) -> List[Any]:
        return [body for _, asked, body in self.fake.requests if asked == path]


Forms = List[Tuple[str, Callable[[], Any]]]


def forms(blocking: Callable[[], Any], awaited: Callable[[], Awaitable[Any]]) -> Forms:
    async def run() -> Any:
        return await awaited()

    return [("blocking", blocking), ("asyncio", lambda: asyncio.run(run()))]


def with_lock() -> str:
    with dauer.lock():
        return "held"


async def with_lock_async() -> str:
    async with aio.lock():
        return "held"


class CutTest(JobTest):
    """Each call gives the same result wherever its connections are cut, and is done once."""

    def check_everywhere(self, calls: Forms, prepare: Callable[[], None], check: Callable[[Any], None]) -> None:
        for form, call in calls:
            with self.subTest(form=form):
                prepare()
                self.fake.requests.clear()
                self.fake.answer_bytes.clear()
                check(call())
                answers = list(self.fake.answer_bytes)
                for connection, answer_bytes in enumerate(answers):
                    # At the last byte of an answer nothing is missing.
                    for kind, end in (("request", _REQUEST_MAX), ("answer", answer_bytes)):
                        for at in range(end):
                            cut = (at, None) if kind == "request" else (None, at)
                            self.fake.cuts = [(None, None)] * connection + [cut]
                            prepare()
                            self.fake.requests.clear()
                            with self.subTest(connection=connection, kind=kind, at=at):
                                check(call())

    def test_a_checkpoint_is_asked_for_under_one_token(self) -> None:
        def prepare() -> None:
            self.fake.checkpoints.clear()

        def check(result: Any) -> None:
            self.assertEqual((result.status, result.generation, result.id), ("taken", 1, "c1"))
            self.assertEqual(list(self.fake.checkpoints), [result.token])
            self.assertEqual({body["token"] for body in self.bodies("/v1/self/checkpoint")}, {result.token})

        self.check_everywhere(forms(dauer.checkpoint, aio.checkpoint), prepare, check)

    def test_a_lock_is_taken_once_and_left(self) -> None:
        def prepare() -> None:
            self.fake.locks_taken = 0

        def check(result: Any) -> None:
            self.assertEqual((result, self.fake.locks_taken, self.fake.locks), ("held", 1, {}))

        self.check_everywhere(forms(with_lock, with_lock_async), prepare, check)

    def test_a_signal_is_handed_out_once(self) -> None:
        def prepare() -> None:
            self.fake.signals = {"go": [{"n": 1}, {"n": 2}]}

        def check(result: Any) -> None:
            self.assertEqual((result, self.fake.signals), ({"n": 1}, {"go": [{"n": 2}]}))

        calls = forms(lambda: dauer.wait_signal("go"), lambda: aio.wait_signal("go"))
        self.check_everywhere(calls, prepare, check)

    def test_who_is_ready_is_told_so_and_gets_what_is_its_own(self) -> None:
        def prepare() -> None:
            self.fake.polls_until_ready = 2
            self.fake.env = {"WARM_TEST": "own"}
            self.fake.ready_status = "restored"
            os.environ.pop("WARM_TEST", None)

        def check(result: Any) -> None:
            self.assertEqual((result.status, result.restored, result.generation), ("restored", True, 1))
            self.assertEqual((os.environ["WARM_TEST"], os.environ["DAUER_JOB_ID"]), ("own", "j"))

        self.addCleanup(os.environ.pop, "WARM_TEST", None)
        self.addCleanup(os.environ.pop, "DAUER_JOB_ID", None)
        self.check_everywhere(forms(dauer.ready, aio.ready), prepare, check)

    def test_params_are_whole(self) -> None:
        # A number, because a beginning of it is a number, too.
        self.fake.params = 123456789
        self.check_everywhere(forms(dauer.params, aio.params), lambda: None, lambda result: self.assertEqual(result, 123456789))

    def test_an_exit_tells_its_output(self) -> None:
        def ends(call: Callable[[], Any]) -> Callable[[], Any]:
            def run() -> Any:
                with self.assertRaises(SystemExit) as raised:
                    call()
                return raised.exception.code

            return run

        def check(code: Any) -> None:
            self.assertEqual((code, self.fake.exits[-1]), (3, {"exit_code": 3, "output": {"a": [1]}}))

        calls = forms(lambda: dauer.exit({"a": [1]}, 3), lambda: aio.exit({"a": [1]}, 3))
        self.check_everywhere([(form, ends(call)) for form, call in calls], self.fake.exits.clear, check)


# Longer than every request here, so that each of their bytes is met.
_REQUEST_MAX = 330


class CheckpointTest(JobTest):
    def test_durations_arrive_as_milliseconds(self) -> None:
        for given in (4, 4.0, "4s", timedelta(seconds=4), "4000ms"):
            dauer.checkpoint(suspend=given)
        sent = {body["suspend"] for body in self.bodies("/v1/self/checkpoint")}
        self.assertEqual(sent, {"4000ms"})
        dauer.checkpoint(suspend=0)
        self.assertEqual(self.bodies("/v1/self/checkpoint")[-1]["suspend"], "0ms")
        dauer.checkpoint()
        self.assertNotIn("suspend", self.bodies("/v1/self/checkpoint")[-1])

    def test_a_wrong_duration_is_refused_before_anything_is_sent(self) -> None:
        for wrong in (-1, "4", "soon", "", float("nan"), "4 s"):
            with self.assertRaises(ValueError):
                dauer.checkpoint(suspend=wrong)
            with self.assertRaises(ValueError):
                dauer.sleep(wrong)
        self.assertEqual(self.fake.requests, [])

    def test_two_calls_have_two_tokens(self) -> None:
        self.assertNotEqual(dauer.checkpoint().token, dauer.checkpoint().token)

    def test_a_restored_process_hears_that_it_is_one(self) -> None:
        self.fake.checkpoint_status, self.fake.generation = "restored", 2
        result = dauer.checkpoint()
        self.assertTrue(result.restored)
        self.assertEqual(result.generation, 2)

    def test_a_failed_checkpoint_is_an_error_with_the_reason(self) -> None:
        self.fake.checkpoint_status = "failed"
        with self.assertRaisesRegex(dauer.CheckpointFailed, "no space"):
            dauer.checkpoint()

    def test_a_refusal_has_code_status_and_detail(self) -> None:
        self.fake.refusals["/v1/self/checkpoint"] = (422, {"code": "unsupported", "detail": "native cannot", "type": "t"})
        with self.assertRaises(dauer.Refused) as raised:
            dauer.checkpoint()
        error = raised.exception
        self.assertEqual((error.status, error.code, error.detail, error.type), (422, "unsupported", "native cannot", "t"))

    def test_a_token_that_was_forgotten_is_asked_with_again(self) -> None:
        self.fake.polls_until_taken = 2
        forgotten: List[Any] = []

        def forget(path: str) -> None:
            if path != "/v1/self/checkpoint" and not forgotten:
                forgotten.append(self.fake.checkpoints.popitem())

        self.fake.before_answer = forget
        self.assertEqual(dauer.checkpoint().status, "taken")
        self.assertEqual(len(self.bodies("/v1/self/checkpoint")), 2)

    def test_a_daemon_that_restarts_is_waited_for(self) -> None:
        answers = [(503, {"code": "busy", "detail": "x"}), (502, None)]

        def change(path: str) -> None:
            if answers:
                self.fake.refusals[path] = answers.pop()
            else:
                self.fake.refusals.clear()

        self.fake.before_answer = change
        self.assertEqual(dauer.checkpoint().status, "taken")
        self.assertGreaterEqual(len(self.fake.requests), 4)

    def test_nothing_there_is_an_error_in_the_end(self) -> None:
        with mock.patch.dict(os.environ, {"DAUER_API": "http://127.0.0.1:1"}), mock.patch.object(
            _steps, "PATIENCE_SECONDS", 0.0
        ):
            with self.assertRaises(dauer.Unreachable):
                dauer.checkpoint()

    def test_patience_does_not_depend_on_clocks(self) -> None:
        # A freeze of a week between two looks at a clock.
        steps = _steps.params()
        steps.send(None)
        with mock.patch("time.monotonic", side_effect=range(0, 10**9, 604_800)):
            for _ in range(20):
                self.assertIsInstance(steps.send(_steps.Lost(OSError())), _steps.Pause)
                self.assertIsInstance(steps.send(None), _steps.Call)

    def test_a_checkpoint_inside_of_a_lock_is_an_error_and_no_deadlock(self) -> None:
        with dauer.lock():
            with self.assertRaises(dauer.LockHeld):
                dauer.checkpoint()
            with self.assertRaises(dauer.LockHeld):
                dauer.wait_signal("go")
            # Another thread may: it waits until this one is done.
            results: List[Any] = []
            thread = threading.Thread(target=lambda: results.append(dauer.checkpoint().status))
            thread.start()
            thread.join()
            self.assertEqual(results, ["taken"])
        self.assertEqual(dauer.checkpoint().status, "taken")
        with dauer.lock(ttl="10s"):
            self.assertEqual(dauer.checkpoint().status, "taken")

    def test_many_threads_share_nothing(self) -> None:
        tokens: List[Optional[str]] = []
        threads = [threading.Thread(target=lambda: tokens.append(dauer.checkpoint().token)) for _ in range(16)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.assertEqual(len(set(tokens)), 16)

    def test_a_proxy_in_the_environment_is_not_asked(self) -> None:
        with mock.patch.dict(os.environ, {"http_proxy": "http://127.0.0.1:1", "HTTP_PROXY": "http://127.0.0.1:1"}):
            self.assertEqual(dauer.checkpoint().status, "taken")
            self.assertEqual(asyncio.run(aio.checkpoint()).status, "taken")


class ReadyTest(JobTest):
    def test_where_no_state_is_kept_it_goes_on_and_knows_why(self) -> None:
        self.addCleanup(os.environ.pop, "DAUER_JOB_ID", None)
        self.fake.ready_status = "cold"
        ready = dauer.ready()
        self.assertEqual((ready.status, ready.restored, ready.message), ("cold", False, "why"))

    def test_an_unknown_answer_is_no_readiness(self) -> None:
        self.fake.ready_status = "lukewarm"
        with self.assertRaises(dauer.NotUnderstood):
            dauer.ready()


class SleepTest(JobTest):
    def test_it_suspends(self) -> None:
        with mock.patch("time.sleep") as plain:
            dauer.sleep("2h")
        self.assertEqual(self.bodies("/v1/self/checkpoint")[0]["suspend"], "7200000ms")
        self.assertNotIn(mock.call(7200.0), plain.call_args_list)

    def test_where_nothing_can_be_frozen_it_sleeps_plainly(self) -> None:
        self.fake.refusals["/v1/self/checkpoint"] = (422, {"code": "unsupported", "detail": "native cannot"})
        for run, name in ((functools.partial(dauer.sleep, 7), "time.sleep"), (sleep_async, "asyncio.sleep")):
            with mock.patch(name) as plain:
                run()
            self.assertAlmostEqual(plain.call_args[0][0], 7, delta=1)

    def test_a_failed_checkpoint_costs_no_sleep(self) -> None:
        self.fake.checkpoint_status = "failed"
        with mock.patch("dauer.time.sleep") as plain:
            dauer.sleep(7)
        self.assertAlmostEqual(plain.call_args[0][0], 7, delta=1)

    def test_another_refusal_is_told(self) -> None:
        self.fake.refusals["/v1/self/checkpoint"] = (409, {"code": "conflict", "detail": "the job is ending"})
        with self.assertRaises(dauer.Refused):
            dauer.sleep(7)


def sleep_async() -> None:
    asyncio.run(aio.sleep(7))


class SignalTest(JobTest):
    def test_a_wait_that_is_pending_is_asked_again_under_its_token(self) -> None:
        def send_later(path: str) -> None:
            if len(self.fake.requests) == 2:
                self.fake.signals = {"go": ["late"]}

        self.fake.before_answer = send_later
        self.assertEqual(dauer.wait_signal("go"), "late")
        self.assertEqual(len({body["token"] for body in self.bodies("/v1/self/signals/wait")}), 1)

    def test_a_timeout_is_an_error_of_its_own(self) -> None:
        with self.assertRaises(dauer.SignalTimeout):
            dauer.wait_signal("go", timeout="1s")
        with self.assertRaises(TimeoutError):
            asyncio.run(aio.wait_signal("go", timeout="1s"))

    def test_where_nothing_can_be_frozen_it_waits_in_memory(self) -> None:
        def refuse_suspension(path: str) -> None:
            if not self.fake.requests:
                self.fake.refusals[path] = (422, {"code": "unsupported", "detail": "native cannot"})
            else:
                self.fake.refusals.clear()

        self.fake.signals = {"go": [1]}
        self.fake.before_answer = refuse_suspension
        self.assertEqual(dauer.wait_signal("go"), 1)
        self.assertEqual([body["suspend"] for body in self.bodies("/v1/self/signals/wait")], [True, False])

    def test_after_a_rollback_the_same_wait_gets_the_same_signal(self) -> None:
        self.fake.signals = {"go": ["first", "second"], "other": ["x"]}
        # What a restore does to the memory of this process, here by hand.
        before = dict(_process._state.next_turn)
        self.assertEqual(dauer.wait_signal("go"), "first")
        self.assertEqual(dauer.wait_signal("other"), "x")
        _process._state.next_turn = before
        # In another order than the first time.
        self.assertEqual(dauer.wait_signal("other"), "x")
        self.assertEqual(dauer.wait_signal("go"), "first")
        self.assertEqual(dauer.wait_signal("go"), "second")

    def test_a_wait_that_was_cancelled_is_taken_up_by_the_next(self) -> None:
        self.fake.signals = {"go": ["first", "second"]}

        async def cancelled_then_again() -> Any:
            # The signal is bound to the wait, and the wait is cancelled before it hears of it.
            asked = threading.Event()
            answer = threading.Event()

            def hold(path: str) -> None:
                asked.set()
                answer.wait(10)

            self.fake.before_answer = hold
            waiting = asyncio.ensure_future(aio.wait_signal("go"))
            await asyncio.get_running_loop().run_in_executor(None, asked.wait, 10)
            waiting.cancel()
            with self.assertRaises(asyncio.CancelledError):
                await waiting
            answer.set()
            self.fake.before_answer = lambda path: None
            return await aio.wait_signal("go")

        self.assertEqual(asyncio.run(cancelled_then_again()), "first")
        self.assertEqual(dauer.wait_signal("go"), "second")

    def test_a_child_process_waits_for_itself(self) -> None:
        self.fake.signals = {"go": ["parent", "child"]}
        self.assertEqual(dauer.wait_signal("go"), "parent")
        _process._state.next_turn.clear()
        pid = os.fork()
        if pid == 0:
            os._exit(0 if dauer.wait_signal("go") == "child" else 1)
        self.assertEqual(os.waitpid(pid, 0)[1], 0)


class LockTest(JobTest):
    def test_a_cancelled_acquire_leaves_no_lock(self) -> None:
        async def cancelled() -> None:
            asked = threading.Event()
            answer = threading.Event()

            def hold(path: str) -> None:
                asked.set()
                answer.wait(10)

            self.fake.before_answer = hold
            waiting = asyncio.ensure_future(aio.lock().acquire())
            await asyncio.get_running_loop().run_in_executor(None, asked.wait, 10)
            waiting.cancel()
            with self.assertRaises(asyncio.CancelledError):
                await waiting
            answer.set()
            while aio._background:
                await asyncio.wait(aio._background)

        asyncio.run(cancelled())
        self.assertEqual((self.fake.locks_taken, self.fake.locks), (1, {}))

    def test_ctrl_c_in_an_acquire_leaves_no_lock(self) -> None:
        interrupted: List[str] = []

        def interrupt(path: str) -> None:
            if not interrupted:
                interrupted.append(path)
                # The main thread waits for the answer.
                os.kill(os.getpid(), signal.SIGINT)

        self.fake.before_answer = interrupt
        with self.assertRaises(KeyboardInterrupt):
            with dauer.lock():
                self.fail("it was held")
        self.assertEqual(self.fake.locks, {})

    def test_a_lock_that_ended_by_itself_is_left_in_peace(self) -> None:
        with dauer.lock(ttl="1s"):
            self.assertEqual(self.bodies("/v1/self/locks")[0]["ttl"], "1000ms")
            self.fake.locks.clear()

    def test_two_locks_at_once_are_two(self) -> None:
        with dauer.lock(), dauer.lock():
            self.assertEqual(len(self.fake.locks), 2)


class RestoredTest(JobTest):
    def test_it_is_told_once_for_each_thaw(self) -> None:
        for generation, expected in ((1, False), (1, False), (2, True), (2, False), (5, True)):
            self.fake.generation = generation
            self.assertEqual(dauer.restored(), expected, generation)

    def test_a_first_look_after_the_thaw_sees_it(self) -> None:
        self.fake.generation = 2
        self.assertTrue(asyncio.run(aio.restored()))
        self.assertFalse(dauer.restored())

    def test_a_job_that_is_retried_does_not_begin_restored(self) -> None:
        self.fake.generation, self.fake.retries = 4, 1
        self.assertFalse(dauer.restored())
        self.fake.generation = 5
        self.assertTrue(dauer.restored())


class OthersTest(JobTest):
    def test_params_have_a_default(self) -> None:
        self.assertEqual(dauer.params({"n": 1}), {"n": 1})
        self.fake.params = {"n": 2}
        self.assertEqual(dauer.params({"n": 1}), {"n": 2})

    def test_metadata_of_a_newer_daemon_is_read(self) -> None:
        self.assertEqual(dauer.metadata(), dauer.Metadata(job_id="j", retry_count=2, tags={"k": "v"}))

    def test_progress_is_told(self) -> None:
        dauer.progress(3, 10, "reading")
        asyncio.run(aio.progress(4))
        expected = [{"done": 3, "total": 10, "message": "reading"}, {"done": 4, "total": None, "message": None}]
        self.assertEqual(self.fake.progress, expected)

    def test_a_result_that_is_too_long_does_not_end_the_process(self) -> None:
        self.fake.refusals["/v1/self/exit"] = (413, {"code": "too_large", "detail": "at most 1 MiB"})
        with self.assertRaises(dauer.Refused):
            dauer.exit("x" * 10)


PLAIN = """
import asyncio, dauer, dauer.aio as aio
assert not dauer.managed()
assert dauer.checkpoint(suspend="3d").status == "not_managed" and not dauer.checkpoint().restored
dauer.sleep(0.001); dauer.progress(1)
with dauer.lock(): assert dauer.checkpoint().status == "not_managed"
assert dauer.params() is None and dauer.params(7) == 7 and dauer.metadata().job_id is None and not dauer.restored()
async def main():
    async with aio.lock(): pass
    await aio.sleep(0.001)
    assert (await aio.checkpoint()).status == "not_managed"
asyncio.run(main())
try: dauer.wait_signal("go")
except dauer.NotManaged: print("harmless", flush=True)
dauer.exit({"x": 1}, 4)
"""


class OutsideTest(unittest.TestCase):
    def test_a_script_runs_plainly_outside_of_dauer(self) -> None:
        environment = {name: value for name, value in os.environ.items() if not name.startswith("DAUER_")}
        done = subprocess.run([sys.executable, "-c", PLAIN], env=environment, capture_output=True, text=True)
        self.assertEqual((done.returncode, done.stdout, done.stderr), (4, "harmless\n", ""))


if __name__ == "__main__":
    unittest.main()
