import { InstanceTable } from "../components/InstanceTable";
import { LoadError } from "../components/LoadError";
import { PageHeader } from "../components/PageHeader";
import { useInstances } from "../hooks/useInstances";

export function InstancesPage() {
  const instances = useInstances();
  return (
    <>
      <PageHeader title="Instances" />
      {instances.isError && <LoadError error={instances.error} onRetry={() => void instances.refetch()} />}
      <section className="panel panel-flush">
        <InstanceTable instances={instances.data?.items ?? []} loading={instances.isPending} />
      </section>
    </>
  );
}
