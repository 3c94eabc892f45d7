// The calls of a job.

import { type Duration, durationText, milliseconds } from "./durations.js";
import { CheckpointFailed, NotUnderstood, Refused, SignalTimeout } from "./errors.js";
import { accepted, answered, apiAddress, delay, neededApi, object } from "./runtime.js";
import { checkNoLockHeld, generationMoved, type Held, inTurn, newToken, noteGeneration, whileHolding } from "./state.js";

/** A key that the daemon does not know is asked with again so often. */
const UNKNOWN_MAX = 20;

/** The codes by which a sandbox that cannot be frozen refuses. */
const CANNOT_FREEZE = ["unsupported", "cannot_freeze"];

/** What became of a checkpoint. */
export interface Checkpoint {
  /** `taken`: this process asked. `restored`: this process came out of it. `not_managed`: this is no job of Dauer. */
  status: "taken" | "restored" | "not_managed";
  /** It came out of the image: connections to the outside are gone. */
  restored: boolean;
  /** The incarnation that goes on; 0 outside of Dauer. */
  generation: number;
  /** The checkpoint's id. */
  id?: string;
  /** The key it was asked for with. */
  token?: string;
}

/** Where a program goes on that said that it was ready. */
export interface Ready {
  /**
   * `taken`: later jobs of the definition begin here. `restored`: this is one of those. `cold`: nothing was kept. `not_managed`: this is
   * no job of Dauer.
   */
  status: "taken" | "restored" | "cold" | "not_managed";
  /** It began here, with the memory of another job: connections to the outside are gone. */
  restored: boolean;
  /** The incarnation that goes on; 0 outside of Dauer. */
  generation: number;
  /** Why it is `cold`. */
  message?: string;
}

/** Who this job is. */
export interface Metadata {
  jobId?: string;
  definitionName?: string;
  definitionVersion?: string;
  retryCount: number;
  lastCheckpointAtMs?: number;
  metadata: Record<string, unknown>;
  tags: Record<string, string>;
}

/** Whether this process runs as a job of Dauer. */
export function managed(): boolean {
  return apiAddress() !== undefined;
}

/**
 * Keeps this moment: memory, files, everything that is awaited. Resolves once it is on disk, and again in each process that comes out
 * of it. With `suspend` the job then sleeps for so long at no cost: no process, no memory.
 *
 * Rejects with {@link CheckpointFailed} where none could be taken (the job goes on), with {@link Refused} where it was not accepted.
 */
export async function checkpoint(options: { suspend?: Duration } = {}): Promise<Checkpoint> {
  const body = options.suspend === undefined ? {} : { suspend: durationText(options.suspend) };
  const api = apiAddress();
  if (api === undefined) return { status: "not_managed", restored: false, generation: 0 };
  checkNoLockHeld();
  const token = newToken();
  const view = await outcome(api, token, { ...body, token });
  const status = view["status"];
  if (status === "failed") {
    throw new CheckpointFailed(`no checkpoint was taken: ${String(view["message"] ?? "no reason was given")}`);
  }
  if (status !== "taken" && status !== "restored") {
    throw new NotUnderstood(`the runtime API answered the checkpoint status ${String(status)}`);
  }
  const generation = Number(view["generation"] ?? 0);
  if (status === "taken") noteGeneration(generation);
  const id = view["checkpoint"];
  return { status, restored: status === "restored", generation, token, ...(typeof id === "string" ? { id } : {}) };
}

/** Asks under this key until the checkpoint is no longer pending. */
async function outcome(api: string, token: string, body: object): Promise<Record<string, unknown>> {
  for (let unknown = 0; ; unknown++) {
    let view = object(await answered(api, "POST", "/v1/self/checkpoint", body));
    while (view["status"] === "pending") {
      const reply = await answered(api, "GET", `/v1/self/checkpoint/${encodeURIComponent(token)}`);
      // The request was answered, but never written down.
      if (reply.status === 404 && unknown < UNKNOWN_MAX) break;
      view = object(reply);
    }
    if (view["status"] !== "pending") return view;
    await delay(20 * unknown);
  }
}

