// The shapes of the REST API (docs/openapi.yaml). Times are integer Unix milliseconds.

export interface Page<T> {
  items: T[];
  total: number;
  next: string | null;
}

export interface User {
  user: string;
}

export interface Region {
  id: string;
  name: string;
  endpoint: string;
}

export interface InstanceSettings {
  client_id: "any" | "grouped";
  topics: "open" | "declared";
  on_denied: "close" | "refuse";
  subscriptions: "covered" | "filtered";
  allow_anonymous: boolean;
  unknown_users: "refused" | "anonymous";
}

export interface Endpoint {
  protocol: string;
  address: string;
}

export interface Instance {
  id: string;
  name: string;
  region: string;
  status: string;
  version: string;
  createdAt: number;
  devicesOnline: number;
  settings: InstanceSettings;
  endpoints: Endpoint[];
}

export interface Group {
  id: string;
}

export interface DeviceStatus {
  clientId: string;
  group: string | null;
  device: string | null;
  online: boolean;
  channelId: string | null;
  peer: string | null;
  protocol: string | null;
  transport: string | null;
  cleanSession: boolean | null;
  keepalive: number | null;
  user: string | null;
  connectedAt: number | null;
  lastUpdate: number | null;
  lastDescription: string | null;
  lastCause: string | null;
}

export type Json = string | number | boolean | null | Json[] | JsonObject;
export interface JsonObject {
  [key: string]: Json;
}

export interface Verdict {
  text: string;
  next: string | null;
}

export interface TraceItem {
  seq: number;
  time: number;
  timeIso: string;
  channelId: string;
  action: string;
  description: string;
  cause: string;
  endedBy: string | null;
  clientId: string;
  group: string | null;
  device: string | null;
  peer: string | null;
  proxy: string | null;
  node: string | null;
  listener: string | null;
  transport: string | null;
  protocol: string | null;
  detail: JsonObject | null;
  verdict: Verdict | null;
}

export interface TraceGap {
  from: number;
  to: number;
  count: number;
}

export interface OpenChannel {
  channelId: string;
  since: number;
}

export type TraceOrder = "asc" | "desc";

export interface TracePage extends Page<TraceItem> {
  clientId: string;
  begin: number;
  end: number;
  totalAtLeast?: number;
  complete: boolean;
  gaps: TraceGap[];
  openChannel?: OpenChannel | null;
}

/** RFC 9457, with the field the server found wrong. */
export interface Problem {
  title: string;
  status: number;
  detail?: string;
  field?: string;
}
