// A job as its owner sees it: waits, output, freezing, ending.

import type { Duplex } from "node:stream";
import type { Ask, Caller } from "./caller.js";
import { newKey, Pauses, whole } from "./caller.js";
import { type Duration, milliseconds } from "./durations.js";
import { DauerError, NotUnderstood, Refused } from "./errors.js";
import { execKind, frame, logKind, readFrames } from "./frames.js";
import { type ServerEvent, serverEvents } from "./sse.js";

/** A followed stream says something at least every 15 seconds; after this long the connection is dead. */
const SILENCE_MS = 50_000;

const ENDED = ["completed", "failed", "cancelled"];

/** Before the bytes of an output frame: time, stream number. */
const OUTPUT_HEAD_BYTES = 9;
const STDERR = 2;

/** What the daemon says of a job. */
export interface JobView {
  id: string;
  name: string | null;
  state: "pending" | "running" | "suspended" | "pending_retry" | "completed" | "failed" | "cancelled";
  operation: string | null;
  attempt: number;
  generation: number;
  checkpoint: string | null;
  exit_code: number | null;
  signal: number | null;
  reason: string | null;
  message: string | null;
  [more: string]: unknown;
}

/** How a job ended. */
export interface Result<T = unknown> {
  job_id: string;
  state: "completed" | "failed" | "cancelled";
  exit_code: number | null;
  signal: number | null;
  /** Why it failed, for programs: `exit_code`, `signal`, `timeout`, `out_of_memory`, `lost` … */
  reason: string | null;
  message: string | null;
  /** What the job gave to `dauer.exit`. */
  output: T;
}

/** A job whose result was asked for did not complete; `result` says how it ended. */
export class JobFailed extends DauerError {
  readonly result: Result;

  constructor(result: Result) {
    const why = result.message ?? result.reason ?? `exit code ${result.exit_code}`;
    super(`job ${result.job_id} ${result.state}: ${why}`);
    this.result = result;
  }
}

/** A piece of what a job wrote. */
export interface Output {
  kind: "output";
  /** What goes to a terminal is `stdout`. */
  stream: "stdout" | "stderr";
  data: Uint8Array;
  /** When it was written, in milliseconds since the epoch. */
  at: number;
  /** The place after it: `since` of another look. */
  id: string;
}

/** An entry of a job's journal, or a place in its output where some may repeat. */
export interface JobEvent {
  kind: "event";
  /** `started`, `exited`, `marker` … */
  name: string;
  data: Record<string, unknown>;
  id: string;
}

/** The last thing of a stream. */
export interface Ended {
  kind: "ended";
  outcome: "done" | "error" | "cancelled";
  reason?: string;
  id: string;
}

/** What came of a program that was run beside a job. */
export interface Executed {
  code: number;
  stdout: Uint8Array;
  stderr: Uint8Array;
}

/** A job. `view` is what was last heard of it; {@link Job.refresh} asks again. */
export class Job {
  readonly #caller: Caller;
  view: JobView;

  /** @internal */
  constructor(caller: Caller, view: JobView) {
    this.#caller = caller;
    this.view = view;
  }

  get id(): string {
    return this.view.id;
  }

  get name(): string | null {
    return this.view.name;
  }

  /** As of {@link Job.view}. */
  get state(): JobView["state"] {
    return this.view.state;
  }

