import assert from "node:assert/strict";
import { test } from "node:test";
import { joinClientId, splitClientId } from "./clientId";

test("a client ID with @@@ has a group", () => {
  assert.deepEqual(splitClientId("GID_a@@@b"), { group: "GID_a", device: "b" });
  assert.deepEqual(splitClientId("GID_a@@@b@@@c"), { group: "GID_a", device: "b@@@c" });
});

test("any other client ID is a device without a group", () => {
  for (const clientId of ["plain", "a/b@c", "@@@x", "a@@b"]) {
    assert.deepEqual(splitClientId(clientId), { group: "", device: clientId });
  }
});

test("joining undoes splitting", () => {
  for (const clientId of ["plain", "GID_a@@@b", "GID_a@@@b@@@c", "@@@x", "a@@@"]) {
    assert.equal(joinClientId(splitClientId(clientId)), clientId);
  }
});
