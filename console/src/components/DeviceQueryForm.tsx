// The form of both device queries: Group ID, Device ID and, for a trace, Time Range. Enter searches.
import { SearchOutlined } from "@ant-design/icons";
import { Button, Form } from "antd";
import { useEffect, useState } from "react";
import { ApiError } from "../api/http";
import type { DeviceName } from "../domain/clientId";
import { rangeProblem, type TraceRange } from "../time/range";
import { DeviceIdField, GroupIdField } from "./DeviceNameFields";
import { TimeRangeField } from "./TimeRangeField";

export interface DeviceQuery extends DeviceName {
  range: TraceRange;
}

type FieldName = keyof DeviceQuery;

interface Props {
  instanceId: string;
  value: DeviceQuery;
  withRange: boolean;
  busy: boolean;
  /** What the server answered: shown at the field it names. */
  error: Error | null;
  onSearch: (query: DeviceQuery) => void;
}

const RANGE_RULE = {
  validator: (_: unknown, range: TraceRange) => {
    const problem = rangeProblem(range);
    return problem === null ? Promise.resolve() : Promise.reject(new Error(problem));
  },
};

/** Which field of the form an error of the server belongs to. */
export function fieldOf(error: Error | null): FieldName | null {
  if (!(error instanceof ApiError) || error.status !== 400) {
    return null;
  }
  switch (error.field) {
    case "begin":
    case "end":
      return "range";
    case "clientId":
    case "device":
      return "device";
    case "group":
      return "group";
    default:
      return null;
  }
}

export function DeviceQueryForm({ instanceId, value, withRange, busy, error, onSearch }: Props) {
  const [form] = Form.useForm<DeviceQuery>();
  const { group, device, range } = value;

  useEffect(() => {
    // One by one: setFieldsValue would merge the new range into the old one.
    form.setFieldValue("group", group);
    form.setFieldValue("device", device);
    form.setFieldValue("range", range);
    if (device !== "") {
      form.validateFields().catch(() => undefined);
    }
  }, [form, group, device, range]);

  // What the server refused stands at its field until the form is edited.
  const [seen, setSeen] = useState<Error | null>(null);
  const refused = error === seen ? null : fieldOf(error);
  const refusal = (name: FieldName) =>
    refused === name ? { validateStatus: "error" as const, help: error?.message } : {};

  const search = (query: Partial<DeviceQuery>) =>
    onSearch({ group: (query.group ?? "").trim(), device: query.device ?? "", range: query.range ?? range });
  const fillIn = (name: DeviceName) => form.setFieldsValue({ group: name.group, device: name.device });

  return (
    <Form<DeviceQuery>
      form={form}
      layout="vertical"
      className="query-form"
      initialValues={value}
      onValuesChange={() => setSeen(error)}
      onFinish={search}
    >
      <Form.Item name="group" label="Group ID" {...refusal("group")} className="query-group">
        <GroupIdField instanceId={instanceId} />
      </Form.Item>
      <Form.Item
        name="device"
        label="Device ID"
        {...refusal("device")}
        className="query-device"
        tooltip="Leave Group ID empty if the client ID has no @@@: then the Device ID is the whole client ID."
        rules={[{ required: true, message: "Enter a device ID." }]}
      >
        <DeviceIdField instanceId={instanceId} onPick={fillIn} />
      </Form.Item>
      {withRange && (
        <Form.Item name="range" label="Time Range" {...refusal("range")} className="query-range" rules={[RANGE_RULE]}>
          <TimeRangeField />
        </Form.Item>
      )}
      <Form.Item label=" " colon={false} className="query-submit">
        <Button type="primary" htmlType="submit" icon={<SearchOutlined aria-hidden />} loading={busy}>
          Search
        </Button>
      </Form.Item>
    </Form>
  );
}
