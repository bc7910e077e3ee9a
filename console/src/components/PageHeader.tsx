import { Breadcrumb, Flex, Typography } from "antd";
import type { ReactNode } from "react";
import { Link } from "wouter";
import { usePageTitle } from "../hooks/usePageTitle";

interface Step {
  title: string;
  href: string;
}

interface Props {
  title: string;
  /** The pages above this one. */
  trail?: Step[];
  extra?: ReactNode;
}

export function PageHeader({ title, trail = [], extra }: Props) {
  usePageTitle(title);
  const items = [...trail.map((step) => ({ title: <Link href={step.href}>{step.title}</Link> })), { title }];
  return (
    <header className="page-header">
      {trail.length > 0 && <Breadcrumb items={items} />}
      <Flex align="center" justify="space-between" gap={16}>
        <Typography.Title level={1} className="page-title">
          {title}
        </Typography.Title>
        {extra}
      </Flex>
    </header>
  );
}
