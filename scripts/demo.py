"""Drives the demo: one undisturbed run for the reference, then one run for each driver with everything that can go wrong."""

import itertools
import json
import os
import shutil
import subprocess
import sys
import time

from node import BINARY, ROOT, Failed, Node, is_root, kill_and_wait, read

EXAMPLE = os.path.join(ROOT, "examples", "parse")
MEGABYTE = 1 << 20
CHECKPOINT_EVERY_MB = 32
SLEEP_SECONDS = 4

# What happens at which byte of the input, between two of the job's own checkpoints, so that there is something to read again.
KILL_SANDBOX_AT = 44 * MEGABYTE
KILL_DAEMON_AT = 84 * MEGABYTE
SUSPEND_AT = 140 * MEGABYTE


class Run:
    """One job under one driver, and what was seen of it."""

    def __init__(self, node, driver, folder):
        self.node, self.driver = node, driver
        command = ["python3", f"{folder}/parse.py", f"{folder}/input.json", str(CHECKPOINT_EVERY_MB)]
        self.freezes = {}
        self.started = time.monotonic()
        self.job = node.dauer("run", "--driver", driver, "--detach", "--name", f"parse-{driver}", "--", *command).strip()

    def log(self):
        """Its output so far, in lines; the last one may be half."""
        return self.node.dauer("logs", self.job).splitlines()

    def offsets(self):
        """The bytes it has read by its own account, each time it said so."""
        return [int(line.split()[1]) for line in self.log() if line.startswith("at ")]

    def wait_for(self, what, arrived, timeout=300):
        deadline = time.monotonic() + timeout
        while not arrived():
            view = self.node.inspect(self.job)
            if view["state"] in ("completed", "failed", "cancelled") and not arrived():
                raise Failed(f"the job {view['state']} before {what}: {view.get('message')}\n" + "\n".join(self.log()[-5:]))
            if time.monotonic() > deadline:
                raise Failed(f"waited {timeout} s for {what}: {view['state']}/{view.get('operation')} {view.get('last_error')}")
            self.note_freezes()
            time.sleep(0.05)

    def note_freezes(self):
        """Remembers the checkpoints there are; only the newest is kept, and none of a job that has ended."""
        for checkpoint in self.node.json("checkpoints", self.job, "--json"):
            self.freezes[checkpoint["id"]] = checkpoint

    def wait_for_offset(self, offset):
        self.wait_for(f"byte {offset}", lambda: max(self.offsets(), default=0) >= offset)

    def say(self, text):
        print(f"  {time.monotonic() - self.started:6.1f} s  {text}", flush=True)

    def disturb(self):
        """Kills the sandbox, kills the daemon, freezes it for a while."""
        self.wait_for_offset(KILL_SANDBOX_AT)
        handles = self.node.inspect(self.job)["handles"]
        before = len(self.log())
        kill_and_wait(handles["sandbox_pid"])
        began = time.monotonic()
        self.wait_for("output after the kill", lambda: len(self.log()) > before + 1)
        self.say(f"killed the sandbox (pid {handles['sandbox_pid']}) with -9; output again after {time.monotonic() - began:.2f} s")

        self.wait_for_offset(KILL_DAEMON_AT)
        pid = self.node.kill_daemon()
        if read(f"/proc/{self.node.inspect(self.job)['handles']['sandbox_pid']}/stat") == "":
            raise Failed("the sandbox died with the daemon")
        self.say(f"killed the daemon (pid {pid}) with -9; the next command started another one, the job never noticed")

        self.wait_for_offset(SUSPEND_AT)
        handles = self.node.inspect(self.job)["handles"]
        self.node.dauer("suspend", self.job, "--for", f"{SLEEP_SECONDS}s")
        suspended = time.monotonic()
        view = self.node.inspect(self.job)
        if view["state"] == "suspended":
            left = [name for name in ("sandbox_pid", "shim_pid") if read(f"/proc/{handles[name]}/cmdline")]
            if left:
                raise Failed(f"suspended, and still there: {', '.join(left)}")
        elif view["state"] != "running" or view["generation"] < 3:
            raise Failed(f"suspended, and then {view['state']}")
        self.say("suspended: no process, no memory")
        self.wait_for("it to wake", lambda: self.node.inspect(self.job)["state"] != "suspended")
        self.say(f"woke by itself after {time.monotonic() - suspended:.1f} s")

    def finish(self):
        self.wait_for("the end of the input", lambda: any(line.startswith("result ") for line in self.log()))
        code = subprocess.run(
            [BINARY, "wait", self.job], env=self.node.env, stdout=subprocess.DEVNULL, timeout=600, check=False
        ).returncode
        self.say(f"ended with exit code {code}")
        return code

    def read_again(self):
        """Bytes read more than once, to the megabyte: where the job was thrown back, from there to where it had been."""
        offsets = self.offsets()
        return sum(max(0, before - (after - MEGABYTE)) for before, after in itertools.pairwise(offsets) if after <= before)

    def thaws(self):
        """Milliseconds from the decision to wake or restore to the job running again, with its kind."""
        events = [json.loads(line) for line in self.node.dauer("events", "--json", self.job).splitlines()]
        begun, thaws = None, []
        for event in events:
            if event.get("operation") in ("waking", "restarting"):
                begun = begun or (event["at"], event["operation"])
            elif begun and event["to"] == "running" and not event.get("operation"):
                thaws.append((event["at"] - begun[0], begun[1]))
                begun = None
        return thaws


