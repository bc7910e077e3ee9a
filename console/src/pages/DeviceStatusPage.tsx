import { Tabs } from "antd";
import { DeviceQueryForm } from "../components/DeviceQueryForm";
import { DeviceStatusCard } from "../components/DeviceStatusCard";
import { DeviceTraceTab } from "../components/DeviceTraceTab";
import { PageHeader } from "../components/PageHeader";
import { QueryHint } from "../components/QueryHint";
import { joinClientId } from "../domain/clientId";
import { paths } from "../domain/paths";
import { useCriteria } from "../hooks/useCriteria";
import type { InstanceParams } from "../routes";

export function DeviceStatusPage({ instanceId }: InstanceParams) {
  const { criteria, searchNo, tab, change, setTab } = useCriteria();
  const clientId = joinClientId(criteria);
  const tabs = [
    {
      key: "status",
      label: "Device Status",
      children: <DeviceStatusCard instanceId={instanceId} clientId={clientId} searchNo={searchNo} />,
    },
    {
      key: "trace",
      label: "Device Trace",
      children: <DeviceTraceTab instanceId={instanceId} criteria={criteria} searchNo={searchNo} onChange={change} />,
    },
  ];
  return (
    <>
      <PageHeader
        title="Device Status Query"
        trail={[
          { title: "Instances", href: paths.instances() },
          { title: instanceId, href: paths.instance(instanceId) },
        ]}
      />
      <section className="panel">
        <DeviceQueryForm
          instanceId={instanceId}
          value={criteria}
          withRange={false}
          busy={false}
          error={null}
          onSearch={change}
        />
      </section>
      {criteria.device === "" ? (
        <QueryHint>Enter a device to see whether it is online, from where, and since when.</QueryHint>
      ) : (
        <section className="panel">
          <Tabs items={tabs} activeKey={tab === "trace" ? "trace" : "status"} onChange={setTab} destroyOnHidden />
        </section>
      )}
    </>
  );
}
