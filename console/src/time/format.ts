// Moments are Unix milliseconds everywhere; only here and in the picker do they become a zone's calendar.
import dayjs, { type Dayjs } from "dayjs";
import utc from "dayjs/plugin/utc";

dayjs.extend(utc);

export type Zone = "utc" | "local";

const WALL = "YYYY-MM-DDTHH:mm:ss.SSS";

export function formatMoment(ms: number, zone: Zone, withMs = true): string {
  const moment = zone === "utc" ? dayjs.utc(ms) : dayjs(ms);
  return moment.format(withMs ? "YYYY-MM-DD HH:mm:ss.SSS" : "YYYY-MM-DD HH:mm:ss");
}

/** "UTC", or the offset of the browser's zone at that moment such as "UTC+02:00". */
export function zoneName(ms: number, zone: Zone): string {
  return zone === "utc" ? "UTC" : `UTC${dayjs(ms).format("Z")}`;
}

/** The picker knows only local time: in UTC mode it gets a local moment whose clock face shows the UTC time. */
export function toPicker(ms: number, zone: Zone): Dayjs {
  return zone === "utc" ? dayjs(dayjs.utc(ms).format(WALL)) : dayjs(ms);
}

export function fromPicker(value: Dayjs, zone: Zone): number {
  return zone === "utc" ? dayjs.utc(value.format(WALL)).valueOf() : value.valueOf();
}

const UNITS: ReadonlyArray<[number, string]> = [
  [86_400, "d"],
  [3_600, "h"],
  [60, "min"],
  [1, "s"],
];

/** The two largest units that are not zero: "1 d 12 h". */
export function formatSpan(ms: number): string {
  let rest = Math.round(ms / 1000);
  const parts: string[] = [];
  for (const [size, unit] of UNITS) {
    const count = Math.floor(rest / size);
    rest -= count * size;
    if (count > 0 && parts.length < 2) {
      parts.push(`${count} ${unit}`);
    }
  }
  return parts.length === 0 ? "0 s" : parts.join(" ");
}
