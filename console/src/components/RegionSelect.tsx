import { GlobalOutlined } from "@ant-design/icons";
import { Select } from "antd";
import type { Region } from "../api/types";
import { paths } from "../domain/paths";
import { useRegions } from "../hooks/useInstances";

/** The region whose console this is: the one that names our address, else the first. */
function currentRegion(regions: Region[]): Region | undefined {
  return regions.find((region) => region.endpoint === window.location.origin) ?? regions[0];
}

/** A region is a deployment of its own: choosing another one goes to its console. */
export function RegionSelect() {
  const regions = useRegions().data?.items ?? [];
  const current = currentRegion(regions);
  const goTo = (id: string) => {
    const region = regions.find((candidate) => candidate.id === id);
    if (region !== undefined && region !== current) {
      window.location.assign(new URL(paths.instances(), region.endpoint));
    }
  };
  return (
    <Select
      aria-label="Region"
      className="region-select"
      prefix={<GlobalOutlined aria-hidden />}
      value={current?.id ?? null}
      onChange={(id) => id !== null && goTo(id)}
      options={regions.map(({ id, name }) => ({ value: id, label: name }))}
      loading={regions.length === 0}
      placeholder="Region"
      popupMatchSelectWidth={false}
    />
  );
}
