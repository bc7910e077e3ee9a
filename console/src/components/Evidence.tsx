import { Button, Flex, Typography } from "antd";
import { useState } from "react";
import type { TraceItem } from "../api/types";
import { flattenEvidence, type EvidenceRow } from "../domain/evidence";
import { Moment } from "../time/ZoneContext";

function EvidenceValue({ row: { value, isTime } }: { row: EvidenceRow }) {
  return <span className="mono">{isTime ? <Moment ms={Number(value)} /> : String(value ?? "–")}</span>;
}

function EvidenceList({ rows }: { rows: EvidenceRow[] }) {
  if (rows.length === 0) {
    return <p className="secondary">This record has no further evidence.</p>;
  }
  return (
    <dl className="evidence">
      {rows.map((row) => (
        <div key={row.key}>
          <dt>{row.key}</dt>
          <dd>
            <EvidenceValue row={row} />
          </dd>
        </div>
      ))}
    </dl>
  );
}

function RawRecord({ item }: { item: TraceItem }) {
  const text = JSON.stringify(item, null, 2);
  return (
    <div className="raw">
      <Typography.Text copyable={{ text, tooltips: ["Copy JSON", "Copied"] }} className="raw-copy" />
      <pre aria-label="Record as JSON">{text}</pre>
    </div>
  );
}

/** The typed evidence as a list of names and values; the whole record as JSON is one click away. */
export function Evidence({ item }: { item: TraceItem }) {
  const [raw, setRaw] = useState(false);
  return (
    <section className="evidence-block">
      <Flex align="center" justify="space-between" className="evidence-head">
        <h3>{raw ? "Record as JSON" : "Evidence"}</h3>
        <Button size="small" type="link" aria-pressed={raw} onClick={() => setRaw(!raw)}>
          {raw ? "Show evidence" : "Show raw JSON"}
        </Button>
      </Flex>
      {raw ? <RawRecord item={item} /> : <EvidenceList rows={flattenEvidence(item.detail)} />}
    </section>
  );
}
