// Runs the worker with the client: drive.mjs DRIVER SDK. Prints what it saw, in which order.
import { fileURLToPath } from "node:url";

const [driver, sdk] = process.argv.slice(2);
const { Dauer } = await import(sdk);
const worker = fileURLToPath(new URL("worker.mjs", import.meta.url));
const job = await new Dauer().run([process.execPath, worker, sdk], { driver, params: { n: 3 } });

/** The worker's lines, and a mark where it was restored. */
async function* lines() {
  let begun = Buffer.alloc(0);
  for await (const item of job.stream()) {
    if (item.kind === "ended") yield `-- ${item.outcome}`;
    else if (item.kind === "output") {
      if (item.stream !== "stdout") throw new Error(Buffer.from(item.data).toString());
      const parts = Buffer.concat([begun, item.data]).toString().split("\n");
      begun = Buffer.from(parts.pop());
      yield* parts;
    } else if (item.data.kind === "restored") yield "-- killed";
    else if (item.name === "released" && item.data.to === "suspended") yield "-- suspended";
  }
}

const seen = lines();

async function until(expected) {
  for (;;) {
    const { value: line, done } = await seen.next();
    if (done) throw new Error(`it ended without ${expected}`);
    console.log(line);
    if (line.startsWith(expected)) return;
  }
}

const kill = async () => process.kill((await job.refresh()).view.handles.sandbox_pid, "SIGKILL");

await until("checkpoint taken");
await job.signal("first", { n: 1 });
await until("first");
await kill();
await until("-- killed");
await until("first");
await job.signal("second", { n: 2 });
await until("slept");
await until("-- suspended");
if ((await job.refresh()).view.handles !== undefined) throw new Error("a suspended job has no process");
await job.signal("decision", { by: "ann" });
await until("decision");
await kill();
await until("-- killed");
await until("decision");
await job.signal("end", "now");
await until("-- error");
const result = await job.wait();
console.log([result.state, result.exit_code, result.reason, ...result.output.done].join("; "));
if ((await job.refresh()).view.progress.done !== 3) throw new Error("no progress");
