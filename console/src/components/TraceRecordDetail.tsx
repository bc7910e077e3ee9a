import { Alert, Descriptions, type DescriptionsProps } from "antd";
import type { TraceItem } from "../api/types";
import { causeLabel } from "../domain/labels";
import { Evidence } from "./Evidence";

function facts(item: TraceItem): DescriptionsProps["items"] {
  const rows: Array<[string, string | number | null]> = [
    ["Cause", causeLabel(item.cause)],
    ["Ended by", item.endedBy],
    ["Peer", item.peer],
    ["Proxy", item.proxy],
    ["Protocol", item.protocol],
    ["Transport", item.transport],
    ["Listener", item.listener],
    ["Node", item.node],
    ["Sequence", item.seq],
  ];
  return rows
    .filter(([, value]) => value !== null && value !== undefined && value !== "")
    .map(([label, value]) => ({ key: label, label, children: <span className="mono">{value}</span> }));
}

/** What is known about one record: first the sentence a human reads, then what proves it. */
export function TraceRecordDetail({ item }: { item: TraceItem }) {
  const next = item.verdict?.next ?? "";
  return (
    <div className="record">
      {item.verdict !== null && (
        <Alert
          className="record-verdict"
          type={item.action === "close" ? "warning" : "info"}
          title={item.verdict.text}
          description={next === "" ? undefined : <><strong>Next step:</strong> {next}</>}
        />
      )}
      <div className="record-columns">
        <Descriptions size="small" column={1} title="Record" items={facts(item)} styles={{ label: { width: 96 } }} />
        <Evidence item={item} />
      </div>
    </div>
  );
}
