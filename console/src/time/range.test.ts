import assert from "node:assert/strict";
import { test } from "node:test";
import { MAX_RANGE_MS, dayAround, rangeProblem, toMoments, toQueryRange } from "./range";

test("a day is allowed, a millisecond more is not", () => {
  assert.equal(rangeProblem({ kind: "fixed", begin: 0, end: MAX_RANGE_MS }), null);
  assert.match(rangeProblem({ kind: "fixed", begin: 0, end: MAX_RANGE_MS + 1 }) ?? "", /At most one day/);
  assert.match(rangeProblem({ kind: "fixed", begin: 1, end: 0 }) ?? "", /before/);
});

test("a range that ends now leaves its end to the server, a whole day both ends", () => {
  assert.deepEqual(toQueryRange({ kind: "last", last: "24h" }), {});
  const { begin, end } = toQueryRange({ kind: "last", last: "15m" });
  assert.equal(end, undefined);
  assert.ok(begin !== undefined && Math.abs(Date.now() - 900_000 - begin) < 60_000);
});

test("moments of a range keep its span", () => {
  const { begin, end } = toMoments({ kind: "last", last: "1h" });
  assert.equal(end - begin, 3_600_000);
  assert.equal(rangeProblem(dayAround(end)), null);
});
