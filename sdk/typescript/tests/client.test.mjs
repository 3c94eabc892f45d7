// The caller client against a daemon that cuts connections wherever it can.
import assert from "node:assert/strict";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { defaultHost, parseHost } from "../dist/caller.js";
import { Dauer, DauerError, JobFailed, Refused, Unreachable } from "../dist/index.js";
import { cutEverywhere, CuttingServer, jsonAnswer } from "./fake.mjs";

const VIEW = { id: "j1", name: null, state: "running" };

// Multi-byte characters, bytes that are no text, line ends of all kinds.
const OUTPUT = [
  ["stdout", Buffer.from("öne\n")],
  ["stderr", Buffer.from([0xff, 0xfe, 10])],
  ["stdout", Buffer.from("two\r\n\n")],
  ["stdout", Buffer.from("end")],
];

function frame(kind, offset, payload) {
  const head = Buffer.alloc(16);
  head.writeUInt32LE(payload.length, 0);
  head.writeUInt8(kind, 4);
  head.writeBigUInt64LE(BigInt(offset), 8);
  return Buffer.concat([head, payload]);
}

/** Keeps jobs by their idempotency key, and one log. */
class Daemon extends CuttingServer {
  jobs = new Map();
  refusals = [];
  signals = new Map();

  answer(method, target, headers, body) {
    const url = new URL(target, "http://x");
    if (this.refusals.length) return jsonAnswer(this.refusals.shift());
    if (url.pathname.endsWith("/logs")) return [200, "application/x-dauer-frames", this.#log(url.searchParams)];
    if (url.pathname === "/v1/events") {
      const numbers = [1, 2, 3].filter((n) => n > Number(headers["last-event-id"]));
      const events = numbers.map((seq) => `id: ${seq}\nevent: event\ndata: ${JSON.stringify({ event: "started", seq })}\n\n`);
      return [200, "text/event-stream", Buffer.from(events.join(""))];
    }
    if (url.pathname.endsWith("/stream")) return this.#stream(headers["last-event-id"] ?? "0");
    return jsonAnswer(this.#route(`${method} ${url.pathname}`, url.searchParams, body));
  }

  #route(call, query, body) {
    switch (call) {
      case "POST /v1/jobs": {
        const key = body.idempotency_key;
        if (!this.jobs.has(key)) this.jobs.set(key, { ...VIEW, id: `j${this.jobs.size + 1}` });
        return [201, { job_id: this.jobs.get(key).id, ...this.jobs.get(key) }];
      }
      case "GET /v1/jobs": {
        const at = Number(query.get("cursor") ?? 0);
        const end = at + Number(query.get("limit"));
        const ids = [0, 1, 2, 3, 4].slice(at, end);
        return [200, { jobs: ids.map((id) => ({ ...VIEW, id: `j${id}` })), next_cursor: end < 5 ? String(end) : null }];
      }
      case "GET /v1/jobs/j1":
        return [200, VIEW];
      case "GET /v1/jobs/j1/result":
        return [200, { job_id: "j1", state: "completed", exit_code: 0, output: { n: 1 } }];
      case "GET /v1/jobs/j2/result":
        return [200, { job_id: "j2", state: "failed", exit_code: 3, reason: "exit_code", message: null }];
      case "POST /v1/jobs/j1/signal":
        this.signals.set(body.token, [body.name, body.payload]);
        return [202, { signal_id: `s${this.signals.size}` }];
      case "POST /v1/jobs/j1/stop":
        return [200, VIEW];
    }
    return [404, { code: "not_found", detail: `there is nothing at ${call}`, type: "t", instance: "r1" }];
  }

  #log(query) {
    const frames = [];
    const since = Number(query.get("since"));
    OUTPUT.forEach(([stream, data], number) => {
      const offset = (number + 1) * 100;
      const head = Buffer.alloc(9);
      head.writeUInt8(stream === "stderr" ? 2 : 1, 8);
      if (offset > since) frames.push(frame(4, 0, Buffer.alloc(0)), frame(1, offset, Buffer.concat([head, data])));
      if (number === 1 && offset + 1 > since) frames.push(frame(2, offset + 1, Buffer.from("{}")));
    });
    if (query.get("follow") === "true") frames.push(frame(3, 400, Buffer.from("{}")));
    return Buffer.concat(frames);
  }

