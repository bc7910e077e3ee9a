// The evidence of a record is a small tree whose keys differ by cause. Shown as a flat list: `winner.peer` names a leaf.
import type { Json, JsonObject } from "../api/types";

export interface EvidenceRow {
  key: string;
  value: string | number | boolean | null;
  /** The number is a moment: it can be shown as one. */
  isTime: boolean;
}

const TIME_KEY = /(At|Alive|Time|Since|since|time|expires|notAfter|notBefore)$/;
const YEAR_2001_MS = 1e12;

export function flattenEvidence(detail: JsonObject | null): EvidenceRow[] {
  const rows: EvidenceRow[] = [];
  for (const [key, value] of Object.entries(detail ?? {})) {
    collect(rows, key, value);
  }
  return rows;
}

function collect(rows: EvidenceRow[], key: string, value: Json): void {
  if (Array.isArray(value) && value.every(isLeaf)) {
    rows.push({ key, value: value.map(String).join(", "), isTime: false });
  } else if (Array.isArray(value)) {
    value.forEach((item, index) => collect(rows, `${key}[${index}]`, item));
  } else if (value !== null && typeof value === "object") {
    Object.entries(value).forEach(([name, inner]) => collect(rows, `${key}.${name}`, inner));
  } else {
    rows.push({ key, value, isTime: typeof value === "number" && value > YEAR_2001_MS && TIME_KEY.test(key) });
  }
}

function isLeaf(value: Json): value is string | number | boolean | null {
  return value === null || typeof value !== "object";
}
