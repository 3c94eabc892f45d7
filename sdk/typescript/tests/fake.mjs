// A runtime API that can cut any connection at any byte, and remembers what was really done.
import { createServer } from "node:net";

export class Fake {
  /** For each connection, in order: after so many bytes of the request or the answer it is cut. */
  cuts = [];
  requests = [];
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
  attempt = 1;
  beforeAnswer = async () => {};
  answerBytes = [];

  static async start() {
    const fake = new Fake();
    fake.server = createServer((socket) => fake.#serve(socket));
    await new Promise((resolve) => fake.server.listen(0, "127.0.0.1", resolve));
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
      if (cut.request !== undefined && data.length >= cut.request) return socket.resetAndDestroy();
      const end = data.indexOf("\r\n\r\n");
      if (end < 0) return;
      const head = data.subarray(0, end).toString();
      const length = Number(/content-length: (\d+)/i.exec(head)?.[1] ?? 0);
      if (data.length < end + 4 + length) return;
      socket.off("data", read);
      const [method, path] = head.split(" ", 2);
      const body = length ? JSON.parse(data.subarray(end + 4).toString()) : undefined;
      await this.beforeAnswer(path);
      this.requests.push({ method, path, body });
      const [status, answer] = this.#route(method, path, body);
      const payload = status === 204 ? "" : JSON.stringify(answer);
      const bytes = Buffer.from(
        `HTTP/1.1 ${status} X\r\ncontent-type: application/json\r\ncontent-length: ${payload.length}\r\n` +
          `connection: close\r\n\r\n${payload}`,
      );
      this.answerBytes.push(bytes.length);
      socket.end(cut.answer === undefined ? bytes : bytes.subarray(0, cut.answer));
    };
    if (cut.request === 0) socket.resetAndDestroy();
    else socket.on("data", read);
  }

  #route(method, path, body) {
    const parts = path.split("/").slice(1).map(decodeURIComponent);
    if (this.refusals[path]) return this.refusals[path];
    if (path.startsWith("/v1/self/checkpoint")) return this.#checkpoint(method, parts, body);
    switch (`${method} ${path}`) {
      case "GET /v1/self":
        return [200, { id: "j", generation: this.generation, attempt: this.attempt }];
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
