"""The worker that all SDKs have, on asyncio: see sdk.rs. A task beside it lives through all of it."""

import asyncio
import os

import dauer
from dauer import aio

done = []
ticks = 0


def did(text):
    done.append(text)
    print(text, flush=True)


async def tick():
    global ticks
    while True:
        await asyncio.sleep(0.01)
        ticks += 1


async def main():
    beside = asyncio.ensure_future(tick())
    assert (await aio.metadata()).job_id == os.environ["DAUER_JOB_ID"]
    did(f"params {(await aio.params())['n']}")
    async with aio.lock():
        try:
            await aio.checkpoint()
        except dauer.LockHeld:
            did("held")
    did(f"checkpoint {(await aio.checkpoint()).status}")
    did(f"first {(await aio.wait_signal('first', suspend=False))['n']}")
    # Here it is killed the first time: it goes on behind the checkpoint, and the signal comes again.
    did(f"second {(await aio.wait_signal('second', suspend=False))['n']}")
    print(f"restored {await aio.restored()} {await aio.restored()}", flush=True)
    await aio.sleep("500ms")
    before = ticks
    await asyncio.sleep(0.1)
    assert ticks > before and not beside.done(), "the loop's timers live after a thaw"
    did("slept")
    did(f"decision {(await aio.wait_signal('decision'))['by']}")
    # Here it is killed the second time: it goes on in the middle of that wait.
    did(f"end {await aio.wait_signal('end', suspend=False)}")
    await aio.progress(3, 3, "done")
    await aio.exit({"done": done}, 7)


asyncio.run(main())
