// What can go wrong, by what the caller can do next. Everything is a DauerError.

/** The base of all errors of this package. */
export class DauerError extends Error {
  constructor(message: string, options?: { cause?: unknown }) {
    super(message, options);
    this.name = new.target.name;
  }
}

/** Nothing answered, also after many tries. */
export class Unreachable extends DauerError {}

/** This process is no job of Dauer, and the call has no meaning without one. */
export class NotManaged extends DauerError {}

/** The answer is none this version understands: SDK and daemon are of different versions. */
export class NotUnderstood extends DauerError {}

/** No checkpoint was taken; the job goes on without it. */
export class CheckpointFailed extends DauerError {}

/** A checkpoint inside of `withLock` would wait for that lock, and so forever. */
export class LockHeld extends DauerError {}

/** The signal did not come in time. */
export class SignalTimeout extends DauerError {}

/** RFC 9457, as the daemon sends it. */
export interface Problem {
  status?: number;
  code?: string;
  title?: string;
  detail?: string;
  type?: string;
  instance?: string;
}

/** The daemon said no. `code` is for programs and stays the same over versions, `detail` is for people. */
export class Refused extends DauerError {
  readonly status: number;
  readonly code: string;
  readonly detail: string;
  /** The page about this code. */
  readonly type: string | undefined;
  /** The id of the request, as the daemon's log has it. */
  readonly instance: string | undefined;

  constructor(status: number, problem: Problem) {
    const code = problem.code ?? "unknown";
    const detail = problem.detail ?? problem.title ?? `the daemon answered ${status}`;
    super(`${detail} (${code})`);
    this.status = status;
    this.code = code;
    this.detail = detail;
    this.type = problem.type;
    this.instance = problem.instance;
  }

  /** Reads problem+json; anything else becomes the detail. */
  static of(status: number, body: string): Refused {
    let problem: unknown;
    try {
      problem = JSON.parse(body);
    } catch {
      problem = undefined;
    }
    if (typeof problem === "object" && problem !== null) return new Refused(status, problem);
    return new Refused(status, body.trim() === "" ? {} : { detail: body.trim() });
  }
}
