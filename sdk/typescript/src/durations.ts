// Durations as people give them.

/** Milliseconds, or text such as `500ms`, `4s`, `1h30m`, `3d`. */
export type Duration = number | string;

const MS: Record<string, number> = { ms: 1, s: 1e3, m: 60e3, h: 3600e3, d: 86_400e3, w: 604_800e3 };
const PART = /(\d+(?:\.\d*)?|\.\d+)(ms|[smhdw])/g;
const WHOLE = /^(?:(?:\d+(?:\.\d*)?|\.\d+)(?:ms|[smhdw]))+$/;

/** The duration in whole milliseconds, rounded up: never shorter than asked for. Throws `RangeError` for one that is none. */
export function milliseconds(duration: Duration): number {
  let total = 0;
  if (typeof duration === "number") {
    total = duration;
  } else {
    const text = duration.trim();
    if (!WHOLE.test(text)) {
      throw new RangeError(`${JSON.stringify(duration)} is not a duration: write for example 500ms, 10s, 5m, 1h30m or 3d`);
    }
    for (const [, number, unit] of text.matchAll(PART)) total += Number(number) * (MS[unit ?? ""] ?? NaN);
  }
  if (!Number.isFinite(total) || total < 0) {
    throw new RangeError(`${String(duration)} is not a duration: it has to be finite and not negative`);
  }
  // Binary fractions such as 4.1 s must not become one more.
  return Math.ceil(Number(total.toFixed(6)));
}

/** The same as the runtime API reads it. */
export function durationText(duration: Duration): string {
  return `${milliseconds(duration)}ms`;
}