/**
 * Everything that jobs of this definition have in common is done: modules, models, caches.
 *
 * Where the definition says `warm`, the first job is frozen here and goes on; every later one begins here, in the memory of that one. So
 * what comes after is each job's own: {@link params}, files and connections to open. What the job adds to the environment is in
 * `process.env` from here on, and `DAUER_JOB_ID` is its own. It does not reject where no state can be kept.
 */
export async function ready(): Promise<Ready> {
  const api = apiAddress();
  if (api === undefined) return { status: "not_managed", restored: false, generation: 0 };
  let view: Record<string, unknown>;
  do {
    view = object(await answered(api, "POST", "/v1/self/ready", {}));
  } while (view["status"] === "pending");
  const status = view["status"];
  if (status !== "taken" && status !== "restored" && status !== "cold") {
    throw new NotUnderstood(`the runtime API answered the status ${String(status)} to a program that is ready`);
  }
  const self = object(await answered(api, "GET", "/v1/self"));
  Object.assign(process.env, self["env"] ?? {}, { DAUER_JOB_ID: String(self["id"]) });
  const generation = Number(view["generation"] ?? 0);
  if (status !== "restored") noteGeneration(generation);
  const message = view["message"];
  return { status, restored: status === "restored", generation, ...(typeof message === "string" ? { message } : {}) };
}

/**
 * Sleeps, suspended: the job has no process and no memory meanwhile. Somebody who resumes the job ends the sleep. Where the job cannot
 * be frozen, and outside of Dauer, it only waits. A freeze and a thaw take about half a second.
 */
export async function sleep(duration: Duration): Promise<void> {
  const ms = milliseconds(duration);
  // The wall clock is right after a thaw, the monotonic one need not be.
  const until = Date.now() + ms;
  try {
    if (managed()) {
      await checkpoint({ suspend: ms });
      return;
    }
  } catch (error) {
    const cannot = error instanceof CheckpointFailed || (error instanceof Refused && CANNOT_FREEZE.includes(error.code));
    if (!cannot) throw error;
  }
  await delay(Math.max(0, until - Date.now()));
}

/** While it is held no checkpoint is taken: for work with the outside that must be done whole. */
export class Lock implements Held {
  readonly #api: string;
  #id: string | undefined;

  private constructor(api: string, id: string | undefined) {
    this.#api = api;
    this.#id = id;
  }

  /** As {@link lock}. */
  static async take(ttl?: Duration): Promise<Lock> {
    const body = ttl === undefined ? {} : { ttl: durationText(ttl) };
    const api = apiAddress();
    if (api === undefined) return new Lock("", undefined);
    const id = object(await answered(api, "POST", "/v1/self/locks", { ...body, token: newToken() }))["lock_id"];
    if (typeof id !== "string") throw new NotUnderstood("the runtime API gave a lock without an id");
    return new Lock(api, id);
  }

  /** Whether it was not released yet. */
  get held(): boolean {
    return this.#id !== undefined;
  }

