// The caller API: runs programs as jobs and follows them.

import { readFileSync } from "node:fs";
import { Caller, defaultHost, newKey, parseHost, type Query } from "./caller.js";
import { type Duration, milliseconds } from "./durations.js";
import { follow, itemOf, Job, type JobEvent, type JobView } from "./jobs.js";

/** What a job is beside its program. What is left away is the daemon's default. */
export interface JobOptions {
  name?: string;
  env?: Record<string, string>;
  workdir?: string;
  driver?: "auto" | "gvisor" | "runc" | "crun" | "native";
  image?: string;
  mounts?: { source: string; target: string; read_only?: boolean }[];
  /** A folder that is copied into the working directory. */
  inject?: string;
  cpus?: number;
  /** Bytes, or text such as `512m`. */
  memory?: number | string;
  /** An attempt may run so long. */
  timeout?: Duration;
  network?: "none" | "nat" | "host";
  publish?: { host_port: number; guest_port: number }[];
  user?: string;
  stopGrace?: Duration;
  /** Any JSON, for `dauer.params()` in the job. */
  params?: unknown;
  metadata?: Record<string, unknown>;
  tags?: Record<string, string>;
  priority?: "low" | "normal" | "high" | "critical";
  maxRetries?: number;
  retryDelay?: Duration;
  /** It does not begin before. */
  runAt?: Date | string;
  delay?: Duration;
  /** The whole policy, in place of `maxRetries` and `retryDelay`. */
  retry?: RetryPolicy;
  /** From when the first attempt begins, over all attempts and the waits between them. */
  jobTimeout?: Duration;
  /** It may wait so long for its turn. */
  queueTimeout?: Duration;
  queue?: string;
  /** Jobs of a queue with the same key share the limits that it has for a key. */
  concurrencyKey?: string;
  /** Of the jobs with one key that have not ended there is one: with a key that another job has, that job is the answer. */
  unique?: string | { key: string; states?: JobView["state"][]; on_conflict?: "existing" | "refuse" };
  /** Jobs that have to complete first; with `when: "ended"`, any end will do. */
  after?: (string | Job | { job: string; when?: "completed" | "ended" })[];
  /** The job it belongs to: it is cancelled with that one where that is asked for. */
  parent?: string | Job;
  /** The same request with the same key gives the same job. Made where absent, so that one request is one job. */
  idempotencyKey?: string;
}

/** What follows a failed attempt. */
export interface RetryPolicy {
  max_retries: number;
  retry_delay?: number | string;
  factor?: number;
  max_delay?: number | string;
  jitter?: "none" | "full";
  retry_on?: { reasons?: string[]; exit_codes?: number[] };
  from?: "start" | "checkpoint";
}

/** A named, versioned template of jobs. */
export interface Definition {
  name: string;
  version: string;
  runtime_type: string;
  config: Record<string, unknown>;
  metadata: Record<string, unknown>;
  [more: string]: unknown;
}

/** A daemon, on this machine by default. */
export class Dauer {
  readonly #caller: Caller;

  /**
   * `host` is `unix:///path/dauer.sock` or `https://host:port` with a `token` of `dauer token create`. Without it: DAUER_HOST and
   * DAUER_TOKEN, else the socket where the command line finds it. `tlsCa`, or DAUER_TLS_CA: trust only the certificates in this PEM file.
   * `patience`: a daemon that is being restarted is waited for so long.
   */
  constructor(options: { host?: string; token?: string; tlsCa?: string; patience?: Duration } = {}) {
    const host = options.host === undefined ? defaultHost() : parseHost(options.host);
    const tlsCa = options.tlsCa ?? process.env["DAUER_TLS_CA"];
    const ca = tlsCa ? readFileSync(tlsCa) : undefined;
    this.#caller = new Caller(host, options.token ?? process.env["DAUER_TOKEN"], milliseconds(options.patience ?? "30s"), ca);
  }

  /** Starts a program as a job. When this resolves, the job is durable; it goes on without this process. */
  async run(argv: string[], options: JobOptions = {}): Promise<Job> {
    return this.#create({ argv, ...bodyOf(options) });
  }

