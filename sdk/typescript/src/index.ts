/**
 * Dauer for Node: checkpoint, suspend and resume a plain program from within, and run programs from outside.
 *
 * @example
 * import * as dauer from "dauer";
 *
 * const plan = await think();                         // runs once, also if the machine is switched off at the next line
 * await dauer.checkpoint();
 * await act(plan);
 * const answer = await dauer.waitSignal("answer");    // suspended: no process, no memory
 * await dauer.exit({ answer });
 *
 * @module
 */

export { Dauer, type Definition, type JobOptions, type RetryPolicy } from "./client.js";
export type { Duration } from "./durations.js";
export {
  CheckpointFailed,
  DauerError,
  LockHeld,
  NotManaged,
  NotUnderstood,
  type Problem,
  Refused,
  SignalTimeout,
  Unreachable,
} from "./errors.js";
export {
  type Checkpoint,
  checkpoint,
  exit,
  Lock,
  lock,
  managed,
  type Metadata,
  metadata,
  params,
  progress,
  type Ready,
  ready,
  restored,
  sleep,
  type WaitOptions,
  waitSignal,
  withLock,
} from "./job.js";
export {
  type Ended,
  type Executed,
  Job,
  type JobEvent,
  JobFailed,
  type JobView,
  type Output,
  type Result,
} from "./jobs.js";
