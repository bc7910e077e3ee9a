import { Flex, Layout } from "antd";
import { Brand } from "./Brand";
import { RegionSelect } from "./RegionSelect";
import { UserMenu } from "./UserMenu";
import { ZoneSwitch } from "./ZoneSwitch";

export function TopBar() {
  return (
    <Layout.Header className="frame-top">
      <Flex align="center" gap={24} className="frame-top-row">
        <Brand />
        <RegionSelect />
        <Flex align="center" gap={16} className="push-right">
          <ZoneSwitch />
          <UserMenu />
        </Flex>
      </Flex>
    </Layout.Header>
  );
}
