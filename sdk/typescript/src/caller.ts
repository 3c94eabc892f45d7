// Requests to a daemon's caller API: where it listens, one connection a request, what may be made again.

import { randomUUID } from "node:crypto";
import { type ClientRequest, type IncomingMessage, request as httpRequest, type RequestOptions } from "node:http";
import { request as httpsRequest } from "node:https";
import { isAbsolute, join, resolve } from "node:path";
import type { Duplex } from "node:stream";
import { NotUnderstood, Refused, Unreachable } from "./errors.js";
import { delay } from "./runtime.js";

const PAUSE_FIRST_MS = 20;
const PAUSE_MAX_MS = 500;

/** A daemon that never answered this client is waited for so long. */
const STRANGER_MS = 2000;

/** The address of a daemon: a unix socket, or a url. */
export type Host = { socketPath: string } | { url: URL };

/** Reads `unix:///path/dauer.sock`, an absolute path, `http://host:port` or `https://host:port`. */
export function parseHost(text: string): Host {
  const path = text.startsWith("unix://") ? text.slice("unix://".length) : text;
  if (isAbsolute(path)) return { socketPath: path };
  if (/^https?:\/\/[^/]+\/?$/.test(text)) return { url: new URL(text) };
  throw new RangeError(
    `not a host: ${JSON.stringify(text)}; use unix:///path/dauer.sock, an absolute path or https://host:port`,
  );
}

/** Where the command line looks, but for its settings file: DAUER_HOST, DAUER_RUN_DIR, DAUER_DATA_DIR, this user's. */
export function defaultHost(env: NodeJS.ProcessEnv = process.env, uid = process.geteuid?.() ?? 0): Host {
  if (env["DAUER_HOST"]) return parseHost(env["DAUER_HOST"]);
  let run = env["DAUER_RUN_DIR"];
  if (!run && env["DAUER_DATA_DIR"]) run = join(env["DAUER_DATA_DIR"], "run");
  if (!run && uid === 0) run = "/run/dauer";
  if (!run) run = env["XDG_RUNTIME_DIR"] ? join(env["XDG_RUNTIME_DIR"], "dauer") : `/tmp/dauer-${uid}`;
  return { socketPath: join(resolve(run), "dauer.sock") };
}

/** Values that are undefined are left away. */
export type Query = Record<string, string | number | boolean | undefined>;

/** A request. */
export interface Ask {
  method: string;
  path: string;
  body?: Buffer | string;
  query?: Query;
  headers?: Record<string, string>;
  /** It may be made again although it may have arrived. */
  repeatable?: boolean;
  /** Milliseconds without a byte, after which the connection is dead. */
  silenceMs?: number;
  signal?: AbortSignal | undefined;
}

/** Asks one daemon, with a connection for each request. */
export class Caller {
  readonly #host: Host;
  readonly #token: string | undefined;
  readonly #ca: Buffer | undefined;
  readonly patienceMs: number;
  #answered = false;

  constructor(host: Host, token: string | undefined, patienceMs: number, ca?: Buffer) {
    this.#ca = ca;
    this.#host = host;
    this.#token = token;
    this.patienceMs = patienceMs;
  }

  /** For people. */
  get name(): string {
    return "url" in this.#host ? this.#host.url.origin : `unix://${this.#host.socketPath}`;
  }

  /** The JSON of the answer; undefined where it has none. */
  async json(method: string, path: string, body?: unknown, options: Partial<Ask> = {}): Promise<unknown> {
    const answer = await this.bytes({
      method,
      path,
      repeatable: method === "GET",
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
      ...options,
    });
    if (answer.length === 0) return undefined;
    try {
      return JSON.parse(answer.toString());
    } catch {
      throw new NotUnderstood(`${this.name} answered no JSON: ${answer.toString().slice(0, 100)}`);
    }
  }

  /** The whole body of the answer. A request that cannot have arrived, or may be made twice, is made again. */
  async bytes(ask: Ask): Promise<Buffer> {
    const pauses = new Pauses(this.patienceMs);
    for (;;) {
      try {
        const response = await this.open(ask);
        const body = await whole(response);
        const status = response.statusCode ?? 0;
        if (status < 300) return body;
        const refusal = Refused.of(status, body.toString());
        const passes = status === 429 || (ask.repeatable === true && [502, 503, 504].includes(status));
        if (!passes || !(await pauses.again())) throw refusal;
      } catch (error) {
        if (error instanceof Refused || ask.signal?.aborted) throw error;
        const arrivedNot = error instanceof Unreachable;
        // A daemon that never was there will hardly come; one that just died is started again by whoever comes first.
        const patience = arrivedNot && !this.#answered ? STRANGER_MS : this.patienceMs;
        const repeatable = arrivedNot || ask.repeatable === true;
        if (!repeatable || !(await pauses.again(patience))) throw this.lost(error);
      }
    }
  }

