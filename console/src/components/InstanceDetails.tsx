// The blocks of the instance details page.
import { Badge, Descriptions, Table, Typography, type TableProps } from "antd";
import type { Endpoint, Instance, InstanceSettings } from "../api/types";
import { instanceTone, settingLabel, settingValue } from "../domain/labels";
import { Moment } from "../time/ZoneContext";

export function InstanceBasics({ instance }: { instance: Instance }) {
  return (
    <section className="panel">
      <Descriptions
        title="Basic Information"
        column={{ xs: 1, md: 2, xl: 3 }}
        items={[
          { key: "id", label: "Instance ID", children: <Typography.Text copyable>{instance.id}</Typography.Text> },
          { key: "name", label: "Name", children: instance.name },
          { key: "region", label: "Region", children: instance.region },
          { key: "status", label: "Status", children: <Badge status={instanceTone(instance.status)} text={instance.status} /> },
          { key: "version", label: "Version", children: instance.version },
          { key: "online", label: "Devices online", children: instance.devicesOnline.toLocaleString("en") },
          { key: "created", label: "Created", children: <Moment ms={instance.createdAt} withMs={false} /> },
        ]}
      />
    </section>
  );
}

const ENDPOINT_COLUMNS: TableProps<Endpoint>["columns"] = [
  { title: "Protocol", dataIndex: "protocol", width: 200 },
  {
    title: "Address",
    dataIndex: "address",
    render: (address: string) => (
      <Typography.Text copyable className="mono">
        {address}
      </Typography.Text>
    ),
  },
];

export function InstanceEndpoints({ endpoints }: { endpoints: Endpoint[] }) {
  return (
    <section className="panel">
      <Typography.Title level={2} className="panel-title">
        Endpoints
      </Typography.Title>
      <Table<Endpoint>
        size="small"
        rowKey={({ protocol, address }) => `${protocol} ${address}`}
        columns={ENDPOINT_COLUMNS}
        dataSource={endpoints}
        pagination={false}
      />
    </section>
  );
}

export function InstanceSettingList({ settings }: { settings: InstanceSettings }) {
  return (
    <section className="panel">
      <Descriptions
        title="Settings"
        column={1}
        styles={{ label: { width: 220 } }}
        items={Object.entries(settings).map(([key, value]: [string, string | boolean]) => ({
          key,
          label: settingLabel(key),
          children: settingValue(key, value),
        }))}
      />
    </section>
  );
}
