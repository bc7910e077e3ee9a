// MQTT.js at the end of a pipe: one JSON request a line on stdin, one JSON answer or event a line on stdout.
// tests/harness/clients.py has the other end. Payloads and binary properties are base64.
import { createInterface } from "node:readline";
import { readFileSync } from "node:fs";
import mqtt from "mqtt";

const clients = new Map();

const say = (line) => process.stdout.write(JSON.stringify(line) + "\n");
const bytes = (text) => Buffer.from(text, "base64");

function propertiesIn(given) {
  const properties = { ...given };
  if (properties.correlationData !== undefined) properties.correlationData = bytes(properties.correlationData);
  return properties;
}

function propertiesOut(packet) {
  const properties = { ...packet.properties };
  if (properties.correlationData) properties.correlationData = properties.correlationData.toString("base64");
  return properties;
}

function connect({ id, url, ca, options }) {
  const all = { ...options, reconnectPeriod: 0, connectTimeout: 20000 };
  if (ca) all.ca = readFileSync(ca);
  if (all.will) all.will.payload = bytes(all.will.payload);
  return new Promise((done, fail) => {
    const client = mqtt.connect(url, all);
    clients.set(id, client);
    client.on("connect", (connack) => done({ present: connack.sessionPresent, properties: propertiesOut(connack) }));
    client.on("error", fail);
    client.on("close", () => say({ id, event: "close" }));
    client.on("message", (topic, payload, packet) =>
      say({
        id,
        event: "message",
        topic,
        payload: payload.toString("base64"),
        qos: packet.qos,
        retain: packet.retain,
        dup: packet.dup,
        properties: propertiesOut(packet),
      }),
    );
  });
}

const requests = {
  connect,
  subscribe: async ({ id, filter, options }) => {
    const granted = await clients.get(id).subscribeAsync(filter, options);
    return { codes: granted.map((g) => g.qos) };
  },
  publish: async ({ id, topic, payload, options }) => {
    await clients.get(id).publishAsync(topic, bytes(payload), { ...options, properties: propertiesIn(options.properties) });
    return {};
  },
  end: async ({ id }) => {
    await clients.get(id).endAsync();
    return {};
  },
  drop: async ({ id }) => {
    clients.get(id).stream.destroy();
    return {};
  },
};

createInterface({ input: process.stdin }).on("line", async (line) => {
  const { what, seq, ...request } = JSON.parse(line);
  try {
    say({ seq, ok: await requests[what](request) });
  } catch (e) {
    say({ seq, error: String(e) });
  }
}).on("close", () => process.exit(0));
