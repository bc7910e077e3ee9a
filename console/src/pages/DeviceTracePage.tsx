import { DeviceQueryForm } from "../components/DeviceQueryForm";
import { PageHeader } from "../components/PageHeader";
import { QueryHint } from "../components/QueryHint";
import { TraceResult } from "../components/TraceResult";
import { joinClientId } from "../domain/clientId";
import { searchOf } from "../domain/criteria";
import { paths } from "../domain/paths";
import { useCriteria } from "../hooks/useCriteria";
import { useTrace } from "../hooks/useTrace";
import type { InstanceParams } from "../routes";

export function DeviceTracePage({ instanceId }: InstanceParams) {
  const { criteria, searchNo, change } = useCriteria();
  const clientId = joinClientId(criteria);
  const asked = criteria.device !== "";
  const trace = useTrace({ instanceId, clientId: asked ? clientId : "", range: criteria.range, order: criteria.order, searchNo });
  const link = (begin: number, end: number) =>
    paths.deviceTrace(instanceId, searchOf({ ...criteria, range: { kind: "fixed", begin, end } }));
  return (
    <>
      <PageHeader
        title="Device Trace Query"
        trail={[
          { title: "Instances", href: paths.instances() },
          { title: instanceId, href: paths.instance(instanceId) },
        ]}
      />
      <section className="panel">
        <DeviceQueryForm
          instanceId={instanceId}
          value={criteria}
          withRange
          busy={trace.loading}
          error={trace.error}
          onSearch={change}
        />
      </section>
      {asked ? (
        <TraceResult
          instanceId={instanceId}
          clientId={clientId}
          trace={trace}
          order={criteria.order}
          link={link}
          onOrder={(order) => change({ order })}
          onRange={(range) => change({ range })}
        />
      ) : (
        <QueryHint>
          Enter a device to see how each of its connections began and ended. One search covers at most one day.
        </QueryHint>
      )}
    </>
  );
}
