import assert from "node:assert/strict";
import { test } from "node:test";
import { formatMoment, formatSpan, fromPicker, toPicker } from "./format";

const MOMENT = Date.UTC(2026, 10, 22, 20, 42, 46, 7);

test("a moment has its milliseconds", () => {
  assert.equal(formatMoment(MOMENT, "utc"), "2026-11-22 20:42:46.007");
  assert.equal(formatMoment(MOMENT, "utc", false), "2026-11-22 20:42:46");
});

test("the picker shows the chosen zone and gives back the same moment", () => {
  assert.equal(toPicker(MOMENT, "utc").format("HH:mm"), "20:42");
  assert.equal(fromPicker(toPicker(MOMENT, "utc"), "utc"), MOMENT);
  assert.equal(fromPicker(toPicker(MOMENT, "local"), "local"), MOMENT);
});

test("a span has at most two units", () => {
  assert.equal(formatSpan(0), "0 s");
  assert.equal(formatSpan(90_000), "1 min 30 s");
  assert.equal(formatSpan(129_600_000), "1 d 12 h");
  assert.equal(formatSpan(86_401_000), "1 d 1 s");
});
