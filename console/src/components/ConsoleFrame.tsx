import { CloudServerOutlined } from "@ant-design/icons";
import { Layout, Menu } from "antd";
import type { ReactNode } from "react";
import { Link } from "wouter";
import { paths } from "../domain/paths";
import { TopBar } from "./TopBar";

const NAVIGATION = [
  { key: "instances", icon: <CloudServerOutlined aria-hidden />, label: <Link href={paths.instances()}>Instances</Link> },
];

/** What surrounds every page: top bar and left navigation. */
export function ConsoleFrame({ children }: { children: ReactNode }) {
  return (
    <Layout className="frame">
      <TopBar />
      <Layout>
        <Layout.Sider width={184} className="frame-nav" breakpoint="md" collapsedWidth={56}>
          <nav aria-label="Main">
            <Menu mode="inline" items={NAVIGATION} selectedKeys={["instances"]} />
          </nav>
        </Layout.Sider>
        <Layout.Content className="frame-content">{children}</Layout.Content>
      </Layout>
    </Layout>
  );
}
