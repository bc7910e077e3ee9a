import { Segmented, Tooltip } from "antd";
import { zoneName, type Zone } from "../time/format";
import { useZone } from "../time/ZoneContext";

export function ZoneSwitch() {
  const { zone, setZone } = useZone();
  return (
    <Tooltip title={`Times are shown in ${zoneName(Date.now(), zone)}`}>
      <Segmented<Zone>
        aria-label="Time zone of all times"
        value={zone}
        onChange={setZone}
        options={[
          { value: "local", label: "Local time" },
          { value: "utc", label: "UTC" },
        ]}
      />
    </Tooltip>
  );
}
