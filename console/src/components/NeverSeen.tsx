import { Empty } from "antd";
import { Link } from "wouter";
import { splitClientId } from "../domain/clientId";
import { searchOf } from "../domain/criteria";
import { paths } from "../domain/paths";
import { useDeviceSuggestions } from "../hooks/useSuggestions";
import { DEFAULT_RANGE } from "../time/range";

const ALIKE_PREFIX = 4;

interface Props {
  instanceId: string;
  clientId: string;
}

/** No connection of this client was ever accepted. Most often the ID has a typing error, so devices alike are offered. */
export function NeverSeen({ instanceId, clientId }: Props) {
  const prefix = clientId.slice(0, Math.max(ALIKE_PREFIX, clientId.length - ALIKE_PREFIX));
  const alike = useDeviceSuggestions(instanceId, prefix).slice(0, 5);
  const traceOf = (other: string) =>
    paths.deviceTrace(instanceId, searchOf({ ...splitClientId(other), range: DEFAULT_RANGE, order: "desc" }));
  return (
    <Empty
      image={Empty.PRESENTED_IMAGE_SIMPLE}
      description={
        <div className="lesson">
          <strong>This device was never seen.</strong>
          <p>
            No connection of <span className="mono">{clientId}</span> was ever accepted by {instanceId}. Check Group ID and Device
            ID, upper and lower case count. Attempts that were refused appear in its device trace.
          </p>
          {alike.length > 0 && (
            <p>
              Devices with a similar ID:{" "}
              {alike.map((device) => (
                <Link key={device.clientId} href={traceOf(device.clientId)} className="alike">
                  {device.clientId}
                </Link>
              ))}
            </p>
          )}
        </div>
      }
    />
  );
}
