// Walks the console from log in to the answer, as a user would, in a real browser against a running broker with real clients.
//
// Environment:
//   TRACEMQ_URL         address of the console, such as http://127.0.0.1:8080
//   TRACEMQ_BOOTSTRAP   path of the broker's bootstrap.json
//   TRACEMQ_MQTT        host:port of its MQTT listener
//   TRACEMQ_SCREENSHOT  optional: where to save a picture of the trace table (PNG)
//   TRACEMQ_CHROMIUM    optional: the browser, default /usr/bin/chromium
//
// Each run adds five records to GID_demo@@@device1; all of them must fit on one page (50), so a broker serves for ten runs a day.
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { openBrowser, openPage } from "./browser.mjs";
import { connectAndDisconnect, connectWithWrongPassword, readBroker, stayConnected, waitForRecords } from "./broker.mjs";

const GROUP = "GID_demo";
const DEVICE = "device1";
const CLIENT_ID = `${GROUP}@@@${DEVICE}`;
const PLAIN_ID = `plain/console@${process.pid}`;

const broker = readBroker();
const instance = broker.bootstrap.instance_id;
let browser;
let page;
let faults;

const field = (name) => page.getByLabel(name, { exact: true });
const button = (name) => page.getByRole("button", { name, exact: true });
const rows = () => page.locator(".trace-table tbody tr.ant-table-row");

async function rowTexts() {
  const texts = await rows().evaluateAll((all) => all.map((row) => [...row.cells].slice(1).map((cell) => cell.innerText.trim())));
  return texts.map(([channelId, action, description, time]) => ({ channelId, action, description, time }));
}

async function logIn(password) {
  await page.getByRole("textbox", { name: "User" }).fill(broker.bootstrap.console_user);
  await page.getByRole("textbox", { name: "Password" }).fill(password);
  await page.keyboard.press("Enter");
}

async function openMore(entry) {
  await page.getByRole("link", { name: "Instances" }).first().click();
  const row = page.getByRole("row").filter({ hasText: instance });
  await row.getByRole("button", { name: "More" }).click();
  await page.getByRole("menuitem", { name: entry }).click();
  await page.getByRole("heading", { name: entry }).waitFor();
}

async function fillDevice(group, device) {
  await field("Group ID").fill(group);
  await field("Device ID").fill(device);
  await page.keyboard.press("Escape");
}

before(async () => {
  await connectAndDisconnect(broker, CLIENT_ID);
  await connectWithWrongPassword(broker, CLIENT_ID);
  await connectAndDisconnect(broker, PLAIN_ID);
  await waitForRecords(broker, CLIENT_ID, 3);
  await waitForRecords(broker, PLAIN_ID, 2);
  browser = await openBrowser();
  ({ page, faults } = await openPage(browser));
});

after(async () => {
  await browser?.close();
});