def reference(folder):
    """The result of a plain run on this machine, outside of any sandbox."""
    began = time.monotonic()
    done = subprocess.run(
        [sys.executable, f"{folder}/parse.py", f"{folder}/input.json"], stdout=subprocess.PIPE, text=True, check=True,
        env={name: value for name, value in os.environ.items() if not name.startswith("DAUER_")},
    )
    print(f"  {time.monotonic() - began:6.1f} s  undisturbed, without Dauer", flush=True)
    return result_of(done.stdout.splitlines())


def result_of(lines):
    return [line for line in lines if line.startswith(("read ", "result "))]


def demonstrate(node, driver, folder, expected):
    """Runs the job under this driver; returns what does not hold."""
    print(f"\n{driver}", flush=True)
    run = Run(node, driver, folder)
    run.disturb()
    wrong = []
    if (code := run.finish()) != 0:
        wrong.append(f"exit code {code}")
    lines = run.log()
    if result_of(lines) != expected:
        wrong.append(f"another result: {result_of(lines)}")
    view = node.inspect(run.job)
    if view["restores"] != 1:
        wrong.append(f"{view['restores']} restores after a loss, not 1")

    again = run.read_again()
    total = os.path.getsize(f"{folder}/input.json")
    print(f"  read again   {again / MEGABYTE:.0f} MiB of {total / MEGABYTE:.0f} (to the MiB), the distance from the checkpoint to the kill")
    if again > 2 * CHECKPOINT_EVERY_MB * MEGABYTE:
        wrong.append(f"{again} bytes were read again: more than since a checkpoint")
    statuses = [line.split()[2] for line in lines if line.startswith("checkpoint ")]
    print(f"  checkpoints  {len(statuses)} asked for by the job itself: {', '.join(statuses)}")
    if "failed" in statuses:
        wrong.append("a checkpoint failed: " + next(line for line in lines if line.startswith("checkpoint ") and " failed " in line))
    for freeze in run.freezes.values():
        asked = freeze.get("token") or "dauer suspend"
        print(
            f"  freeze       {freeze['frozen_ms']:5} ms, image {freeze['memory_bytes'] / MEGABYTE:6.1f} MiB memory"
            f" + {freeze['disk_bytes'] / MEGABYTE:.1f} MiB files ({asked})"
        )
    for duration, kind in run.thaws():
        print(f"  thaw         {duration:5} ms ({'woken' if kind == 'waking' else 'restored after the kill'})")
    node.dauer("rm", run.job)
    leaks = {kind: found for kind, found in node.leaks().items() if found}
    if leaks:
        wrong.append(f"left behind: {leaks}")
    print(f"  {'PASS: the same result' if not wrong else 'FAIL'}")
    for line in wrong:
        print(f"    {line}")
    return wrong


def main():
    named = sys.argv[1:]
    with Node("demo") as node:
        drivers = [driver["name"] for driver in node.drivers() if driver["checkpoints"] and driver["usable"]]
        if unknown := [name for name in named if name not in drivers]:
            print(f"demo: cannot freeze memory here: {', '.join(unknown)}; see `dauer doctor`", file=sys.stderr)
            return 2
        if not drivers:
            print("demo: no driver can freeze memory here." + ("" if is_root() else " That needs root: sudo ./demo"))
            print(node.dauer("doctor", check=False))
            return 1
        for name in ("parse.py", "incremental_json.py"):
            shutil.copy(os.path.join(EXAMPLE, name), node.base)
        subprocess.run([sys.executable, os.path.join(EXAMPLE, "make_input.py"), f"{node.base}/input.json"], check=True)
        print(f"input: {os.path.getsize(node.base + '/input.json') / MEGABYTE:.0f} MiB of nested JSON", flush=True)
        expected = reference(node.base)

        verdicts = {}
        for driver in named or drivers:
            try:
                verdicts[driver] = demonstrate(node, driver, node.base, expected)
            except (Failed, subprocess.TimeoutExpired, KeyError) as error:
                print(f"  FAIL\n    {error}")
                verdicts[driver] = [str(error)]
        print()
        for driver, wrong in verdicts.items():
            print(f"{'PASS' if not wrong else 'FAIL'}  {driver}")
        return 1 if any(verdicts.values()) else 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
