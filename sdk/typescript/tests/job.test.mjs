// The calls of a job against a runtime API that cuts connections wherever it can.
import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { milliseconds } from "../dist/durations.js";
import * as dauer from "../dist/index.js";
import { cutEverywhere, Fake } from "./fake.mjs";

/** Begins a call as the job of this fake. */
function as(fake, call) {
  process.env.DAUER_API = fake.url;
  const begun = call();
  delete process.env.DAUER_API;
  return begun;
}

async function withFake(work) {
  const fake = await Fake.start();
  try {
    return await work(fake, (call) => as(fake, call));
  } finally {
    fake.stop();
  }
}

const bodies = (fake, path) => fake.requests.filter((request) => request.path === path).map((request) => request.body);

/** The same result wherever a connection is cut, and done once. */
const checkEverywhere = (prepare, call, check) =>
  cutEverywhere((cuts) =>
    withFake(async (fake, within) => {
      fake.cuts = cuts;
      prepare(fake);
      check(await within(call), fake);
      return fake;
    }),
  );

test("a checkpoint is asked for under one token", () =>
  checkEverywhere(
    () => {},
    () => dauer.checkpoint(),
    (result, fake) => {
      assert.deepEqual([result.status, result.restored, result.generation, result.id], ["taken", false, 1, "c1"]);
      assert.deepEqual([...fake.checkpoints.keys()], [result.token]);
    },
  ));

test("a lock is taken once and left", () =>
  checkEverywhere(
    () => {},
    () => dauer.withLock(async () => "held"),
    (result, fake) => assert.deepEqual([result, fake.locksTaken, fake.locks.size], ["held", 1, 0]),
  ));

test("who is ready is told so and gets what is its own", () =>
  checkEverywhere(
    (fake) => {
      fake.pollsUntilReady = 1;
      delete process.env.WARM_TEST;
    },
    () => dauer.ready(),
    (result) => {
      assert.deepEqual([result.status, result.restored, result.generation], ["restored", true, 1]);
      assert.deepEqual([process.env.WARM_TEST, process.env.DAUER_JOB_ID], ["own", "j"]);
    },
  ));

test("a signal is handed out once", () =>
  checkEverywhere(
    (fake) => (fake.signals = { go: [{ n: 1 }, { n: 2 }] }),
    () => dauer.waitSignal("go"),
    (result, fake) => assert.deepEqual([result, fake.signals.go], [{ n: 1 }, [{ n: 2 }]]),
  ));

test("params are whole", () =>
  checkEverywhere(
    (fake) => (fake.params = 123456789),
    () => dauer.params(),
    (result) => assert.equal(result, 123456789),
  ));

test("durations arrive as milliseconds, and wrong ones not at all", () =>
  withFake(async (fake, within) => {
    for (const suspend of [4000, "4s", "0.5s3500ms"]) await within(() => dauer.checkpoint({ suspend }));
    await within(() => dauer.checkpoint({ suspend: 0 }));
    assert.deepEqual(
      bodies(fake, "/v1/self/checkpoint").map((body) => body.suspend),
      ["4000ms", "4000ms", "4000ms", "0ms"],
    );
    assert.equal(milliseconds("4.1s"), 4100);
    const before = fake.requests.length;
    for (const wrong of [-1, "4", "soon", "", NaN, "4 s", "1e9s"]) {
      await assert.rejects(within(() => dauer.checkpoint({ suspend: wrong })), RangeError, String(wrong));
      await assert.rejects(within(() => dauer.sleep(wrong)), RangeError);
    }
    assert.equal(fake.requests.length, before);
  }));

test("a restored process hears that it is one", () =>
  withFake(async (fake, within) => {
    Object.assign(fake, { checkpointStatus: "restored", generation: 2 });
    const result = await within(() => dauer.checkpoint());
    assert.deepEqual([result.status, result.restored, result.generation], ["restored", true, 2]);
  }));

test("a failed checkpoint is an error with the reason", () =>
  withFake(async (fake, within) => {
    fake.checkpointStatus = "failed";
    await assert.rejects(within(() => dauer.checkpoint()), (error) => {
      assert.ok(error instanceof dauer.CheckpointFailed && error instanceof dauer.DauerError);
      assert.match(error.message, /no space/);
      return true;
    });
  }));

