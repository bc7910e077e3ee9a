import { Button, Flex, Skeleton } from "antd";
import { Link } from "wouter";
import { InstanceBasics, InstanceEndpoints, InstanceSettingList } from "../components/InstanceDetails";
import { LoadError } from "../components/LoadError";
import { PageHeader } from "../components/PageHeader";
import { paths } from "../domain/paths";
import { useInstance } from "../hooks/useInstances";
import type { InstanceParams } from "../routes";

export function InstancePage({ instanceId }: InstanceParams) {
  const instance = useInstance(instanceId);
  const queries = (
    <Flex gap={8}>
      <Link href={paths.deviceStatus(instanceId)} asChild>
        <Button>Device Status Query</Button>
      </Link>
      <Link href={paths.deviceTrace(instanceId)} asChild>
        <Button type="primary">Device Trace Query</Button>
      </Link>
    </Flex>
  );
  return (
    <>
      <PageHeader
        title={instanceId}
        trail={[{ title: "Instances", href: paths.instances() }]}
        extra={queries}
      />
      {instance.isError && <LoadError error={instance.error} onRetry={() => void instance.refetch()} />}
      {instance.isPending && <Skeleton active />}
      {instance.data !== undefined && (
        <>
          <InstanceBasics instance={instance.data} />
          <InstanceEndpoints endpoints={instance.data.endpoints} />
          <InstanceSettingList settings={instance.data.settings} />
        </>
      )}
    </>
  );
}
