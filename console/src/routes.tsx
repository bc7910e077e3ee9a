// The routes table: a page is one line. Patterns are those of domain/paths.ts.
import type { ComponentType } from "react";
import { Redirect, Route, Switch } from "wouter";
import { ConsoleFrame } from "./components/ConsoleFrame";
import { RequireLogin } from "./components/RequireLogin";
import { paths } from "./domain/paths";
import { DeviceStatusPage } from "./pages/DeviceStatusPage";
import { DeviceTracePage } from "./pages/DeviceTracePage";
import { InstancePage } from "./pages/InstancePage";
import { InstancesPage } from "./pages/InstancesPage";
import { LoginPage } from "./pages/LoginPage";
import { NotFoundPage } from "./pages/NotFoundPage";

export interface InstanceParams {
  instanceId: string;
}

interface ConsoleRoute {
  path: string;
  page: ComponentType<InstanceParams>;
}

const ROUTES: readonly ConsoleRoute[] = [
  { path: "/instances", page: InstancesPage },
  { path: "/instances/:instanceId", page: InstancePage },
  { path: "/instances/:instanceId/device-trace", page: DeviceTracePage },
  { path: "/instances/:instanceId/device-status", page: DeviceStatusPage },
];

export function ConsoleRoutes() {
  return (
    <Switch>
      <Route path="/login" component={LoginPage} />
      <Route path="/">
        <Redirect to={paths.instances()} replace />
      </Route>
      <Route>
        <RequireLogin>
          <ConsoleFrame>
            <Switch>
              {ROUTES.map(({ path, page: Page }) => (
                <Route key={path} path={path}>
                  {(params: Partial<InstanceParams>) => <Page instanceId={params.instanceId ?? ""} />}
                </Route>
              ))}
              <Route component={NotFoundPage} />
            </Switch>
          </ConsoleFrame>
        </RequireLogin>
      </Route>
    </Switch>
  );
}