  /** Sends a request and resolves to the answer's head. Rejects with {@link Unreachable} where nobody listens. */
  open(ask: Ask): Promise<IncomingMessage> {
    return new Promise((resolveHead, reject) => {
      const request = this.#begin(ask);
      request.once("response", (response) => {
        this.#answered = true;
        resolveHead(response);
      });
      request.on("error", (error: NodeJS.ErrnoException) => {
        const absent = ["ECONNREFUSED", "ENOENT", "ENOTFOUND", "EHOSTUNREACH"].includes(error.code ?? "");
        const hint = "url" in this.#host ? "" : "; start it with: dauer serve";
        const text = `no daemon answers at ${this.name}: ${error.message}${hint}`;
        reject(absent ? new Unreachable(text, { cause: error }) : error);
      });
      request.end(ask.body);
    });
  }

  /** The same for an answer that upgrades the connection; any other is a refusal. */
  upgrade(ask: Ask): Promise<{ socket: Duplex; head: Buffer }> {
    return new Promise((resolveUpgrade, reject) => {
      const request = this.#begin(ask);
      request.once("upgrade", (_, socket, head) => resolveUpgrade({ socket, head }));
      request.once("response", (response) => {
        whole(response).then((body) => reject(Refused.of(response.statusCode ?? 0, body.toString())), reject);
      });
      request.on("error", (error) => reject(this.lost(error)));
      request.end(ask.body);
    });
  }

  /** A broken connection as an error of this package. */
  lost(error: unknown): Error {
    if (error instanceof Unreachable) return error;
    const why = error instanceof Error ? error.message : String(error);
    return new Unreachable(`the connection to ${this.name} was cut (${why})`, { cause: error });
  }

  #begin(ask: Ask): ClientRequest {
    const given = Object.entries(ask.query ?? {}).filter(([, value]) => value !== undefined);
    const query = new URLSearchParams(given.map(([name, value]): [string, string] => [name, String(value)])).toString();
    const path = ask.path + (query === "" ? "" : `?${query}`);
    const headers: Record<string, string> = { "content-type": "application/json", connection: "close", ...ask.headers };
    if (this.#token !== undefined) headers["authorization"] = `Bearer ${this.#token}`;
    if (ask.body !== undefined) headers["content-length"] = String(Buffer.byteLength(ask.body));
    const options: RequestOptions = { method: ask.method, path, headers, agent: false };
    if (ask.signal) options.signal = ask.signal;
    let request: ClientRequest;
    if ("socketPath" in this.#host) {
      request = httpRequest({ ...options, host: "dauer", socketPath: this.#host.socketPath });
    } else {
      const { hostname, port, protocol } = this.#host.url;
      const where = { ...options, hostname: hostname.replace(/^\[|\]$/g, ""), port };
      request = protocol === "https:" ? httpsRequest(this.#ca ? { ...where, ca: this.#ca } : where) : httpRequest(where);
    }
    if (ask.silenceMs !== undefined) {
      const silence = ask.silenceMs;
      request.setTimeout(silence, () => request.destroy(new Error(`nothing came for ${silence} ms`)));
    }
    return request;
  }
}

/** A key that makes a request repeatable. */
export function newKey(): string {
  return randomUUID();
}

/** The whole body; rejects where it was cut. */
export async function whole(response: IncomingMessage): Promise<Buffer> {
  const pieces: Buffer[] = [];
  for await (const piece of response) pieces.push(piece as Buffer);
  if (!response.complete) throw new Error("the answer was cut");
  return Buffer.concat(pieces);
}

/** Pauses between tries, until so long was paused in a row. */
export class Pauses {
  readonly #patienceMs: number;
  #spent = 0;
  #pause = PAUSE_FIRST_MS;

  constructor(patienceMs: number) {
    this.#patienceMs = patienceMs;
  }

  /** There was an answer. */
  reset(): void {
    this.#spent = 0;
    this.#pause = PAUSE_FIRST_MS;
  }

  /** Pauses; false where patience, or this smaller one, is at its end. */
  async again(patienceMs = this.#patienceMs): Promise<boolean> {
    if (this.#spent >= Math.min(this.#patienceMs, patienceMs)) return false;
    await delay(this.#pause);
    this.#spent += this.#pause;
    this.#pause = Math.min(this.#pause * 2, PAUSE_MAX_MS);
    return true;
  }
}
