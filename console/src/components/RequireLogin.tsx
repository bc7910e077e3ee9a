import { Spin } from "antd";
import type { ReactNode } from "react";
import { Redirect, useLocation, useSearch } from "wouter";
import { paths } from "../domain/paths";
import { useMe } from "../hooks/useSession";
import { LoadError } from "./LoadError";

/** Shows its children to a user who is logged in; others log in first and come back to this address. */
export function RequireLogin({ children }: { children: ReactNode }) {
  const me = useMe();
  const [path] = useLocation();
  const search = useSearch();
  if (me.isPending) {
    return <Spin className="page-spin" size="large" />;
  }
  if (me.isError) {
    return <LoadError error={me.error} onRetry={() => void me.refetch()} />;
  }
  if (me.data === null) {
    return <Redirect to={paths.login(search === "" ? path : `${path}?${search}`)} replace />;
  }
  return <>{children}</>;
}
