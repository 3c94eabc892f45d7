// One request to the runtime API, repeated until it has a whole answer: a freeze can cut any of them at any byte.

import { NotManaged, Refused, NotUnderstood, Unreachable } from "./errors.js";

/** A long poll is answered within 20 s. This is for an answer that will never come. */
const ANSWER_MS = 60_000;

/**
 * A request that failed is made again until so much was spent on failures in a row. What is added up are the pauses, not what a clock
 * says: clocks jump over a freeze, and the first failure after one must not be the last.
 */
const PATIENCE_MS = 60_000;
const TIMED_OUT_MS = 20_000;
const PAUSE_FIRST_MS = 20;
const PAUSE_MAX_MS = 1000;

/** What the relay and a daemon that is being restarted answer for a while. */
const PASSING = [429, 502, 503, 504];

/** A whole answer. `value` is its JSON; undefined where it has none. */
export interface Reply {
  status: number;
  text: string;
  value: unknown;
}

/** Where the runtime API is; undefined outside of Dauer. */
export function apiAddress(): string | undefined {
  const api = process.env["DAUER_API"];
  return api ? api.replace(/\/+$/, "") : undefined;
}

/** The same for calls without a meaning outside of Dauer. */
export function neededApi(): string {
  const api = apiAddress();
  if (api === undefined) {
    throw new NotManaged("not managed by dauer: DAUER_API is not set; start the program with: dauer run -- PROGRAM");
  }
  return api;
}

/** Repeats the request until it has a whole answer, whatever that says. */
export async function answered(
  api: string,
  method: string,
  path: string,
  body?: unknown,
  signal?: AbortSignal,
): Promise<Reply> {
  let spent = 0;
  let pause = PAUSE_FIRST_MS;
  for (;;) {
    signal?.throwIfAborted();
    let reply: Reply | undefined;
    let error: unknown;
    try {
      reply = await request(api, method, path, body, signal);
    } catch (cause) {
      signal?.throwIfAborted();
      error = cause;
      if (cause instanceof TimedOut) spent += TIMED_OUT_MS;
    }
    if (reply !== undefined && !PASSING.includes(reply.status)) return reply;
    if (spent >= PATIENCE_MS) {
      if (reply !== undefined) throw Refused.of(reply.status, reply.text);
      throw new Unreachable(`no answer from the runtime API: ${reason(error)}`, { cause: error });
    }
    await delay(pause, signal);
    spent += pause;
    pause = Math.min(pause * 2, PAUSE_MAX_MS);
  }
}

async function request(
  api: string,
  method: string,
  path: string,
  body: unknown,
  signal: AbortSignal | undefined,
): Promise<Reply> {
  const stop = new AbortController();
  const timer = setTimeout(() => stop.abort(new TimedOut(`no answer in ${ANSWER_MS} ms`)), ANSWER_MS);
  const abort = (): void => stop.abort(signal?.reason);
  signal?.addEventListener("abort", abort, { once: true });
  try {
    const response = await fetch(api + path, {
      method,
      headers: { "content-type": "application/json" },
      signal: stop.signal,
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
    });
    // Throws where the body is shorter than announced.
    const text = await response.text();
    const value: unknown = response.status === 204 ? undefined : JSON.parse(text);
    return { status: response.status, text, value };
  } finally {
    clearTimeout(timer);
    signal?.removeEventListener("abort", abort);
  }
}

class TimedOut extends Error {}

/** Fetch says only "fetch failed"; its cause knows more. */
function reason(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  return error.cause instanceof Error ? error.cause.message || error.message : error.message;
}

/** Resolves after so long, rejects when aborted. */
export function delay(ms: number, signal?: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    const aborted = (): void => {
      clearTimeout(timer);
      reject(signal?.reason as Error);
    };
    // Longer ones than a timer can be are made of several.
    const step = Math.min(ms, 2 ** 31 - 1);
    const timer = setTimeout(() => {
      signal?.removeEventListener("abort", aborted);
      resolve(ms > step ? delay(ms - step, signal) : undefined);
    }, step);
    signal?.addEventListener("abort", aborted, { once: true });
  });
}

/** The answer, if it is one of success. */
export function accepted(reply: Reply): unknown {
  if (reply.status >= 200 && reply.status < 300) return reply.value;
  throw Refused.of(reply.status, reply.text);
}

/** The same, which must be an object. */
export function object(reply: Reply): Record<string, unknown> {
  const value = accepted(reply);
  if (typeof value === "object" && value !== null && !Array.isArray(value)) return value as Record<string, unknown>;
  throw new NotUnderstood(`the runtime API answered ${reply.text.slice(0, 100)} where an object was expected`);
}
