import { DownOutlined } from "@ant-design/icons";
import { Button, Dropdown, Flex } from "antd";
import { Link, useLocation } from "wouter";
import { paths } from "../domain/paths";

interface Action {
  key: string;
  label: string;
  href: (instanceId: string) => string;
}

const MORE: readonly Action[] = [
  { key: "status", label: "Device Status Query", href: paths.deviceStatus },
  { key: "trace", label: "Device Trace Query", href: paths.deviceTrace },
];

export function InstanceActions({ instanceId }: { instanceId: string }) {
  const [, navigate] = useLocation();
  const items = MORE.map(({ key, label, href }) => ({ key, label, onClick: () => navigate(href(instanceId)) }));
  return (
    <Flex align="center" gap={16}>
      <Link href={paths.instance(instanceId)}>Details</Link>
      <Dropdown menu={{ items }} trigger={["click"]}>
        <Button type="link" className="link-button" icon={<DownOutlined aria-hidden />} iconPlacement="end">
          More
        </Button>
      </Dropdown>
    </Flex>
  );
}
