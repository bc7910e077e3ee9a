import { Result } from "antd";
import { Link } from "wouter";
import { paths } from "../domain/paths";
import { usePageTitle } from "../hooks/usePageTitle";

export function NotFoundPage() {
  usePageTitle("Page not found");
  return <Result status="404" title="There is no such page" extra={<Link href={paths.instances()}>To the instances</Link>} />;
}