test("a refusal has code, status and detail", () =>
  withFake(async (fake, within) => {
    fake.refusals["/v1/self/checkpoint"] = [422, { code: "unsupported", detail: "native cannot", type: "t" }];
    await assert.rejects(within(() => dauer.checkpoint()), {
      name: "Refused",
      status: 422,
      code: "unsupported",
      detail: "native cannot",
      type: "t",
    });
  }));

test("a token that was forgotten is asked with again", () =>
  withFake(async (fake, within) => {
    fake.pollsUntilTaken = 2;
    let forgotten = false;
    fake.beforeAnswer = async (path) => {
      if (path === "/v1/self/checkpoint" || forgotten) return;
      forgotten = true;
      fake.checkpoints.clear();
    };
    assert.equal((await within(() => dauer.checkpoint())).status, "taken");
    assert.equal(bodies(fake, "/v1/self/checkpoint").length, 2);
  }));

test("a daemon that restarts is waited for", () =>
  withFake(async (fake, within) => {
    const answers = [503, 502];
    fake.beforeAnswer = async (path) => {
      const status = answers.pop();
      if (status) fake.refusals[path] = [status, {}];
      else fake.refusals = {};
    };
    assert.equal((await within(() => dauer.checkpoint())).status, "taken");
    assert.ok(fake.requests.length >= 4);
  }));

test("a checkpoint inside of a lock is an error and no deadlock", () =>
  withFake(async (fake, within) => {
    await within(() =>
      dauer.withLock(async () => {
        await assert.rejects(within(() => dauer.checkpoint()), dauer.LockHeld);
        await assert.rejects(within(() => dauer.waitSignal("go")), dauer.LockHeld);
      }),
    );
    assert.equal((await within(() => dauer.checkpoint())).status, "taken");
    await within(() => dauer.withLock(async () => within(() => dauer.checkpoint()), { ttl: "10s" }));
    assert.equal(fake.locks.size, 0);
  }));

test("a lock is left when the work fails, and one that ended by itself is left in peace", () =>
  withFake(async (fake, within) => {
    const failing = within(() =>
      dauer.withLock(async () => {
        throw new Error("mine");
      }),
    );
    await assert.rejects(failing, /mine/);
    assert.equal(fake.locks.size, 0);
    await within(() => dauer.withLock(async () => fake.locks.clear(), { ttl: 1000 }));
    assert.equal(bodies(fake, "/v1/self/locks").at(-1).ttl, "1000ms");
  }));

test("where nothing can be frozen it only waits", () =>
  withFake(async (fake, within) => {
    fake.refusals["/v1/self/checkpoint"] = [422, { code: "unsupported", detail: "native cannot" }];
    const before = Date.now();
    await within(() => dauer.sleep(50));
    assert.ok(Date.now() - before >= 49);
    fake.refusals["/v1/self/checkpoint"] = [409, { code: "conflict", detail: "the job is ending" }];
    await assert.rejects(within(() => dauer.sleep(50)), dauer.Refused);

    const wait = "/v1/self/signals/wait";
    fake.signals = { go: [1] };
    fake.refusals[wait] = [422, { code: "unsupported", detail: "native cannot" }];
    fake.beforeAnswer = async () => {
      if (bodies(fake, wait).length) delete fake.refusals[wait];
    };
    assert.equal(await within(() => dauer.waitSignal("go")), 1);
    assert.deepEqual(
      bodies(fake, wait).map((body) => body.suspend),
      [true, false],
    );
  }));

test("a signal that does not come is an error of its own", () =>
  withFake(async (fake, within) => {
    await assert.rejects(within(() => dauer.waitSignal("go", { timeout: "1s" })), dauer.SignalTimeout);
    // Pending, then timeout, under one key; the next wait has another.
    fake.signals = { go: ["x"] };
    assert.equal(await within(() => dauer.waitSignal("go")), "x");
    const tokens = bodies(fake, "/v1/self/signals/wait").map((body) => body.token);
    assert.deepEqual([tokens.length, tokens[0] === tokens[1], tokens[1] === tokens[2]], [3, true, false]);
  }));

