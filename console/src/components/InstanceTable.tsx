import { Badge, Table, type TableProps } from "antd";
import { Link } from "wouter";
import type { Instance } from "../api/types";
import { instanceTone } from "../domain/labels";
import { paths } from "../domain/paths";
import { Moment } from "../time/ZoneContext";
import { InstanceActions } from "./InstanceActions";

const COLUMNS: TableProps<Instance>["columns"] = [
  {
    title: "ID/Name",
    key: "id",
    render: (_, { id, name }) => (
      <>
        <Link href={paths.instance(id)}>{id}</Link>
        {name !== id && <div className="secondary">{name}</div>}
      </>
    ),
  },
  {
    title: "Status",
    dataIndex: "status",
    render: (status: string) => <Badge status={instanceTone(status)} text={status} />,
  },
  { title: "Version", dataIndex: "version" },
  {
    title: "Devices online",
    dataIndex: "devicesOnline",
    align: "right",
    render: (count: number) => count.toLocaleString("en"),
  },
  { title: "Created", dataIndex: "createdAt", render: (ms: number) => <Moment ms={ms} withMs={false} /> },
  { title: "Actions", key: "actions", width: 200, render: (_, { id }) => <InstanceActions instanceId={id} /> },
];

interface Props {
  instances: Instance[];
  loading: boolean;
}

export function InstanceTable({ instances, loading }: Props) {
  return (
    <Table<Instance>
      rowKey="id"
      columns={COLUMNS}
      dataSource={instances}
      loading={loading}
      pagination={false}
      scroll={{ x: "max-content" }}
    />
  );
}
