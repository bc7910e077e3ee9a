// The time range of a trace query: one of three that end now, or two fixed moments. At most one day, as the server has it.
import { serverNow } from "../api/clock";
import { formatSpan } from "./format";

export const MAX_RANGE_MS = 86_400_000;

export type Last = "15m" | "1h" | "24h";
export type TraceRange = { kind: "last"; last: Last } | { kind: "fixed"; begin: number; end: number };

export const LASTS: ReadonlyArray<{ last: Last; label: string; ms: number }> = [
  { last: "15m", label: "Last 15 min", ms: 900_000 },
  { last: "1h", label: "Last 1 h", ms: 3_600_000 },
  { last: "24h", label: "Last 24 h", ms: MAX_RANGE_MS },
];

export const DEFAULT_RANGE: TraceRange = { kind: "last", last: "24h" };

function spanOf(last: Last): number {
  return LASTS.find((entry) => entry.last === last)?.ms ?? MAX_RANGE_MS;
}

export function isLast(text: string | null): text is Last {
  return LASTS.some((entry) => entry.last === text);
}

/**
 * What to ask the server. A range that ends now leaves its end to the server's clock; a whole day leaves both ends
 * to it, because a begin computed here would be more than a day before the end computed there.
 */
export function toQueryRange(range: TraceRange): { begin?: number; end?: number } {
  if (range.kind === "fixed") {
    return { begin: range.begin, end: range.end };
  }
  const span = spanOf(range.last);
  return span >= MAX_RANGE_MS ? {} : { begin: serverNow() - span };
}

/** The moments a range means at this moment, to start a fixed range from it. */
export function toMoments(range: TraceRange): { begin: number; end: number } {
  if (range.kind === "fixed") {
    return { begin: range.begin, end: range.end };
  }
  const end = serverNow();
  return { begin: end - spanOf(range.last), end };
}

/** Why the server would refuse the range, or null. */
export function rangeProblem(range: TraceRange): string | null {
  if (range.kind === "last") {
    return null;
  }
  const span = range.end - range.begin;
  if (span < 0) {
    return "The end is before the beginning.";
  }
  return span > MAX_RANGE_MS ? `At most one day (24 h) can be searched at once; this range is ${formatSpan(span)}.` : null;
}

/** One day around a moment, to look at what happened there. */
export function dayAround(moment: number): TraceRange {
  return { kind: "fixed", begin: moment - MAX_RANGE_MS / 2, end: moment + MAX_RANGE_MS / 2 };
}
