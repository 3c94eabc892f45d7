"""Runs a worker with the client: drive.py DRIVER WORKER. Prints what it saw, in which order."""

import os
import sys

from dauer import Dauer, Ended, Event, Output

driver, worker = sys.argv[1:]
job = Dauer().run(
    [sys.executable, worker] if worker.endswith(".py") else [worker],
    driver=driver,
    env={"PYTHONPATH": os.environ["PYTHONPATH"]},
    params={"n": 3},
)


def lines():
    """The worker's lines, and a mark where it was restored."""
    begun = b""
    for item in job.stream():
        if isinstance(item, Output):
            assert item.stream == "stdout", item
            *whole, begun = (begun + item.data).split(b"\n")
            yield from (line.decode() for line in whole)
        elif isinstance(item, Event) and item.data.get("kind") == "restored":
            yield "-- killed"
        elif isinstance(item, Event) and item.name == "released" and item.data["to"] == "suspended":
            yield "-- suspended"
        elif isinstance(item, Ended):
            yield f"-- {item.outcome}"


seen = lines()


def until(expected):
    for line in seen:
        print(line, flush=True)
        if line.startswith(expected):
            return
    raise AssertionError(f"it ended without {expected!r}")


def kill():
    os.kill(job.refresh().view["handles"]["sandbox_pid"], 9)


until("checkpoint taken")
job.signal("first", {"n": 1})
until("first")
kill()
until("-- killed")
until("first")
job.signal("second", {"n": 2})
until("slept")
until("-- suspended")
assert "handles" not in job.refresh().view, "a suspended job has no process"
job.signal("decision", {"by": "ann"})
until("decision")
kill()
until("-- killed")
until("decision")
job.signal("end", "now")
until("-- error")
result = job.wait()
print(result.state, result.exit_code, result.reason, *result.output["done"], sep="; ")
assert job.refresh().view["progress"]["done"] == 3
