// What a query page searches for, as its address says it. The address is the form's only memory, so a link repeats the search.
import { DEFAULT_RANGE, isLast, type TraceRange } from "../time/range";
import type { TraceOrder } from "../api/types";
import type { DeviceName } from "./clientId";

export interface TraceCriteria extends DeviceName {
  range: TraceRange;
  order: TraceOrder;
}

export function criteriaOf(search: string): TraceCriteria {
  const params = new URLSearchParams(search);
  return {
    group: params.get("group") ?? "",
    device: params.get("device") ?? "",
    range: rangeOf(params),
    order: params.get("order") === "asc" ? "asc" : "desc",
  };
}

function rangeOf(params: URLSearchParams): TraceRange {
  const begin = Number(params.get("begin") ?? Number.NaN);
  const end = Number(params.get("end") ?? Number.NaN);
  const last = params.get("last");
  if (Number.isFinite(begin) && Number.isFinite(end)) {
    return { kind: "fixed", begin, end };
  }
  return isLast(last) ? { kind: "last", last } : DEFAULT_RANGE;
}

export function searchOf({ group, device, range, order }: TraceCriteria, more: Record<string, string> = {}): string {
  const params = new URLSearchParams();
  if (group !== "") {
    params.set("group", group);
  }
  params.set("device", device);
  if (range.kind === "last") {
    params.set("last", range.last);
  } else {
    params.set("begin", String(range.begin));
    params.set("end", String(range.end));
  }
  params.set("order", order);
  Object.entries(more).forEach(([name, value]) => params.set(name, value));
  return params.toString();
}
