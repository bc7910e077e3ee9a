import { Skeleton } from "antd";
import { ApiError } from "../api/http";
import type { TraceOrder } from "../api/types";
import type { Trace } from "../hooks/useTrace";
import type { TraceRange } from "../time/range";
import { fieldOf } from "./DeviceQueryForm";
import { LoadError } from "./LoadError";
import { TraceEmpty } from "./TraceEmpty";
import { TracePager } from "./TracePager";
import { TraceSummary } from "./TraceSummary";
import { TraceTable } from "./TraceTable";

interface Props {
  instanceId: string;
  clientId: string;
  trace: Trace;
  order: TraceOrder;
  link: (begin: number, end: number) => string;
  onOrder: (order: TraceOrder) => void;
  onRange: (range: TraceRange) => void;
}

/** A device's trace: used by the Device Trace Query and by the tab of the Device Status Query. */
export function TraceResult({ instanceId, clientId, trace, order, link, onOrder, onRange }: Props) {
  const { page, error, loading } = trace;
  if (error !== null) {
    return fieldOf(error) === null ? <LoadError error={notFoundText(error, instanceId)} /> : null;
  }
  if (page === undefined) {
    return loading ? <Skeleton active /> : null;
  }
  return (
    <section className="panel" aria-label="Device trace" aria-busy={loading}>
      <TraceSummary page={page} order={order} onOrder={onOrder} link={link(page.begin, page.end)} />
      {page.items.length === 0 && trace.firstRow === 0 ? (
        <TraceEmpty instanceId={instanceId} clientId={clientId} page={page} onRange={onRange} />
      ) : (
        <TraceTable items={page.items} loading={loading} />
      )}
      <TracePager page={page} firstRow={trace.firstRow} busy={loading} previous={trace.previous} next={trace.next} />
    </section>
  );
}

function notFoundText(error: Error, instanceId: string): Error {
  return error instanceof ApiError && error.status === 404 ? new Error(`There is no instance ${instanceId}.`) : error;
}
