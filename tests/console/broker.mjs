// Real clients for the console's test: Debian's mosquitto_pub and mosquitto_sub, and the broker's REST API.
import assert from "node:assert/strict";
import { execFile, spawn } from "node:child_process";
import { once } from "node:events";
import { readFileSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";

function setting(name) {
  const value = process.env[name];
  assert.ok(value, `${name} must be set: see the head of console.test.mjs`);
  return value;
}

export function readBroker() {
  const [host, port] = setting("TRACEMQ_MQTT").split(/:(?=\d+$)/);
  return {
    url: setting("TRACEMQ_URL").replace(/\/$/, ""),
    bootstrap: JSON.parse(readFileSync(setting("TRACEMQ_BOOTSTRAP"), "utf8")),
    mqtt: ["-h", host, "-p", port],
  };
}

function credentials(bootstrap, password = bootstrap.mqtt_password) {
  return ["-u", bootstrap.mqtt_username, "-P", password];
}

/** Connects, publishes one message, sends DISCONNECT. Resolves with the exit status. */
function publish(broker, clientId, password) {
  const args = [...broker.mqtt, ...credentials(broker.bootstrap, password), "-i", clientId, "-t", "demo/console", "-m", "1"];
  return new Promise((resolve) => {
    execFile("mosquitto_pub", args, { timeout: 60_000 }, (error) => resolve(error === null ? 0 : (error.code ?? 1)));
  });
}

export async function connectAndDisconnect(broker, clientId) {
  assert.equal(await publish(broker, clientId), 0, "mosquitto_pub connects with the bootstrap user");
}

export async function connectWithWrongPassword(broker, clientId) {
  assert.notEqual(await publish(broker, clientId, "not the password"), 0, "a wrong password is refused");
}

/** A client that stays. Resolves once it is subscribed; `stop()` lets it send DISCONNECT. */
export async function stayConnected(broker, clientId) {
  const args = [...broker.mqtt, ...credentials(broker.bootstrap), "-i", clientId, "-t", "demo/never", "-d"];
  const child = spawn("stdbuf", ["-oL", "mosquitto_sub", ...args], { stdio: ["ignore", "pipe", "inherit"] });
  const exited = once(child, "exit");
  for await (const chunk of child.stdout) {
    if (String(chunk).includes("SUBACK")) {
      break;
    }
  }
  return {
    async stop() {
      child.kill("SIGTERM");
      await exited;
    },
  };
}

/** Waits until the device has at least that many records: they become visible some milliseconds after they happened. */
export async function waitForRecords(broker, clientId, count) {
  const { instance_id: instance, api_token: token } = broker.bootstrap;
  const path = `/api/v1/instances/${instance}/devices/${encodeURIComponent(clientId)}/trace`;
  for (let tries = 0; tries < 1200; tries++) {
    const response = await fetch(broker.url + path, { headers: { Authorization: `Bearer ${token}` } });
    assert.equal(response.status, 200, `GET ${path}`);
    if ((await response.json()).total >= count) {
      return;
    }
    await sleep(50);
  }
  assert.fail(`${clientId} has fewer than ${count} records after a minute`);
}
