import { LeftOutlined, RightOutlined } from "@ant-design/icons";
import { Button, Flex } from "antd";
import type { TracePage } from "../api/types";
import { totalText } from "./TraceSummary";

interface Props {
  page: TracePage;
  firstRow: number;
  busy: boolean;
  previous: (() => void) | undefined;
  next: (() => void) | undefined;
}

/** Rows 51–100 of 1,234, and the way on and back. Nothing when one page holds all. */
export function TracePager({ page, firstRow, busy, previous, next }: Props) {
  if (previous === undefined && next === undefined) {
    return null;
  }
  return (
    <Flex align="center" justify="end" gap={12} className="trace-pager">
      <span className="secondary">
        {(firstRow + 1).toLocaleString("en")}–{(firstRow + page.items.length).toLocaleString("en")} of {totalText(page)}
      </span>
      <Button icon={<LeftOutlined aria-hidden />} disabled={previous === undefined || busy} onClick={previous}>
        Previous
      </Button>
      <Button icon={<RightOutlined aria-hidden />} iconPlacement="end" disabled={next === undefined} loading={busy} onClick={next}>
        Next
      </Button>
    </Flex>
  );
}
