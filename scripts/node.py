"""A daemon of its own in a temporary folder, for the demo and the benchmarks; and what it must not leave behind."""

import glob
import json
import os
import shutil
import signal
import subprocess
import tempfile
import time

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
BINARY = os.path.join(os.environ.get("CARGO_TARGET_DIR", os.path.join(ROOT, "target")), "release", "dauer")


class Failed(Exception):
    """A command did not do what it should; the text has all that is known."""


class Node:
    """Two folders, and the commands of a daemon that lives in them. As a context manager it clears away whatever happens."""

    def __init__(self, what):
        # not /tmp: the image `host` shows the file system of /, and /tmp inside a sandbox may be its own
        self.base = tempfile.mkdtemp(prefix=f"dauer-{what}.", dir="/var/tmp")
        self.data, self.run_dir = os.path.join(self.base, "data"), os.path.join(self.base, "run")
        self.env = {name: value for name, value in os.environ.items() if not name.startswith("DAUER_")}
        self.env |= {"DAUER_DATA_DIR": self.data, "DAUER_RUN_DIR": self.run_dir}
        self.sandboxes = set()

    def __enter__(self):
        # A plain kill must clear away too.
        for number in (signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        return self

    def __exit__(self, *_):
        self.clear()

    def dauer(self, *arguments, check=True, timeout=120, **options):
        """Runs a command; returns its standard output."""
        options = {"stdin": subprocess.DEVNULL, "text": True} | options
        done = subprocess.run(
            [BINARY, *arguments], env=self.env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=timeout, **options
        )
        if check and done.returncode != 0:
            stderr = done.stderr if isinstance(done.stderr, str) else done.stderr.decode(errors="replace")
            raise Failed(f"dauer {' '.join(arguments)}: exit code {done.returncode}: {stderr.strip()}")
        return done.stdout

    def json(self, *arguments):
        return json.loads(self.dauer(*arguments))

    def inspect(self, job):
        view = self.json("inspect", job)
        view = view[0] if isinstance(view, list) else view
        if view.get("handles"):
            self.sandboxes.add(view["handles"]["sandbox"])
        return view

    def drivers(self):
        return self.json("info", "--json")["drivers"]

    def daemon_pid(self):
        """The daemon that holds this folder, or None."""
        try:
            with open(os.path.join(self.run_dir, "dauer.pid")) as file:
                pid = int(file.read())
        except (OSError, ValueError):
            return None
        return pid if self.base in command_line(pid) else None

    def kill_daemon(self):
        """Kills it with -9 and returns its pid, once it is gone."""
        pid = self.daemon_pid()
        if pid is None:
            raise Failed("there is no daemon to kill")
        kill_and_wait(pid)
        return pid

    def wait_state(self, job, *states, timeout=60):
        """Until the job is in one of these states without an operation in flight."""
        deadline = time.monotonic() + timeout
        while True:
            view = self.inspect(job)
            if view["state"] in states and not view.get("operation"):
                return view
            if time.monotonic() > deadline:
                raise Failed(f"{job} is {view['state']}/{view.get('operation')}, not {' or '.join(states)}: {view.get('last_error')}")
            time.sleep(0.02)

    def clear(self):
        """Ends everything of this node and removes its folders; what it had to end by force is what the product leaked."""
        try:
            for job in self.json("ps", "-a", "--json"):
                self.dauer("rm", "-f", job["id"], check=False)
        except (Failed, ValueError, subprocess.TimeoutExpired, OSError):
            pass  # the processes are found below, with or without a daemon
        if pid := self.daemon_pid():
            os.kill(pid, signal.SIGTERM)
            wait_gone(pid, 5)
        for pid in self.processes():
            try:
                os.kill(pid, signal.SIGKILL)
                wait_gone(pid, 5)
            except ProcessLookupError:
                pass
        for mount in reversed(self.mounts()):
            subprocess.run(["umount", "-l", mount], check=False)
        for cgroup in sorted(self.cgroups(), key=len, reverse=True):
            try:
                os.rmdir(cgroup)
            except OSError:
                pass
        shutil.rmtree(self.base, ignore_errors=True)

    # What there is of this node on the machine, found by name: the folders' path or a sandbox's id.

    def know_sandboxes(self):
        """Remembers the ids of the sandboxes there are, to look for their remains later."""
        self.sandboxes |= {name for name in listdir(os.path.join(self.data, "sandboxes")) if len(name) == 16}

    def processes(self):
        """Pids of everything that was started for this node."""
        self.know_sandboxes()
        found = []
        for pid in filter(str.isdigit, os.listdir("/proc")):
            traces = command_line(pid) + read(f"/proc/{pid}/cgroup") + read(f"/proc/{pid}/environ")
            if int(pid) != os.getpid() and (self.base in traces or any(f"dauer-{id_}" in traces for id_ in self.sandboxes)):
                found.append(int(pid))
        return found

    def mounts(self):
        lines = read("/proc/self/mountinfo").splitlines()
        return [line.split()[4] for line in lines if self.base in line or any(id_ in line for id_ in self.sandboxes)]

    def cgroups(self):
        found = glob.glob("/sys/fs/cgroup/**/*dauer-*", recursive=True)
        return [path for path in found if any(id_ in path for id_ in self.sandboxes)]

    def namespaces(self):
        return [name for name in listdir("/run/netns") if any(id_ in name for id_ in self.sandboxes)]

    def folders(self):
        """Sandboxes and checkpoints on disk, also half ones."""
        return [
            os.path.join(part, name)
            for part in ("sandboxes", "snapshots")
            for name in listdir(os.path.join(self.data, part))
        ]

    def leaks(self):
        """What is left when every job has been removed: nothing but the daemon may be."""
        daemon = self.daemon_pid()
        return {
            "processes": [f"{pid} {command_line(pid)[:120]}" for pid in self.processes() if pid != daemon],
            "mounts": self.mounts(),
            "cgroups": self.cgroups(),
            "network namespaces": self.namespaces(),
            "folders": self.folders(),
        }


def command_line(pid):
    return read(f"/proc/{pid}/cmdline").replace("\0", " ")


def read(path):
    try:
        with open(path, errors="replace") as file:
            return file.read()
    except OSError:
        return ""


def listdir(path):
    try:
        return os.listdir(path)
    except OSError:
        return []


def kill_and_wait(pid):
    os.kill(pid, signal.SIGKILL)
    wait_gone(pid, 10)


def wait_gone(pid, seconds):
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        stat = read(f"/proc/{pid}/stat")
        if not stat or stat.rsplit(")", 1)[1].split()[0] in "ZX":
            return
        time.sleep(0.005)


def is_root():
    return os.geteuid() == 0