  #stream(last) {
    if (last === "5:end") return [204, "text/event-stream", Buffer.alloc(0)];
    const events = [["event", { event: "started", seq: 1 }]];
    for (const [stream, data] of OUTPUT) {
      const isText = data[0] !== 0xff;
      events.push([stream, { at: 7, ...(isText ? { text: data.toString() } : { base64: data.toString("base64") }) }]);
    }
    let text = "retry: 1000\n\n:\n\n";
    events.forEach(([name, data], number) => {
      if (number >= Number(last)) text += `id: ${number + 1}\nevent: ${name}\ndata: ${JSON.stringify(data)}\n\n`;
    });
    return [200, "text/event-stream", Buffer.from(`${text}id: 5:end\nevent: end\ndata: [ERROR] exit_code: code 3\n\n`)];
  }
}

let daemons = 0;

async function withDaemon(work) {
  const folder = await mkdtemp(join(tmpdir(), "dauer-node-test-"));
  const path = join(folder, `${++daemons}.sock`);
  const daemon = await Daemon.start({ path });
  try {
    const client = new Dauer({ host: path });
    // A daemon that answered once is waited for.
    const job = await client.job("j1");
    daemon.requests.length = daemon.answerBytes.length = 0;
    return await work(daemon, client, job, path);
  } finally {
    daemon.stop();
    await rm(folder, { recursive: true });
  }
}

const checkEverywhere = (call, check) =>
  cutEverywhere((cuts) =>
    withDaemon(async (daemon, client, job) => {
      daemon.cuts = cuts;
      check(await call(client, job), daemon);
      return daemon;
    }),
  );

async function all(items) {
  const found = [];
  for await (const item of items) found.push(item);
  return found;
}

test("a run makes one job however often it was cut", () =>
  checkEverywhere(
    (client) => client.run(["true"]),
    (job, daemon) => assert.deepEqual([job.id, daemon.jobs.size], ["j1", 1]),
  ));

test("a log is whole wherever it was cut", () =>
  checkEverywhere(
    (_, job) => all(job.logs({ follow: true })),
    (pieces) =>
      assert.deepEqual(
        pieces.map((piece) => [piece.stream, piece.data]),
        OUTPUT,
      ),
  ));

test("a stream is whole wherever it was cut", () =>
  checkEverywhere(
    (_, job) => all(job.stream()),
    (items) => {
      const short = { output: (i) => [i.stream, i.data], event: (i) => ["event", i.name], ended: (i) => [i.outcome, i.reason] };
      const seen = items.map((item) => short[item.kind](item));
      assert.deepEqual(seen, [["event", "started"], ...OUTPUT, ["error", "exit_code: code 3"]]);
    },
  ));

test("the events of all jobs are whole wherever they were cut", () =>
  checkEverywhere(
    async (client) => {
      const seen = [];
      for await (const event of client.events()) if (seen.push(event.data.seq) === 3) break;
      return seen;
    },
    (seen) => assert.deepEqual(seen, [1, 2, 3]),
  ));

test("a stream goes on after an item that was seen", () =>
  withDaemon(async (_, client, job) => {
    const items = await all(job.stream());
    assert.deepEqual(await all(job.stream({ since: items[2].id })), items.slice(3));
    assert.deepEqual(await all(job.stream({ since: items.at(-1).id })), []);
  }));

test("waits and results", async () => {
  await checkEverywhere(
    (_, job) => job.result(),
    (output) => assert.deepEqual(output, { n: 1 }),
  );
  await withDaemon(async (_, client) => {
    await client.run(["a"]);
    const failed = await client.run(["b"]);
    await assert.rejects(failed.result(), (error) => {
      assert.ok(error instanceof JobFailed && error instanceof DauerError);
      assert.deepEqual([error.message, error.result.exit_code], ["job j2 failed: exit_code", 3]);
      return true;
    });
  });
});

test("what may not be done twice is not", () =>
  withDaemon(async (daemon, _, job) => {
    for (const cut of [{ request: 20 }, { answer: 10 }, { answer: 90 }]) {
      daemon.cuts = [cut];
      daemon.requests.length = 0;
      await assert.rejects(job.stop(), Unreachable);
      assert.ok(daemon.requests.length <= 1);
    }
    assert.equal((await job.stop()).state, "running");
  }));

test("a signal is sent once", () =>
  checkEverywhere(
    (_, job) => job.signal("go", { n: 1 }),
    (id, daemon) => assert.deepEqual([id, [...daemon.signals.values()]], ["s1", [["go", { n: 1 }]]]),
  ));

test("jobs come by pages", () =>
  withDaemon(async (daemon, client) => {
    for (const page of [1, 2, 3, 5, 100]) {
      const found = await all(client.jobs({ state: ["running", "failed"], tag: "a:b", page }));
      assert.deepEqual(
        found.map((job) => job.id),
        ["j0", "j1", "j2", "j3", "j4"],
      );
    }
    assert.match(daemon.requests.at(-1).path, /state=running%2Cfailed&tag=a%3Ab/);
  }));

