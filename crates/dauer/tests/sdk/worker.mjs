// The worker that all SDKs have: see sdk.rs. What it did stands in a list in its memory, which is its result.
const dauer = await import(process.argv[2]);

const done = [];
function did(text) {
  done.push(text);
  console.log(text);
}

if (!dauer.managed() || (await dauer.metadata()).jobId !== process.env.DAUER_JOB_ID) throw new Error("not managed");
did(`params ${(await dauer.params()).n}`);
await dauer.withLock(async () => {
  await dauer.checkpoint().catch((error) => {
    if (error instanceof dauer.LockHeld) did("held");
  });
});
did(`checkpoint ${(await dauer.checkpoint()).status}`);
did(`first ${(await dauer.waitSignal("first", { suspend: false })).n}`);
// Here it is killed the first time: it goes on behind the checkpoint, and the signal comes again.
did(`second ${(await dauer.waitSignal("second", { suspend: false })).n}`);
console.log(`restored ${await dauer.restored()} ${await dauer.restored()}`);
await dauer.sleep("500ms");
did("slept");
did(`decision ${(await dauer.waitSignal("decision")).by}`);
// Here it is killed the second time: it goes on in the middle of that wait.
did(`end ${await dauer.waitSignal("end", { suspend: false })}`);
await dauer.progress(3, 3, "done");
await dauer.exit({ done }, 7);
