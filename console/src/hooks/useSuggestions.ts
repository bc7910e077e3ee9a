import { keepPreviousData, useQuery } from "@tanstack/react-query";
import { fetchDevices } from "../api/devices";
import { fetchGroups } from "../api/instances";
import { useDebounced } from "./useDebounced";

const SUGGESTIONS = 12;
const STALE_MS = 10_000;

/** Devices whose client ID begins with the prefix. A failure is no suggestion, never an error on the page. */
export function useDeviceSuggestions(instanceId: string, prefix: string) {
  const query = useDebounced(prefix);
  const { data } = useQuery({
    queryKey: ["suggestions", instanceId, query],
    queryFn: ({ signal }) => fetchDevices(instanceId, { query, limit: SUGGESTIONS }, signal),
    placeholderData: keepPreviousData,
    staleTime: STALE_MS,
  });
  return data?.items ?? [];
}

/** Groups that were declared, and those of the devices that the prefix finds: a group need not be declared. */
export function useGroupSuggestions(instanceId: string, prefix: string): string[] {
  const { data } = useQuery({
    queryKey: ["groups", instanceId],
    queryFn: ({ signal }) => fetchGroups(instanceId, signal),
    staleTime: STALE_MS,
  });
  const devices = useDeviceSuggestions(instanceId, prefix);
  const names = new Set((data?.items ?? []).map((group) => group.id));
  devices.forEach((device) => device.group !== null && names.add(device.group));
  return [...names].filter((name) => name.startsWith(prefix)).sort();
}
