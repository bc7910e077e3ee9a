import assert from "node:assert/strict";
import { test } from "node:test";
import { flattenEvidence } from "./evidence";

test("the leaves of the evidence become rows, in order", () => {
  const rows = flattenEvidence({ keepalive: { asked: 60, granted: 90 }, causes: [1, "a", null], list: [{ x: true }], none: null });
  assert.deepEqual(
    rows.map(({ key, value }) => [key, value]),
    [
      ["keepalive.asked", 60],
      ["keepalive.granted", 90],
      ["causes", "1, a, null"],
      ["list[0].x", true],
      ["none", null],
    ],
  );
});

test("only a number that can be a moment is one", () => {
  const [alive, count, age] = flattenEvidence({ lastAlive: 1_700_000_000_000, bytes: 1_700_000_000_000, ageTime: 12 });
  assert.deepEqual([alive?.isTime, count?.isTime, age?.isTime], [true, false, false]);
});

test("no evidence is an empty list", () => {
  assert.deepEqual(flattenEvidence(null), []);
  assert.deepEqual(flattenEvidence({}), []);
});
