import { useQuery } from "@tanstack/react-query";
import { fetchInstance, fetchInstances, fetchRegions } from "../api/instances";

const ONLINE_COUNT_REFRESH_MS = 10_000;

export function useRegions() {
  return useQuery({ queryKey: ["regions"], queryFn: ({ signal }) => fetchRegions(signal), staleTime: Infinity });
}

export function useInstances() {
  return useQuery({
    queryKey: ["instances"],
    queryFn: ({ signal }) => fetchInstances(signal),
    refetchInterval: ONLINE_COUNT_REFRESH_MS,
  });
}

export function useInstance(instanceId: string) {
  return useQuery({
    queryKey: ["instances", instanceId],
    queryFn: ({ signal }) => fetchInstance(instanceId, signal),
    refetchInterval: (query) => (query.state.status === "error" ? false : ONLINE_COUNT_REFRESH_MS),
  });
}
