// Servers that can cut any connection at any byte, and remember what was really done.
import { createServer } from "node:net";

/** Answers requests, and cuts connections where it is told. */
export class CuttingServer {
  /** For each connection, in order: after so many bytes of the request or the answer it is cut. */
  cuts = [];
  requests = [];
  answerBytes = [];
  beforeAnswer = async () => {};

  static async start(where = { port: 0, host: "127.0.0.1" }) {
    const fake = new this();
    fake.server = createServer((socket) => fake.#serve(socket));
    await new Promise((resolve) => fake.server.listen(where, resolve));
    fake.url = `http://127.0.0.1:${fake.server.address().port}`;
    return fake;
  }

  stop() {
    this.server.close();
  }

  #serve(socket) {
    const cut = this.cuts.shift() ?? {};
    let data = Buffer.alloc(0);
    socket.on("error", () => {});
    const read = async (piece) => {
      data = Buffer.concat([data, piece]);
      if (cut.request !== undefined && data.length >= cut.request) return socket.destroy();
      const end = data.indexOf("\r\n\r\n");
      if (end < 0) return;
      const [first, ...lines] = data.subarray(0, end).toString().split("\r\n");
      const headers = Object.fromEntries(lines.map((line) => line.split(": ")).map(([name, value]) => [name.toLowerCase(), value]));
      const length = Number(headers["content-length"] ?? 0);
      if (data.length < end + 4 + length) return;
      socket.off("data", read);
      const [method, path] = first.split(" ", 2);
      const body = length ? JSON.parse(data.subarray(end + 4).toString()) : undefined;
      await this.beforeAnswer(path);
      this.requests.push({ method, path, headers, body });
      const [status, mediaType, payload] = this.answer(method, path, headers, body);
      const bytes = Buffer.concat([
        Buffer.from(`HTTP/1.1 ${status} X\r\ncontent-type: ${mediaType}\r\ncontent-length: ${payload.length}\r\n`),
        Buffer.from("connection: close\r\n\r\n"),
        payload,
      ]);
      this.answerBytes.push(bytes.length);
      socket.end(cut.answer === undefined ? bytes : bytes.subarray(0, cut.answer));
    };
    if (cut.request === 0) socket.destroy();
    else socket.on("data", read);
  }
}

export const jsonAnswer = ([status, value]) => [
  status,
  "application/json",
  Buffer.from(status === 204 ? "" : JSON.stringify(value)),
];

/** The same result wherever a connection is cut. */
export async function cutEverywhere(run) {
  const whole = await run([]);
  const cases = [];
  for (let connection = 0; connection < whole.answerBytes.length; connection++) {
    const before = Array(connection).fill({});
    // Longer than every request here.
    for (let at = 0; at <= 400; at++) cases.push([...before, { request: at }]);
    // At the last byte nothing is missing.
    for (let at = 0; at < whole.answerBytes[connection]; at++) cases.push([...before, { answer: at }]);
  }
  const workers = Array.from({ length: 32 }, async () => {
    for (let cuts = cases.pop(); cuts; cuts = cases.pop()) await run(cuts);
  });
  await Promise.all(workers);
}

/** The runtime API of one job. A token is answered as the real thing does: what it names is done once. */
export class Fake extends CuttingServer {
  checkpoints = new Map();
  pollsUntilTaken = 1;
  checkpointStatus = "taken";
  refusals = {};
  locks = new Map();
  locksTaken = 0;
  signals = {};
  bound = new Map();
  pollsUntilTimeout = 1;
  params = null;
  progress = [];
  exits = [];
  generation = 1;
  retries = 0;
  pollsUntilReady = 0;

  answer(method, path, headers, body) {
    return jsonAnswer(this.#route(method, path, body));
  }

  #route(method, path, body) {
    const parts = path.split("/").slice(1).map(decodeURIComponent);
    if (this.refusals[path]) return this.refusals[path];
    if (path.startsWith("/v1/self/checkpoint")) return this.#checkpoint(method, parts, body);
    switch (`${method} ${path}`) {
      case "GET /v1/self":
        return [200, { id: "j", generation: this.generation, retries: this.retries, env: { WARM_TEST: "own" } }];
      case "POST /v1/self/ready":
        return [200, { status: this.pollsUntilReady-- > 0 ? "pending" : "restored", generation: this.generation }];
      case "GET /v1/self/params":
        return [200, this.params];
      case "GET /v1/self/metadata":
        return [200, { job_id: "j", definition_name: null, retry_count: 2, tags: { k: "v" }, new_field: 1 }];
      case "POST /v1/self/locks":
        if (!this.locks.has(body.token)) this.locks.set(body.token, `lock/${++this.locksTaken}`);
        return [201, { lock_id: this.locks.get(body.token) }];
      case "POST /v1/self/signals/wait":
        return this.#wait(body);
      case "POST /v1/self/progress":
        this.progress.push(body);
        return [204];
      case "POST /v1/self/exit":
        this.exits.push(body);
        return [204];
    }
    if (method === "DELETE" && parts[2] === "locks") {
      for (const [token, lock] of this.locks) {
        if (lock === parts[3]) {
          this.locks.delete(token);
          return [204];
        }
      }
      return [404, { code: "not_found", detail: "there is no such lock" }];
    }
    return [404, { code: "not_found", detail: `there is nothing at ${path}` }];
  }

  #checkpoint(method, parts, body) {
    const token = body?.token ?? parts[3];
    if (method === "POST") {
      if (!this.checkpoints.has(token)) this.checkpoints.set(token, this.pollsUntilTaken);
    } else if (!this.checkpoints.has(token)) {
      return [404, { code: "not_found", detail: "no such token" }];
    } else {
      this.checkpoints.set(token, Math.max(0, this.checkpoints.get(token) - 1));
    }
    const status = this.checkpoints.get(token) ? "pending" : this.checkpointStatus;
    const view = { token, status, checkpoint: "c1", message: "no space", generation: this.generation };
    return [method === "POST" ? 202 : 200, view];
  }

  #wait({ token, name, timeout }) {
    if (!this.bound.has(token) && this.signals[name]?.length) this.bound.set(token, this.signals[name].shift());
    if (this.bound.has(token)) return [200, { status: "signalled", name, payload: this.bound.get(token), signal_id: "s" }];
    if (timeout !== undefined && this.pollsUntilTimeout === 0) return [200, { status: "timeout" }];
    this.pollsUntilTimeout--;
    return [200, { status: "pending" }];
  }
}