  /** Lets it go; harmless where it is not held. */
  async release(): Promise<void> {
    const id = this.#id;
    this.#id = undefined;
    if (id === undefined) return;
    const reply = await answered(this.#api, "DELETE", `/v1/self/locks/${encodeURIComponent(id)}`);
    // Gone already: released by a try whose answer was lost, or by its time to live.
    if (reply.status !== 404) accepted(reply);
  }
}

/** Takes a lock, which ends by itself after `ttl`, and with the attempt of the job in any case. */
export function lock(ttl?: Duration): Promise<Lock> {
  return Lock.take(ttl);
}

/** Runs `work` while no checkpoint is taken; whoever asks for one waits. */
export async function withLock<T>(work: () => Promise<T>, options: { ttl?: Duration } = {}): Promise<T> {
  const taken = await Lock.take(options.ttl);
  try {
    return options.ttl === undefined ? await whileHolding(taken, work) : await work();
  } finally {
    await taken.release();
  }
}

/** What the job was started with (`--params`); null where nothing was given, and outside of Dauer. */
export async function params<T = unknown>(): Promise<T | null> {
  const api = apiAddress();
  if (api === undefined) return null;
  return (accepted(await answered(api, "GET", "/v1/self/params")) ?? null) as T | null;
}

/** Who this job is; empty outside of Dauer. */
export async function metadata(): Promise<Metadata> {
  const api = apiAddress();
  const view = api === undefined ? {} : object(await answered(api, "GET", "/v1/self/metadata"));
  const text = (name: string, key: string): object => (typeof view[key] === "string" ? { [name]: view[key] } : {});
  return {
    ...text("jobId", "job_id"),
    ...text("definitionName", "definition_name"),
    ...text("definitionVersion", "definition_version"),
    retryCount: Number(view["retry_count"] ?? 0),
    ...(view["last_checkpoint_at_ms"] == null ? {} : { lastCheckpointAtMs: Number(view["last_checkpoint_at_ms"]) }),
    metadata: (view["metadata"] ?? {}) as Record<string, unknown>,
    tags: (view["tags"] ?? {}) as Record<string, string>,
  };
}

/** Tells how far it is, for `dauer ps` and those who follow the job. */
export async function progress(done: number, total?: number, message?: string): Promise<void> {
  const api = apiAddress();
  if (api === undefined) return;
  const body = { done, total: total ?? null, message: message ?? null };
  accepted(await answered(api, "POST", "/v1/self/progress", body));
}

/** How to wait for a signal. */
export interface WaitOptions {
  /** After so long it rejects with {@link SignalTimeout}. */
  timeout?: Duration;
  /** Default true: the job is suspended meanwhile, where it can be frozen. */
  suspend?: boolean;
  /** Ends the wait; the next one for this name takes it up. */
  abort?: AbortSignal;
}

/**
 * Waits for `dauer signal JOB NAME [JSON]` and resolves to its payload. One that was sent before is there at once. A signal is
 * handed out once; after a rollback to an earlier checkpoint the same wait gets the same signal again.
 *
 * Rejects with {@link SignalTimeout}; with NotManaged outside of Dauer, for there nobody can send one.
 */
export async function waitSignal<T = unknown>(name: string, options: WaitOptions = {}): Promise<T> {
  const timeout = options.timeout === undefined ? {} : { timeout: durationText(options.timeout) };
  const api = neededApi();
  let suspend = options.suspend ?? true;
  if (suspend) checkNoLockHeld();
  const isAnswer = (error: unknown): boolean => error instanceof SignalTimeout;
  return inTurn(name, isAnswer, async (token) => {
    for (;;) {
      const body = { name, token, suspend, ...timeout };
      const reply = await answered(api, "POST", "/v1/self/signals/wait", body, options.abort);
      if (suspend && reply.status >= 400 && [...CANNOT_FREEZE, "failed"].includes(Refused.of(reply.status, reply.text).code)) {
        // Waiting is what was asked for; to sleep meanwhile only saves memory.
        suspend = false;
        continue;
      }
      const view = object(reply);
      const status = view["status"];
      if (status === "signalled") return view["payload"] as T;
      if (status === "timeout") throw new SignalTimeout(`the signal ${JSON.stringify(name)} did not come in time`);
      if (status !== "pending") throw new NotUnderstood(`the runtime API answered the signal status ${String(status)}`);
    }
  });
}

/** Whether the process was thawed or restored since this was last asked. Then connections to the outside are gone. */
export async function restored(): Promise<boolean> {
  const api = apiAddress();
  if (api === undefined) return false;
  const view = object(await answered(api, "GET", "/v1/self"));
  return generationMoved(Number(view["generation"] ?? 0), Number(view["retries"] ?? 0));
}

/**
 * Ends the job with this result, any JSON up to 1 MiB; `dauer result JOB` prints it. Outside of Dauer it only exits. Rejects with
 * {@link Refused} and goes on where the result is too long.
 */
export async function exit(output: unknown = null, code = 0): Promise<never> {
  const api = apiAddress();
  if (api !== undefined) accepted(await answered(api, "POST", "/v1/self/exit", { exit_code: code, output }));
  process.exit(code);
}