  /** Asks for its present state. */
  async refresh(): Promise<this> {
    this.view = (await this.#ask("GET", "")) as JobView;
    return this;
  }

  /** Resolves when it has ended, however that was. A daemon that is restarted meanwhile is waited for. */
  async wait<T = unknown>(options: { signal?: AbortSignal } = {}): Promise<Result<T>> {
    for (;;) {
      const answer = await this.#ask("GET", "/result", undefined, { query: { wait: true }, signal: options.signal });
      if (ENDED.includes(String(answer["state"]))) return answer as unknown as Result<T>;
    }
  }

  /** Waits and resolves to what the job gave to `dauer.exit`. Rejects with {@link JobFailed} where it did not complete. */
  async result<T = unknown>(options: { signal?: AbortSignal } = {}): Promise<T> {
    const result = await this.wait<T>(options);
    if (result.state !== "completed") throw new JobFailed(result);
    return result.output;
  }

  /**
   * What it wrote, from this place in its log; with `follow` until it has ended. Connections that break are made again: nothing is
   * lost, nothing comes twice.
   */
  async *logs(options: { follow?: boolean; since?: string | number } = {}): AsyncGenerator<Output> {
    const follow = options.follow ?? false;
    let since = options.since ?? 0;
    const pauses = new Pauses(this.#caller.patienceMs);
    for (;;) {
      let broken: unknown = new Error("it ended early");
      try {
        const response = await opened(this.#caller, { path: this.#path("/logs"), query: { follow, since } });
        for await (const { kind, id, payload } of readFrames(response)) {
          pauses.reset();
          if (kind === logKind.end) return;
          if (kind === logKind.keepalive) continue;
          since = id;
          if (kind !== logKind.output) continue;
          const stream = payload.readUInt8(8) === STDERR ? "stderr" : "stdout";
          const at = Number(payload.readBigInt64LE(0));
          yield { kind: "output", stream, data: payload.subarray(OUTPUT_HEAD_BYTES), at, id: String(id) };
        }
        if (!follow && response.complete) return;
      } catch (error) {
        if (error instanceof Refused) throw error;
        broken = error;
      }
      if (!(await pauses.again())) throw this.#caller.lost(broken);
    }
  }

  /** Its standard output so far, as text. */
  async output(): Promise<string> {
    const pieces: Uint8Array[] = [];
    for await (const piece of this.logs()) if (piece.stream === "stdout") pieces.push(piece.data);
    return Buffer.concat(pieces).toString();
  }

  /**
   * Output and events as they come, from its beginning or after the item with this id; the last one is of kind `ended`. Connections that
   * break are made again where they broke: nothing is lost, nothing comes twice.
   */
  async *stream(options: { since?: string } = {}): AsyncGenerator<Output | JobEvent | Ended> {
    for await (const event of follow(this.#caller, this.#path("/stream"), options.since)) {
      const item = itemOf(event);
      yield item;
      if (item.kind === "ended") return;
    }
  }

  /** Takes a checkpoint; resolves when it is on disk. The job goes on. */
  checkpoint(): Promise<Record<string, unknown>> {
    return this.#ask("POST", "/checkpoint", {});
  }

  /** Takes a checkpoint and lets the job sleep: for so long, or until it is resumed. */
  async suspend(duration?: Duration): Promise<Record<string, unknown>> {
    return this.#ask("POST", "/suspend", duration === undefined ? {} : { for_ms: milliseconds(duration) });
  }

  /** Wakes it; resolves when it runs. */
  resume(): Promise<this> {
    return this.#act("/resume", {});
  }

  /** TERM, a grace, KILL; resolves when it has ended. */
  async stop(grace?: Duration): Promise<this> {
    return this.#act("/stop", grace === undefined ? {} : { grace_ms: milliseconds(grace) });
  }

  /** The same, for a job that may not have begun; with `children`, resolves when all jobs below it have ended, too. */
  async cancel(grace?: Duration, options: { children?: boolean } = {}): Promise<this> {
    return this.#act("/cancel", { grace_ms: grace === undefined ? undefined : milliseconds(grace), children: options.children });
  }

  /** Delivers a signal of the operating system; 9 ends the job. */
  kill(signal = 9): Promise<this> {
    return this.#act("/kill", { signal });
  }

  /** Begins a job that has failed once more. */
  retry(): Promise<this> {
    return this.#act("/retry", {});
  }

  /** Sends it a signal for `dauer.waitSignal(name)`, which wakes it. Resolves to the signal's id. */
  async signal(name: string, payload: unknown = null): Promise<string> {
    // The daemon sends a signal with a token it knows no second time.
    const body = { name, payload, token: newKey() };
    return String((await this.#ask("POST", "/signal", body, { repeatable: true }))["signal_id"]);
  }

  /** Removes the record and all data of an ended job; a living one only with `force`. */
  async delete(options: { force?: boolean } = {}): Promise<void> {
    await this.#caller.json("DELETE", this.#path(""), undefined, { query: { remove: true, force: options.force ?? false } });
  }

  /** Its journal so far. */
  async events(after = 0): Promise<Record<string, unknown>[]> {
    const ask = { method: "GET", path: this.#path("/events"), query: { after }, repeatable: true };
    const lines = (await this.#caller.bytes(ask)).toString().split("\n");
    return lines.filter((line) => line !== "").map((line) => JSON.parse(line) as Record<string, unknown>);
  }

  /** The checkpoints there are, oldest first. */
  async checkpoints(): Promise<Record<string, unknown>[]> {
    return (await this.#caller.json("GET", this.#path("/checkpoints"))) as Record<string, unknown>[];
  }

  /** A file or folder of the job as a tar. */
  readTar(path: string): Promise<Uint8Array> {
    return this.#caller.bytes({ method: "GET", path: this.#path("/files"), query: { path }, repeatable: true });
  }

  /** Unpacks a tar into a folder of the job. */
  async writeTar(path: string, tar: Uint8Array): Promise<void> {
    await this.#caller.bytes({ method: "PUT", path: this.#path("/files"), query: { path }, body: Buffer.from(tar), repeatable: true });
  }

  /** Runs another program beside the job, to its end. */
  async exec(
    argv: string[],
    options: { input?: Uint8Array | string; env?: Record<string, string>; workdir?: string; user?: string } = {},
  ): Promise<Executed> {
    const { input, ...rest } = options;
    const { socket, head } = await this.#caller.upgrade({
      method: "POST",
      path: this.#path("/exec"),
      body: JSON.stringify({ argv, stdin: input !== undefined, ...rest }),
      headers: { connection: "upgrade", upgrade: "dauer-exec" },
    });
    socket.unshift(head);
    try {
      if (input !== undefined) feed(socket, Buffer.from(input));
      return await executed(socket);
    } catch (error) {
      throw this.#caller.lost(error);
    } finally {
      socket.destroy();
    }
  }

  #path(rest: string): string {
    return `/v1/jobs/${encodeURIComponent(this.id)}${rest}`;
  }

  async #ask(method: string, rest: string, body?: unknown, ask: Partial<Ask> = {}): Promise<Record<string, unknown>> {
    const answer = await this.#caller.json(method, this.#path(rest), body, ask);
    if (typeof answer === "object" && answer !== null) return answer as Record<string, unknown>;
    throw new NotUnderstood(`${this.#caller.name} answered ${String(answer)} where an object was expected`);
  }

  async #act(rest: string, body: unknown): Promise<this> {
    this.view = (await this.#ask("POST", rest, body)) as JobView;
    return this;
  }
}

/** The events of a stream after this one. Connections that break are made again where they broke. */
export async function* follow(caller: Caller, path: string, since: string | undefined): AsyncGenerator<ServerEvent> {
  const pauses = new Pauses(caller.patienceMs);
  for (;;) {
    let broken: unknown = new Error("it ended early");
    try {
      const headers = { accept: "text/event-stream", ...(since === undefined ? {} : { "last-event-id": since }) };
      const response = await opened(caller, { path, headers });
      // The end was sent already, so there is nothing after it.
      if (response.statusCode === 204) return;
      for await (const event of serverEvents(response)) {
        pauses.reset();
        since = event.id;
        yield event;
      }
    } catch (error) {
      if (error instanceof Refused) throw error;
      broken = error;
    }
    if (!(await pauses.again())) throw caller.lost(broken);
  }
}

/** The head of an answer that is read as it comes. */
async function opened(caller: Caller, ask: Omit<Ask, "method">): ReturnType<Caller["open"]> {
  const response = await caller.open({ method: "GET", silenceMs: SILENCE_MS, ...ask });
  const status = response.statusCode ?? 0;
  if (status >= 300) throw Refused.of(status, (await whole(response)).toString());
  return response;
}

/** What one event of a stream says. */
export function itemOf({ name, data, id }: ServerEvent): Output | JobEvent | Ended {
  if (name === "end") {
    const [, outcome = "", reason = ""] = /^\[(\w+)\] ?(.*)$/s.exec(data) ?? [];
    return { kind: "ended", outcome: outcome.toLowerCase() as Ended["outcome"], ...(reason ? { reason } : {}), id };
  }
  const value = JSON.parse(data) as Record<string, unknown>;
  if (name === "stdout" || name === "stderr") {
    const bytes = typeof value["text"] === "string" ? Buffer.from(value["text"]) : Buffer.from(String(value["base64"]), "base64");
    return { kind: "output", stream: name, data: bytes, at: Number(value["at"]), id };
  }
  return { kind: "event", name: name === "event" ? String(value["event"]) : name, data: value, id };
}

function feed(socket: Duplex, input: Buffer): void {
  // The program may end without reading all of it; how it ended is read on the other side.
  socket.on("error", () => {});
  for (let at = 0; at < input.length; at += 64 << 10) socket.write(frame(execKind.input, input.subarray(at, at + (64 << 10))));
  socket.write(frame(execKind.input, Buffer.alloc(0)));
}

async function executed(socket: Duplex): Promise<Executed> {
  const streams: Record<number, Buffer[]> = { 1: [], 2: [] };
  for await (const { kind, id, payload } of readFrames(socket)) {
    if (kind === execKind.output) {
      (streams[id] ??= []).push(payload);
    } else if (kind === execKind.exited || kind === execKind.failed) {
      const end = JSON.parse(payload.toString()) as { code?: number; signal?: number; message?: string };
      if (kind === execKind.failed) streams[2]?.push(Buffer.from(end.message ?? ""));
      const code = end.code ?? 128 + (end.signal ?? 0);
      return { code, stdout: Buffer.concat(streams[1] ?? []), stderr: Buffer.concat(streams[2] ?? []) };
    }
  }
  throw new Error("it was cut before the program ended");
}
