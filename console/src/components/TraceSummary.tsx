// What stands above the rows: how many, of which range, whether all, and in which order.
import { CheckCircleFilled, LinkOutlined, WarningFilled } from "@ant-design/icons";
import { Alert, App, Button, Flex, Segmented, Tag, Tooltip } from "antd";
import type { TraceGap, TraceOrder, TracePage } from "../api/types";
import { zoneName } from "../time/format";
import { Moment, useZone } from "../time/ZoneContext";

interface Props {
  page: TracePage;
  order: TraceOrder;
  onOrder: (order: TraceOrder) => void;
  /** The address of this result with its range fixed, so that it shows the same tomorrow. */
  link: string;
}

export function TraceSummary({ page, order, onOrder, link }: Props) {
  return (
    <>
      <Flex align="center" gap={12} wrap className="trace-summary">
        <strong>{totalText(page)}</strong>
        <CompleteBadge complete={page.complete} />
        <ShownRange page={page} />
        <Flex align="center" gap={8} className="push-right">
          <CopyLink link={link} />
          <Segmented<TraceOrder>
            aria-label="Order"
            value={order}
            onChange={onOrder}
            options={[
              { value: "desc", label: "Newest first" },
              { value: "asc", label: "Oldest first" },
            ]}
          />
        </Flex>
      </Flex>
      {page.gaps.length > 0 && <GapList gaps={page.gaps} />}
    </>
  );
}

export function totalText({ total, totalAtLeast }: TracePage): string {
  if (totalAtLeast !== undefined) {
    return `at least ${totalAtLeast.toLocaleString("en")} records`;
  }
  return total === 1 ? "1 record" : `${total.toLocaleString("en")} records`;
}

function CompleteBadge({ complete }: { complete: boolean }) {
  return complete ? (
    <Tooltip title="Nothing that happened in this range is missing.">
      <Tag color="success" icon={<CheckCircleFilled aria-hidden />}>
        complete
      </Tag>
    </Tooltip>
  ) : (
    <Tag color="warning" icon={<WarningFilled aria-hidden />}>
      incomplete
    </Tag>
  );
}

function ShownRange({ page }: { page: TracePage }) {
  const { zone } = useZone();
  return (
    <span className="secondary">
      <Moment ms={page.begin} withMs={false} /> to <Moment ms={page.end} withMs={false} /> ({zoneName(page.end, zone)})
    </span>
  );
}

function CopyLink({ link }: { link: string }) {
  const { message } = App.useApp();
  const copy = async () => {
    try {
      await navigator.clipboard.writeText(new URL(link, window.location.href).href);
      void message.success("Link to this result copied");
    } catch {
      void message.info("The browser does not let pages copy here: copy the address instead");
    }
  };
  return (
    <Button type="text" icon={<LinkOutlined aria-hidden />} onClick={() => void copy()}>
      Copy link
    </Button>
  );
}

function GapList({ gaps }: { gaps: TraceGap[] }) {
  const lines = gaps.map(({ from, to, count }) => (
    <li key={`${from}-${to}`}>
      <Moment ms={from} /> to <Moment ms={to} />: {count.toLocaleString("en")} records of the broker were lost
    </li>
  ));
  return <Alert type="warning" showIcon className="trace-gaps" title="Records are missing" description={<ul>{lines}</ul>} />;
}
