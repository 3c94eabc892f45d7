"""The worker that all SDKs have: see sdk.rs. What it did stands in a list in its memory, which is its result."""

import os

import dauer

done = []


def did(text):
    done.append(text)
    print(text, flush=True)


assert dauer.managed() and dauer.metadata().job_id == os.environ["DAUER_JOB_ID"]
did(f"params {dauer.params()['n']}")
with dauer.lock():
    try:
        dauer.checkpoint()
    except dauer.LockHeld:
        did("held")
did(f"checkpoint {dauer.checkpoint().status}")
did(f"first {dauer.wait_signal('first', suspend=False)['n']}")
# Here it is killed the first time: it goes on behind the checkpoint, and the signal comes again.
did(f"second {dauer.wait_signal('second', suspend=False)['n']}")
print(f"restored {dauer.restored()} {dauer.restored()}", flush=True)
dauer.sleep("500ms")
did("slept")
did(f"decision {dauer.wait_signal('decision')['by']}")
# Here it is killed the second time: it goes on in the middle of that wait.
did(f"end {dauer.wait_signal('end', suspend=False)}")
dauer.progress(3, 3, "done")
dauer.exit({"done": done}, 7)
