import { apiPath, request } from "./http";
import type { Group, Instance, Page, Region } from "./types";

export function fetchRegions(signal: AbortSignal): Promise<Page<Region>> {
  return request<Page<Region>>(apiPath(["regions"]), { signal });
}

export function fetchInstances(signal: AbortSignal): Promise<Page<Instance>> {
  return request<Page<Instance>>(apiPath(["instances"]), { signal });
}

export function fetchInstance(instanceId: string, signal: AbortSignal): Promise<Instance> {
  return request<Instance>(apiPath(["instances", instanceId]), { signal });
}

export function fetchGroups(instanceId: string, signal: AbortSignal): Promise<Page<Group>> {
  return request<Page<Group>>(apiPath(["instances", instanceId, "groups"]), { signal });
}