test("a refusal is told with all it has", () =>
  withDaemon(async (daemon, client) => {
    const expected = { name: "Refused", status: 404, code: "not_found", type: "t", instance: "r1" };
    await assert.rejects(client.job("none/../x"), expected);
    assert.equal(daemon.requests.at(-1).path, "/v1/jobs/none%2F..%2Fx");
  }));

test("a limit and a restart are waited for", () =>
  withDaemon(async (daemon, client, job) => {
    daemon.refusals = [[429, { code: "rate_limited" }], [503, {}]];
    assert.equal((await client.job("j1")).id, "j1");
    // A call that may have been done is not repeated after 503, but one that was only too early is.
    daemon.refusals = [[429, { code: "rate_limited" }]];
    assert.equal((await job.stop()).id, "j1");
    daemon.refusals = [[503, { code: "busy" }]];
    await assert.rejects(job.stop(), Refused);
  }));

test("nobody there is told soon with what to do", async () => {
  await assert.rejects(new Dauer({ host: "/nowhere/dauer.sock" }).info(), (error) => {
    assert.ok(error instanceof Unreachable);
    assert.match(error.message, /dauer serve/);
    return true;
  });
});

test("a run sends what was given and nothing else", () =>
  withDaemon(async (daemon, client) => {
    await client.run(["a", "b"], {
      cpus: 0.5,
      memory: "1.5g",
      timeout: "1m",
      runAt: new Date("2027-01-31T09:00:00Z"),
      maxRetries: 2,
      retryDelay: 3000,
      tags: { k: "v" },
    });
    const { idempotency_key: key, ...body } = daemon.requests.at(-1).body;
    assert.ok(key);
    assert.deepEqual(body, {
      argv: ["a", "b"],
      cpu_millis: 500,
      memory_bytes: 3 * 2 ** 29,
      timeout_ms: 60_000,
      run_at: 1_801_386_000_000,
      retry: { max_retries: 2, retry_delay: 3000 },
      tags: { k: "v" },
    });
    await client.run(["a"], {
      retry: { max_retries: 5, jitter: "full", retry_on: { exit_codes: [75] } },
      jobTimeout: "2h",
      queueTimeout: 500,
      queue: "mail",
      concurrencyKey: "customer-7",
      unique: "import",
      after: ["j0", await client.job("j1"), { job: "j2", when: "ended" }],
      parent: "j1",
    });
    const { idempotency_key: another, ...policy } = daemon.requests.at(-1).body;
    assert.ok(another);
    assert.deepEqual(policy, {
      argv: ["a"],
      retry: { max_retries: 5, jitter: "full", retry_on: { exit_codes: [75] } },
      job_timeout: 7_200_000,
      queue_timeout: 500,
      queue: "mail",
      concurrency_key: "customer-7",
      unique: { key: "import" },
      after: [{ job: "j0" }, { job: "j1" }, { job: "j2", when: "ended" }],
      parent: "j1",
    });
    await assert.rejects(client.run(["a"], { retry: { max_retries: 1 }, maxRetries: 2 }), RangeError);
    await client.submit("resize@1.2.0", { w: 1 }, { idempotencyKey: "mine" });
    assert.deepEqual(daemon.requests.at(-1).body, {
      definition_name: "resize",
      definition_version: "1.2.0",
      params: { w: 1 },
      idempotency_key: "mine",
    });
    await assert.rejects(client.run(["a"], { memory: "much" }), RangeError);
  }));

test("a token is sent", () =>
  withDaemon(async (daemon, _, __, path) => {
    await new Dauer({ host: path, token: "secret" }).job("j1");
    assert.equal(daemon.requests.at(-1).headers.authorization, "Bearer secret");
  }));

test("hosts are found where the command line finds them", () => {
  const found = (env, uid = 0) => defaultHost(env, uid).socketPath;
  assert.equal(found({ DAUER_RUN_DIR: "/r", DAUER_DATA_DIR: "/d" }), "/r/dauer.sock");
  assert.equal(found({ DAUER_DATA_DIR: "/d" }), "/d/run/dauer.sock");
  assert.equal(found({ XDG_RUNTIME_DIR: "/x" }), "/run/dauer/dauer.sock");
  assert.equal(found({ XDG_RUNTIME_DIR: "/x" }, 5), "/x/dauer/dauer.sock");
  assert.equal(defaultHost({ DAUER_HOST: "https://h:1" }).url.origin, "https://h:1");
  assert.deepEqual(parseHost("unix:///r/dauer.sock"), parseHost("/r/dauer.sock"));
  for (const wrong of ["", "dauer.sock", "unix://dauer.sock", "tcp://1.2.3.4", "https://h/path"]) {
    assert.throws(() => parseHost(wrong), /unix:\/\/\/path/);
  }
});
