import { Empty } from "antd";
import type { ReactNode } from "react";

/** What stands where a result will be. */
export function QueryHint({ children }: { children: ReactNode }) {
  return (
    <section className="panel">
      <Empty image={Empty.PRESENTED_IMAGE_SIMPLE} description={children} />
    </section>
  );
}
