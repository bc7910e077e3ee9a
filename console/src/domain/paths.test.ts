import assert from "node:assert/strict";
import { test } from "node:test";
import { paths, safeNext } from "./paths";

test("after log in one stays on this site", () => {
  assert.equal(safeNext("/instances/a?x=1"), "/instances/a?x=1");
  for (const next of [null, "", "https://evil.example", "//evil.example", "/\\evil.example", "/login?next=/x"]) {
    assert.equal(safeNext(next), "/instances");
  }
});

test("an instance ID is one segment", () => {
  assert.equal(paths.instance("a/b"), "/instances/a%2Fb");
});
