// Debian's Chromium, headless, with a new empty profile, and a page that remembers everything that went wrong in it.
import { chromium } from "playwright-core";

const ARGS = [
  "--no-sandbox",
  "--disable-gpu",
  "--disable-quic",
  "--no-first-run",
  "--disable-background-networking",
  "--disable-component-update",
  "--disable-sync",
];

export function openBrowser() {
  return chromium.launch({ executablePath: process.env["TRACEMQ_CHROMIUM"] ?? "/usr/bin/chromium", args: ARGS });
}

/** The browser itself logs answers such as 401 as errors; those that the walk provokes are no fault of the console. */
const PROVOKED = [
  { status: 401, path: /^\/api\/v1\/(me|login|instances.*|regions)$/ },
  { status: 400, path: /^\/api\/v1\/instances\/[^/]+\/devices\/[^/]+\/trace$/ },
  { status: 404, path: /^\/api\/v1\/instances\/[^/]+\/devices\/[^/]+$/ },
];

function isProvoked(message) {
  const [, status] = /responded with a status of (\d+)/.exec(message.text()) ?? [];
  const { url } = message.location();
  const path = url === "" ? "" : new URL(url).pathname;
  return PROVOKED.some((known) => String(known.status) === status && known.path.test(path));
}

export async function openPage(browser) {
  const context = await browser.newContext({ viewport: { width: 1280, height: 800 }, timezoneId: "Europe/Berlin" });
  const page = await context.newPage();
  page.setDefaultTimeout(60_000);
  const faults = [];
  page.on("pageerror", (error) => faults.push(`page error: ${error.stack ?? error}`));
  page.on("console", (message) => {
    if (["error", "warning"].includes(message.type()) && !isProvoked(message)) {
      faults.push(`console ${message.type()}: ${message.text()} (${message.location().url})`);
    }
  });
  page.on("request", (request) => {
    const from = new URL(request.url());
    if (!["data:", "blob:"].includes(from.protocol) && from.origin !== new URL(process.env["TRACEMQ_URL"]).origin) {
      faults.push(`request to another host: ${request.url()}`);
    }
  });
  return { page, faults };
}
