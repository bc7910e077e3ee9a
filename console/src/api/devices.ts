import { apiPath, request } from "./http";
import type { DeviceStatus, Page, TraceOrder, TracePage } from "./types";

export interface DeviceListQuery {
  query?: string;
  group?: string;
  online?: boolean;
  limit?: number;
  cursor?: string;
}

export function fetchDevices(instanceId: string, query: DeviceListQuery, signal: AbortSignal): Promise<Page<DeviceStatus>> {
  return request<Page<DeviceStatus>>(apiPath(["instances", instanceId, "devices"], { ...query }), { signal });
}

export function fetchDeviceStatus(instanceId: string, clientId: string, signal: AbortSignal): Promise<DeviceStatus> {
  return request<DeviceStatus>(apiPath(["instances", instanceId, "devices", clientId]), { signal });
}

export interface TraceQuery {
  /** Absent: the server's own default (the day that ends now). */
  begin?: number;
  end?: number;
  order: TraceOrder;
  limit: number;
  cursor?: string;
}

export function fetchDeviceTrace(
  instanceId: string,
  clientId: string,
  query: TraceQuery,
  signal: AbortSignal,
): Promise<TracePage> {
  return request<TracePage>(apiPath(["instances", instanceId, "devices", clientId, "trace"], { ...query }), { signal });
}
