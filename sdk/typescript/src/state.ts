// What this process has to remember for its calls. All of it lies in memory, so it goes back in time with a restore.

import { AsyncLocalStorage } from "node:async_hooks";
import { createHash, randomUUID } from "node:crypto";
import { LockHeld } from "./errors.js";

/**
 * A key of one request. Not from Node's cache of random bytes: that is part of the image, and a restored process would make the
 * same keys again.
 */
export function newToken(): string {
  return randomUUID({ disableEntropyCache: true });
}

const processId = newToken();
const nextTurn = new Map<string, number>();
const givenBack = new Map<string, number[]>();

/**
 * Runs `wait` with the key for the next wait for this signal.
 *
 * Unlike other keys it is made of what is in memory: the n-th wait of a process for a name has the same key again after the process was
 * rolled back, so it gets the signal that it got the first time. A turn that `wait` leaves without an answer, such as when it is
 * aborted, is the next one to be taken: its signal may already be bound to it.
 */
export async function inTurn<T>(name: string, isAnswer: (error: unknown) => boolean, wait: (token: string) => Promise<T>): Promise<T> {
  const free = givenBack.get(name) ?? [];
  givenBack.set(name, free);
  let turn = free.sort((a, b) => a - b).shift();
  if (turn === undefined) {
    turn = nextTurn.get(name) ?? 1;
    nextTurn.set(name, turn + 1);
  }
  // Names differ, so that tasks may take turns for them in another order.
  const ofName = createHash("sha256").update(`${processId} ${name}`).digest("hex").slice(0, 32);
  try {
    return await wait(`${ofName}.${turn}`);
  } catch (error) {
    if (!isAnswer(error)) free.push(turn);
    throw error;
  }
}

/** A lock as long as the function that holds it runs. */
export interface Held {
  held: boolean;
}

const holding = new AsyncLocalStorage<Held[]>();

/** Runs `work` so that a checkpoint within is seen. */
export function whileHolding<T>(lock: Held, work: () => Promise<T>): Promise<T> {
  return holding.run([...(holding.getStore() ?? []), lock], work);
}

/** A checkpoint waits until no lock is held. Whoever holds one itself would wait forever. */
export function checkNoLockHeld(): void {
  if (holding.getStore()?.some((lock) => lock.held)) {
    throw new LockHeld("a checkpoint waits for all locks, and this is inside of one: leave withLock first");
  }
}

let lastGeneration: number | undefined;

/** Remembers the incarnation in which this process was first seen. */
export function noteGeneration(generation: number): void {
  lastGeneration ??= generation;
}

/** Whether the incarnation is another one than at the last call. */
export function generationMoved(generation: number, retries: number): boolean {
  // A job begins with its first incarnation; with which one it began once more is not known here.
  const known = lastGeneration ?? (retries === 0 ? 1 : generation);
  lastGeneration = generation;
  return generation !== known;
}
