import assert from "node:assert/strict";
import { test } from "node:test";
import { criteriaOf, searchOf, type TraceCriteria } from "./criteria";

test("an address repeats the search", () => {
  const searches: TraceCriteria[] = [
    { group: "GID_a", device: "x/y@z &=", range: { kind: "last", last: "1h" }, order: "asc" },
    { group: "", device: "plain", range: { kind: "fixed", begin: 1000, end: 2000 }, order: "desc" },
  ];
  for (const criteria of searches) {
    assert.deepEqual(criteriaOf(searchOf(criteria)), criteria);
  }
});

test("an address without or with broken times means the last day", () => {
  for (const search of ["", "device=a&begin=x&end=2", "device=a&begin=1", "last=7d"]) {
    assert.deepEqual(criteriaOf(search).range, { kind: "last", last: "24h" });
    assert.equal(criteriaOf(search).order, "desc");
  }
});
