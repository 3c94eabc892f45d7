"""The runtimes by hand: Dauer's own bundle on an overlay of this machine's root, and the commands one would type."""

import ctypes
import json
import os
import random
import shutil
import subprocess
import tempfile
import threading
import time

from measure import command

CRIU = "/usr/local/lib/dauer/criu/bin/criu"


def bundle_of(node, driver):
    """The `config.json` that Dauer gives this runtime, taken from a job that runs."""
    job = node.dauer("run", "--driver", driver, "--detach", "--", "sleep", "1000").strip()
    node.wait_state(job, "running")
    sandbox = node.inspect(job)["handles"]["sandbox"]
    with open(os.path.join(node.data, "sandboxes", sandbox, "run.1", "bundle", "config.json")) as file:
        config = json.load(file)
    node.dauer("rm", "-f", job)
    return config


class Raw:
    """One runtime without Dauer: the program itself instead of the agent. A context manager; holds one bundle."""

    def __init__(self, driver, argv, bundle):
        self.driver = driver
        # a child whose parent has gone comes to this process, or the runtimes wait for a second for somebody to reap it
        ctypes.CDLL(None).prctl(36, 1, 0, 0, 0)
        self.base = tempfile.mkdtemp(prefix="dauer-raw.", dir="/var/tmp")
        self.id = f"raw-{random.getrandbits(64):016x}"
        for name in ("upper", "work", "merged", "root"):
            os.mkdir(f"{self.base}/{name}")
        options = f"lowerdir=/,upperdir={self.base}/upper,workdir={self.base}/work"
        command("mount", "-t", "overlay", "overlay", "-o", options, f"{self.base}/merged")
        with open(f"{self.base}/config.json", "w") as file:
            json.dump(self._config(argv, bundle), file)
        if driver == "gvisor":
            self.tool = ["runsc", "--root", f"{self.base}/root", "--network=none", "--platform=systrap", "--ignore-cgroups", "--overlay2=none"]
            self.save = ["--compression=none", "--direct"]
            self.load = ["--direct"]
        else:
            tool = {"runc": "runc", "crun": "crun"}[driver]
            self.tool = [tool, "--root", f"{self.base}/root"] + (["--criu", CRIU] if driver == "runc" else [])
            self.save = self.load = ["--file-locks", "--tcp-established", "--work-path", self.base]

    def _config(self, argv, bundle):
        config = json.loads(json.dumps(bundle))
        config["root"]["path"] = f"{self.base}/merged"
        config["process"]["args"] = argv
        for namespace in config["linux"]["namespaces"]:
            namespace.pop("path", None)  # of a process that has ended: the runtime makes its own
        config["mounts"] = [self._mount(mount) for mount in config["mounts"]]
        if "cgroupsPath" in config["linux"]:
            config["linux"]["cgroupsPath"] = f"/{self.id}"
        if "org.criu.config" in config.get("annotations", {}):
            # without it CRIU wants iptables
            with open(f"{self.base}/criu.conf", "w") as file:
                file.write("network-lock skip\n")
            config["annotations"] = {"org.criu.config": f"{self.base}/criu.conf"}
        return config

    def _mount(self, mount):
        """What was in the folders of the job that is gone is an empty folder."""
        if mount["type"] != "bind" or os.path.exists(mount["source"]):
            return mount
        os.makedirs(f"{self.base}/empty", exist_ok=True)
        return mount | {"source": f"{self.base}/empty"}

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.end()
        subprocess.run(["umount", "-l", f"{self.base}/merged"], check=False)
        shutil.rmtree(self.base, ignore_errors=True)

    def run(self):
        """From the start to the end of the program, as `docker run --rm` would."""
        command(*self.tool, "run", "--bundle", self.base, self.id)
        reap()

    def start(self, word):
        """Starts it in the background and returns once it has said this word."""
        self._with_pipe("create", "--bundle", self.base, "--pid-file", f"{self.base}/pid", self.id)
        command(*self.tool, "start", self.id)
        self._wait_for(word)

    def checkpoint(self, into):
        """Freezes it to a folder; it goes on."""
        command(*self.tool, "checkpoint", "--leave-running", *self.save, "--image-path", into, self.id)

    def restore(self, image):
        """Thaws it from a folder; returns when the runtime does."""
        self._with_pipe(
            "restore", "--detach", *self.load, "--bundle", self.base, "--pid-file", f"{self.base}/pid", "--image-path", image, self.id
        )

    def wait_for_output(self):
        """Until the thawed program has said something."""
        self._wait_for(b"\n")

    def end(self):
        """Kills it and removes what the runtime holds."""
        try:
            with open(f"{self.base}/pid") as file:
                os.kill(int(file.read()), 9)
        except (OSError, ValueError):
            pass  # it never started, or has ended
        deleting = subprocess.Popen([*self.tool, "delete", "--force", self.id], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        while deleting.returncode is None:
            reap(deleting)
            time.sleep(0.001)

    def _with_pipe(self, *arguments):
        reader, writer = os.pipe()
        # what comes while nobody looks is dropped: the program must never wait for a full pipe
        self._output, self._arrived = bytearray(), threading.Event()
        threading.Thread(target=self._drain, args=(reader, self._output, self._arrived), daemon=True).start()
        try:
            command(*self.tool, *arguments, stdout=writer, stderr=writer)
        finally:
            os.close(writer)

    @staticmethod
    def _drain(reader, output, arrived):
        while data := os.read(reader, 1 << 16):
            output[:] = (output + data)[-4096:]
            arrived.set()
        os.close(reader)

    def _wait_for(self, word):
        deadline = time.monotonic() + 60
        while word not in self._output:
            if time.monotonic() > deadline:
                raise RuntimeError(f"{self.driver} said nothing: {bytes(self._output)}")
            self._arrived.wait(0.5)
            self._arrived.clear()


def reap(awaited=None):
    """Takes the exit codes of all children that have ended, also of those left behind by the runtimes."""
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            pid = 0
            if awaited is not None and awaited.returncode is None:
                awaited.returncode = 0
        if pid == 0:
            return
        if awaited is not None and pid == awaited.pid:
            awaited.returncode = os.waitstatus_to_exitcode(status)
