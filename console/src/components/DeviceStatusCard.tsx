import { Badge, Descriptions, Skeleton, Typography, type DescriptionsProps } from "antd";
import { isStatus } from "../api/http";
import type { DeviceStatus } from "../api/types";
import { useDeviceStatus } from "../hooks/useDeviceStatus";
import { Moment } from "../time/ZoneContext";
import { LoadError } from "./LoadError";
import { NeverSeen } from "./NeverSeen";

interface Props {
  instanceId: string;
  clientId: string;
  searchNo: number;
}

/** The state of one device, kept up to date while it is shown. */
export function DeviceStatusCard({ instanceId, clientId, searchNo }: Props) {
  const status = useDeviceStatus(instanceId, clientId, { enabled: true, searchNo, live: true });
  if (isStatus(status.error, 404)) {
    return <NeverSeen instanceId={instanceId} clientId={clientId} />;
  }
  if (status.isError) {
    return <LoadError error={status.error} onRetry={() => void status.refetch()} />;
  }
  if (status.isPending) {
    return <Skeleton active />;
  }
  return (
    <Descriptions
      bordered
      size="middle"
      column={{ xs: 1, lg: 2 }}
      styles={{ label: { width: 170, whiteSpace: "nowrap" } }}
      items={facts(status.data)}
      className="device-status"
    />
  );
}

function facts(device: DeviceStatus): DescriptionsProps["items"] {
  return [
    { key: "clientId", label: "Client ID", children: <Typography.Text copyable>{device.clientId}</Typography.Text> },
    {
      key: "status",
      label: "Status",
      children: <Badge status={device.online ? "success" : "default"} text={device.online ? "Online" : "Offline"} />,
    },
    { key: "peer", label: "Client Address", children: device.peer ?? "–" },
    { key: "clean", label: "cleanSession", children: device.cleanSession === null ? "–" : String(device.cleanSession) },
    { key: "protocol", label: "Protocol", children: protocolText(device) },
    { key: "keepalive", label: "Keepalive", children: keepaliveText(device.keepalive) },
    { key: "connected", label: "Connected at", children: <Moment ms={device.connectedAt} /> },
    { key: "updated", label: "Last Updated At", children: <Moment ms={device.lastUpdate} /> },
    { key: "last", label: "Last Action", children: device.lastDescription ?? "–" },
    { key: "user", label: "User", children: device.user ?? "–" },
  ];
}

function protocolText({ protocol, transport }: DeviceStatus): string {
  return [protocol, transport].filter((part) => part !== null && part !== "").join(" over ") || "–";
}

function keepaliveText(seconds: number | null): string {
  if (seconds === null) {
    return "–";
  }
  return seconds === 0 ? "off" : `${seconds} s`;
}
