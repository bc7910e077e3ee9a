import { Table, Tag, Typography, type TableProps } from "antd";
import type { TraceItem } from "../api/types";
import { actionTone } from "../domain/labels";
import { Moment } from "../time/ZoneContext";
import { TraceRecordDetail } from "./TraceRecordDetail";

// The columns, their names and their order are those of the reference's console.
const COLUMNS: TableProps<TraceItem>["columns"] = [
  {
    title: "Channel ID",
    dataIndex: "channelId",
    width: 340,
    render: (channelId: string) => (
      <Typography.Text copyable={{ tooltips: ["Copy channel ID", "Copied"] }} className="mono nowrap">
        {channelId}
      </Typography.Text>
    ),
  },
  {
    title: "Device Action",
    dataIndex: "action",
    width: 150,
    render: (action: string) => <Tag color={actionTone(action)}>{action}</Tag>,
  },
  { title: "Action Description", dataIndex: "description" },
  {
    title: "Time",
    dataIndex: "time",
    width: 230,
    render: (time: number, { timeIso }) => (
      <span className="mono">
        <Moment ms={time} iso={timeIso} />
      </span>
    ),
  },
];

interface Props {
  items: TraceItem[];
  loading: boolean;
}

export function TraceTable({ items, loading }: Props) {
  return (
    <Table<TraceItem>
      className="trace-table"
      size="middle"
      rowKey="seq"
      columns={COLUMNS}
      dataSource={items}
      loading={loading}
      pagination={false}
      tableLayout="fixed"
      expandable={{
        expandedRowRender: (item) => <TraceRecordDetail item={item} />,
        expandRowByClick: false,
        columnWidth: 48,
      }}
    />
  );
}
