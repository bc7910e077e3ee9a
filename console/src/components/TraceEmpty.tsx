// An empty table is an answer too: say which one, and where to look next.
import { Button, Empty, Spin } from "antd";
import type { ReactNode } from "react";
import { isStatus } from "../api/http";
import type { DeviceStatus, TracePage } from "../api/types";
import { useDeviceStatus } from "../hooks/useDeviceStatus";
import { dayAround, type TraceRange } from "../time/range";
import { Moment } from "../time/ZoneContext";
import { NeverSeen } from "./NeverSeen";

interface Props {
  instanceId: string;
  clientId: string;
  page: TracePage;
  onRange: (range: TraceRange) => void;
}

export function TraceEmpty({ instanceId, clientId, page, onRange }: Props) {
  const status = useDeviceStatus(instanceId, clientId, { enabled: true });
  const goTo = (moment: number) => () => onRange(dayAround(moment));
  if (page.openChannel) {
    const { since, channelId } = page.openChannel;
    return (
      <Lesson title="No record in this range: the device stayed connected through it.">
        It is connected since <Moment ms={since} withMs={false} /> over channel <span className="mono">{channelId}</span>. A
        connection leaves records only when it begins and when it ends.
        <Button onClick={goTo(since)}>Show the day it connected</Button>
      </Lesson>
    );
  }
  if (status.isPending) {
    return <Spin className="page-spin" />;
  }
  if (isStatus(status.error, 404)) {
    return <NeverSeen instanceId={instanceId} clientId={clientId} />;
  }
  return (
    <Lesson title="No record in this range.">
      {status.data === undefined ? "Try another time range." : <LastKnown status={status.data} goTo={goTo} />}
    </Lesson>
  );
}

function LastKnown({ status, goTo }: { status: DeviceStatus; goTo: (moment: number) => () => void }) {
  if (status.lastUpdate === null) {
    return <>The device is known, but nothing was recorded about it yet.</>;
  }
  return (
    <>
      The device is {status.online ? "online" : "offline"}; its last record is “{status.lastDescription ?? status.lastCause}” of{" "}
      <Moment ms={status.lastUpdate} withMs={false} />.
      <Button onClick={goTo(status.lastUpdate)}>Show the day around it</Button>
    </>
  );
}

function Lesson({ title, children }: { title: string; children: ReactNode }) {
  return (
    <Empty
      image={Empty.PRESENTED_IMAGE_SIMPLE}
      description={
        <div className="lesson">
          <strong>{title}</strong>
          <p>{children}</p>
        </div>
      }
    />
  );
}