test("a wait that was aborted is taken up by the next", () =>
  withFake(async (fake, within) => {
    fake.signals = { taken: ["first", "second"] };
    const stop = new AbortController();
    let answer;
    const held = new Promise((resolve) => (answer = resolve));
    const asked = new Promise((resolve) => {
      // The signal is bound to the wait, and the wait is aborted before it hears of it.
      fake.beforeAnswer = () => (resolve(), held);
    });
    const waiting = within(() => dauer.waitSignal("taken", { abort: stop.signal }));
    await asked;
    stop.abort();
    await assert.rejects(waiting, { name: "AbortError" });
    fake.beforeAnswer = async () => {};
    answer();
    assert.equal(await within(() => dauer.waitSignal("taken")), "first");
    assert.equal(await within(() => dauer.waitSignal("taken")), "second");
  }));

test("params, metadata, progress", () =>
  withFake(async (fake, within) => {
    assert.equal(await within(() => dauer.params()), null);
    fake.params = { n: 2 };
    assert.deepEqual(await within(() => dauer.params()), { n: 2 });
    const expected = { jobId: "j", retryCount: 2, metadata: {}, tags: { k: "v" } };
    assert.deepEqual(await within(() => dauer.metadata()), expected);
    await within(() => dauer.progress(3, 10, "reading"));
    assert.deepEqual(fake.progress, [{ done: 3, total: 10, message: "reading" }]);
  }));

function script(source, env = {}) {
  const index = fileURLToPath(new URL("../dist/index.js", import.meta.url));
  const clean = Object.fromEntries(Object.entries(process.env).filter(([name]) => !name.startsWith("DAUER_")));
  const words = ["--input-type=module", "-e", `import * as dauer from ${JSON.stringify(index)};\n${source}`];
  return new Promise((resolve) => {
    execFile(process.execPath, words, { env: { ...clean, ...env } }, (error, stdout, stderr) =>
      resolve([error ? error.code : 0, stdout, stderr]),
    );
  });
}

test("restored is told once for each thaw", async () => {
  const look = `console.log(await dauer.restored());`;
  for (const [retries, generation, expected] of [[0, 1, false], [0, 2, true], [1, 4, false]]) {
    await withFake(async (fake) => {
      Object.assign(fake, { retries, generation });
      const thawed = fake;
      let asked = 0;
      fake.beforeAnswer = async () => {
        if (++asked === 3) thawed.generation++;
      };
      const result = await script(look.repeat(4), { DAUER_API: fake.url });
      assert.deepEqual(result, [0, `${expected}\nfalse\ntrue\nfalse\n`, ""]);
    });
  }
});

test("an exit tells its output and ends the process", () =>
  withFake(async (fake) => {
    const source = `console.log("before"); await dauer.exit({ a: [1] }, 3); console.log("after");`;
    assert.deepEqual(await script(source, { DAUER_API: fake.url }), [3, "before\n", ""]);
    assert.deepEqual(fake.exits, [{ exit_code: 3, output: { a: [1] } }]);
    fake.refusals["/v1/self/exit"] = [413, { code: "too_large", detail: "at most 1 MiB" }];
    const caught = `await dauer.exit("x").catch((error) => console.log(error.code));`;
    assert.deepEqual(await script(caught, { DAUER_API: fake.url }), [0, "too_large\n", ""]);
  }));

test("a script runs plainly outside of Dauer", async () => {
  const source = `
    if (dauer.managed()) throw new Error("managed");
    console.log((await dauer.checkpoint({ suspend: "3d" })).status);
    await dauer.sleep(1);
    await dauer.progress(1);
    console.log(await dauer.withLock(async () => (await dauer.checkpoint()).status));
    console.log(await dauer.params(), JSON.stringify(await dauer.metadata()), await dauer.restored());
    await dauer.waitSignal("go").catch((error) => console.log(error.name));
    await dauer.exit({ x: 1 }, 4);`;
  const expected = 'not_managed\nnot_managed\nnull {"retryCount":0,"metadata":{},"tags":{}} false\nNotManaged\n';
  assert.deepEqual(await script(source), [4, expected, ""]);
});