// The steps of one walk: each begins where the one before it ended.
test("the console's path", { timeout: 180_000 }, async (t) => {
  await t.test("without a session a page leads to log in; a wrong password says so", async () => {
    await page.goto(`${broker.url}/instances/${instance}?from=link`);
    await page.waitForURL(/\/login\?next=/);
    await logIn("not the password");
    await page.getByRole("alert").getByText("User name or password is wrong.").waitFor();
  });

  await t.test("log in leads to the wanted page: the instance's details", async () => {
    await logIn(broker.bootstrap.console_password);
    await page.waitForURL(`${broker.url}/instances/${instance}?from=link`);
    for (const block of ["Basic Information", "Endpoints", "Settings"]) {
      await page.getByText(block, { exact: true }).waitFor();
    }
    await page.getByRole("cell", { name: "mqtt", exact: true }).waitFor();
  });

  await t.test("the instances, their columns and the region", async () => {
    await page.getByRole("link", { name: "Instances" }).first().click();
    await page.getByRole("cell", { name: instance }).waitFor();
    const headers = await page.getByRole("columnheader").allInnerTexts();
    assert.deepEqual(headers, ["ID/Name", "Status", "Version", "Devices online", "Created", "Actions"]);
    await page.locator(".region-select").getByText(broker.bootstrap.region).waitFor();
    await page.getByRole("row").filter({ hasText: instance }).getByRole("link", { name: "Details" }).click();
    await page.getByText("Basic Information").waitFor();
  });

  await t.test("Device Trace Query: the columns in order, the rows, their words", async () => {
    await openMore("Device Trace Query");
    await fillDevice(GROUP, DEVICE);
    await button("Search").click();
    await rows().first().waitFor();
    const headers = (await page.locator(".trace-table").getByRole("columnheader").allInnerTexts()).filter((text) => text.trim() !== "");
    assert.deepEqual(headers, ["Channel ID", "Device Action", "Action Description", "Time"]);

    const [refused, ended, accepted] = await rowTexts();
    assert.deepEqual([refused.action, refused.description], ["close", "not authorized"]);
    assert.deepEqual([ended.action, ended.description], ["disconnect", "disconnected by client"]);
    assert.deepEqual([accepted.action, accepted.description], ["connect", "accepted"]);
    assert.match(accepted.channelId, /^[0-9a-f]{32}$/);
    assert.equal(ended.channelId, accepted.channelId);
    assert.notEqual(refused.channelId, accepted.channelId);
    assert.match(accepted.time, /^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{3}$/);
    await page.getByText("complete", { exact: true }).waitFor();
  });

  await t.test("a row opens to its verdict, cause and evidence", async () => {
    await rows().first().getByRole("button", { name: "Expand row" }).click();
    const record = page.locator(".record").first();
    await record.getByText("auth.bad_password", { exact: true }).waitFor();
    assert.ok((await record.getByRole("alert").innerText()).length > 10, "the verdict is a sentence");
    await record.getByText("Ended by").waitFor();
    await record.getByRole("button", { name: "Show raw JSON" }).click();
    const raw = JSON.parse(await record.getByLabel("Record as JSON").innerText());
    assert.equal(raw.clientId, CLIENT_ID);
    await record.getByRole("button", { name: "Show evidence" }).click();
    if (process.env["TRACEMQ_SCREENSHOT"]) {
      await page.mouse.move(0, 0);
      await page.screenshot({ path: process.env["TRACEMQ_SCREENSHOT"], animations: "disabled" });
    }
  });

  await t.test("oldest first turns the rows round; UTC moves the times", async () => {
    const newestFirst = await rowTexts();
    await page.getByText("Oldest first", { exact: true }).click();
    await page.waitForURL(/order=asc/);
    await page.waitForFunction((last) => document.querySelector(".trace-table tbody tr.ant-table-row")?.innerText.includes(last), newestFirst.at(-1).time);
    assert.deepEqual(await rowTexts(), newestFirst.reverse());
    const local = (await rowTexts()).map((row) => row.time);
    await page.getByText("UTC", { exact: true }).click();
    const utc = (await rowTexts()).map((row) => row.time);
    assert.notDeepEqual(utc, local);
    await page.getByText("Local time", { exact: true }).click();
  });

  await t.test("the address repeats the search", async () => {
    const shown = await rowTexts();
    await page.reload();
    await rows().first().waitFor();
    assert.deepEqual(await rowTexts(), shown);
    assert.equal(await field("Group ID").inputValue(), GROUP);
    assert.equal(await field("Device ID").inputValue(), DEVICE);
  });

  await t.test("a range over one day is refused at the field, and nothing is asked", async () => {
    const address = page.url();
    await page.getByText("Custom", { exact: true }).click();
    const day = (ago) => new Date(Date.now() - ago * 86_400_000).toISOString().slice(0, 10);
    await page.getByPlaceholder("Begin").fill(`${day(3)} 00:00:00`);
    await page.keyboard.press("Enter");
    await page.getByPlaceholder("End").fill(`${day(2)} 12:00:00`);
    await page.keyboard.press("Enter");
    await page.getByText(/At most one day \(24 h\)/).waitFor();
    await button("Search").click();
    assert.equal(page.url(), address);
  });

  await t.test("a refusal of the server stands at the field that it names", async () => {
    const detail = "end - begin is 3600000 ms, at most 60000 ms";
    const body = JSON.stringify({ type: "about:blank", title: "Bad Request", status: 400, detail, field: "end" });
    await page.route("**/trace?*", (route) => route.fulfill({ status: 400, contentType: "application/problem+json", body }));
    await page.getByText("Last 1 h", { exact: true }).click();
    await button("Search").click();
    await page.locator(".query-range").getByText(detail).waitFor();
    await page.unroute("**/trace?*");
    await button("Search").click();
    await rows().first().waitFor();
    await page.getByText(detail).waitFor({ state: "detached" });
  });

  await t.test("a device without a group: Group ID stays empty, Enter searches", async () => {
    await openMore("Device Trace Query");
    await field("Group ID").fill("");
    await field("Device ID").fill(PLAIN_ID);
    await page.locator(".ant-select-item-option").filter({ hasText: PLAIN_ID }).first().waitFor();
    await field("Device ID").press("Enter"); // the suggestions are open, what is typed among them
    await rows().first().waitFor();
    assert.deepEqual((await rowTexts()).map((row) => row.action), ["disconnect", "connect"]);
  });

  await t.test("a client ID is suggested and fills both fields", async () => {
    await openMore("Device Trace Query");
    await field("Device ID").pressSequentially("GID_de");
    await page.locator(".ant-select-item-option").filter({ hasText: CLIENT_ID }).first().click();
    assert.equal(await field("Group ID").inputValue(), GROUP);
    assert.equal(await field("Device ID").inputValue(), DEVICE);
  });

  await t.test("a device that never came is said to be one", async () => {
    await fillDevice(GROUP, "nobody");
    await button("Search").click();
    await page.getByText("This device was never seen.").waitFor();
  });

  await t.test("Device Status Query: Offline, then Online while a client is connected", async () => {
    await openMore("Device Status Query");
    await fillDevice(GROUP, DEVICE);
    await button("Search").click();
    await page.getByText("Offline", { exact: true }).waitFor();
    const client = await stayConnected(broker, CLIENT_ID);
    try {
      await waitForRecords(broker, CLIENT_ID, 4);
      await button("Search").click();
      await page.getByText("Online", { exact: true }).waitFor();
      for (const label of ["Client ID", "Client Address", "cleanSession", "Protocol", "Keepalive", "Connected at", "Last Updated At"]) {
        await page.locator(".device-status").getByText(label, { exact: true }).waitFor();
      }
      await page.getByRole("tab", { name: "Device Trace" }).click();
      await rows().first().waitFor();
      assert.equal((await rowTexts())[0].description, "accepted");
    } finally {
      await client.stop();
    }
  });

  await t.test("a session that ended elsewhere leads to log in and back", async () => {
    const address = page.url();
    await page.context().clearCookies();
    await page.getByText("Last 1 h", { exact: true }).click();
    await page.waitForURL(/\/login\?next=/);
    await logIn(broker.bootstrap.console_password);
    await page.waitForURL((url) => url.href.startsWith(address.split("?")[0]));
    await rows().first().waitFor();
  });

  await t.test("log out", async () => {
    await page.getByRole("button", { name: /User menu/ }).click();
    await page.getByRole("menuitem", { name: "Log out" }).click();
    await page.waitForURL(/\/login$/);
    await page.goto(`${broker.url}/instances`);
    await page.waitForURL(/\/login\?next=/);
  });

  await t.test("nothing went wrong in the page", () => {
    assert.deepEqual(faults, []);
  });
});
