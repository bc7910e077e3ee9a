// "The last 15 minutes" means the broker's minutes: a browser whose clock is off must not miss the newest records.
// The Date header has whole seconds, so small differences are no difference.
const TOLERANCE_MS = 2000;

let offsetMs = 0;

export function noteServerDate(header: string | null): void {
  const server = header === null ? Number.NaN : Date.parse(header);
  if (Number.isFinite(server)) {
    const difference = server - Date.now();
    offsetMs = Math.abs(difference) > TOLERANCE_MS ? difference : 0;
  }
}

export function serverNow(): number {
  return Date.now() + offsetMs;
}