  /** Starts a job of a definition: `resize`, which is its latest version, or `resize@1.2.0`. */
  async submit(definition: string, params?: unknown, options: JobOptions & { argv?: string[] } = {}): Promise<Job> {
    const [name, version] = definition.split("@", 2);
    const { argv, ...rest } = options;
    return this.#create({
      definition_name: name,
      definition_version: version,
      argv,
      ...bodyOf({ ...rest, ...(params === undefined ? {} : { params }) }),
    });
  }

  /** Starts up to 10,000 jobs, all or none: bodies of `POST /v1/jobs`. Resolves to their ids. */
  async batch(jobs: object[]): Promise<string[]> {
    return ((await this.#caller.json("POST", "/v1/jobs:batch", { jobs })) as { job_ids: string[] }).job_ids;
  }

  /** A job by its id, its name, or a beginning of its id that only it has. */
  async job(job: string): Promise<Job> {
    return new Job(this.#caller, (await this.#caller.json("GET", `/v1/jobs/${encodeURIComponent(job)}`)) as JobView);
  }

  /** The jobs in these states with this tag (`team:blue`), newest first, fetched by pages. */
  async *jobs(filter: { state?: JobView["state"] | JobView["state"][]; tag?: string; page?: number } = {}): AsyncGenerator<Job> {
    const query = { state: filter.state === undefined ? undefined : [filter.state].flat().join(","), tag: filter.tag };
    for await (const view of this.#pages("/v1/jobs", "jobs", query, filter.page)) yield new Job(this.#caller, view as JobView);
  }

  /** Registers a definition; `config` has the fields of a job, at least `argv`. The same again changes nothing. */
  async define(
    name: string,
    version: string,
    config: object,
    options: { runtimeType?: string; maxRetries?: number; retryDelay?: Duration; metadata?: Record<string, unknown> } = {},
  ): Promise<Definition> {
    const body = {
      name,
      version,
      config,
      runtime_type: options.runtimeType ?? "auto",
      retry_policy: retryOf(options.maxRetries, options.retryDelay),
      metadata: options.metadata,
    };
    return (await this.#caller.json("POST", "/v1/definitions", body, { repeatable: true })) as Definition;
  }

  /** All definitions, by name, then by version, the highest first. */
  definitions(page?: number): AsyncGenerator<Definition> {
    return this.#pages("/v1/definitions", "definitions", {}, page) as AsyncGenerator<Definition>;
  }

  /** One definition. */
  async definition(name: string, version = "latest"): Promise<Definition> {
    return (await this.#caller.json("GET", definitionPath(name, version))) as Definition;
  }

  /** Removes a definition; jobs made from it live on. */
  async deleteDefinition(name: string, version: string): Promise<void> {
    await this.#caller.json("DELETE", definitionPath(name, version));
  }

  /** What happens to all jobs, from this number of the journal on, and as it comes; it never ends by itself. */
  async *events(after = 0): AsyncGenerator<JobEvent> {
    for await (const event of follow(this.#caller, "/v1/events", String(after))) {
      const item = itemOf(event);
      if (item.kind === "event") yield item;
    }
  }

  /** What the daemon is and which drivers it has. */
  async info(): Promise<Record<string, unknown>> {
    return (await this.#caller.json("GET", "/v1/info")) as Record<string, unknown>;
  }

  async #create(body: object): Promise<Job> {
    return new Job(this.#caller, (await this.#caller.json("POST", "/v1/jobs", body, { repeatable: true })) as JobView);
  }

  async *#pages(path: string, field: string, query: Query, limit = 100): AsyncGenerator<unknown> {
    let cursor: string | undefined;
    do {
      const answer = (await this.#caller.json("GET", path, undefined, { query: { ...query, limit, cursor } })) as Record<string, unknown>;
      yield* answer[field] as unknown[];
      cursor = (answer["next_cursor"] as string | null) ?? undefined;
    } while (cursor !== undefined);
  }
}

/** Fields that are undefined do not get into JSON. */
function bodyOf(options: JobOptions): object {
  const { cpus, memory, timeout, stopGrace, maxRetries, retryDelay, runAt, delay, idempotencyKey, ...others } = options;
  const { retry, jobTimeout, queueTimeout, concurrencyKey, unique, after, parent, ...same } = others;
  const ms = (duration: Duration | undefined): number | undefined => (duration === undefined ? undefined : milliseconds(duration));
  return {
    ...same,
    cpu_millis: cpus === undefined ? undefined : Math.round(cpus * 1000),
    memory_bytes: memory === undefined ? undefined : sizeBytes(memory),
    timeout_ms: ms(timeout),
    stop_grace_ms: ms(stopGrace),
    retry: retryOf(maxRetries, retryDelay, retry),
    run_at: runAt instanceof Date ? runAt.getTime() : runAt,
    delay: ms(delay),
    job_timeout: ms(jobTimeout),
    queue_timeout: ms(queueTimeout),
    concurrency_key: concurrencyKey,
    unique: typeof unique === "string" ? { key: unique } : unique,
    after: after?.map((one) => (typeof one === "string" || one instanceof Job ? { job: idOf(one) } : one)),
    parent: parent === undefined ? undefined : idOf(parent),
    idempotency_key: idempotencyKey ?? newKey(),
  };
}

function idOf(job: string | Job): string {
  return typeof job === "string" ? job : job.id;
}

function retryOf(maxRetries: number | undefined, delay: Duration | undefined, policy?: RetryPolicy): object | undefined {
  if (policy !== undefined) {
    if (maxRetries !== undefined || delay !== undefined) {
      throw new RangeError("retry is the whole policy: maxRetries and retryDelay go into it");
    }
    return policy;
  }
  if (maxRetries === undefined) {
    if (delay !== undefined) throw new RangeError("retryDelay needs maxRetries");
    return undefined;
  }
  return { max_retries: maxRetries, retry_delay: delay === undefined ? undefined : milliseconds(delay) };
}

/** `512m`, `2g`, `1024`: powers of 1024. */
function sizeBytes(size: number | string): number {
  if (typeof size === "number") return size;
  const [, number, unit] = /^(\d+(?:\.\d+)?)\s*([bkmgt]?)(?:i?b)?$/.exec(size.trim().toLowerCase()) ?? [];
  if (number === undefined) throw new RangeError(`${JSON.stringify(size)} is not a size: write for example 512m or 2g`);
  const power = "kmgt".indexOf(unit || "-") + 1;
  return Math.round(Number(number) * 1024 ** power);
}

function definitionPath(name: string, version: string): string {
  return `/v1/definitions/${encodeURIComponent(name)}/${encodeURIComponent(version)}`;
}
