import { Form } from "antd";
import { joinClientId } from "../domain/clientId";
import { searchOf, type TraceCriteria } from "../domain/criteria";
import { paths } from "../domain/paths";
import { useTrace } from "../hooks/useTrace";
import { rangeProblem } from "../time/range";
import { fieldOf } from "./DeviceQueryForm";
import { TimeRangeField } from "./TimeRangeField";
import { TraceResult } from "./TraceResult";

interface Props {
  instanceId: string;
  criteria: TraceCriteria;
  searchNo: number;
  onChange: (part: Partial<TraceCriteria>) => void;
}

/** The trace of the device whose status is shown. A change of the range searches at once. */
export function DeviceTraceTab({ instanceId, criteria, searchNo, onChange }: Props) {
  const { range, order } = criteria;
  const clientId = joinClientId(criteria);
  const trace = useTrace({ instanceId, clientId, range, order, searchNo });
  const problem = rangeProblem(range) ?? (fieldOf(trace.error) === null ? null : (trace.error?.message ?? null));
  const link = (begin: number, end: number) =>
    paths.deviceTrace(instanceId, searchOf({ ...criteria, range: { kind: "fixed", begin, end } }));
  return (
    <>
      <Form layout="vertical">
        <Form.Item label="Time Range" validateStatus={problem === null ? "" : "error"} help={problem ?? undefined}>
          <TimeRangeField value={range} onChange={(next) => onChange({ range: next })} />
        </Form.Item>
      </Form>
      <TraceResult
        instanceId={instanceId}
        clientId={clientId}
        trace={trace}
        order={order}
        link={link}
        onOrder={(next) => onChange({ order: next })}
        onRange={(next) => onChange({ range: next })}
      />
    </>
  );
}
