import { useQuery } from "@tanstack/react-query";
import { fetchDeviceStatus } from "../api/devices";

const STATUS_REFRESH_MS = 5_000;

interface Options {
  enabled: boolean;
  /** Another number asks again even if the same device was asked a moment ago. */
  searchNo?: number;
  live?: boolean;
}

/** The state of one device. A device never seen is an ApiError with status 404. */
export function useDeviceStatus(instanceId: string, clientId: string, { enabled, searchNo = 0, live = false }: Options) {
  return useQuery({
    queryKey: ["device", instanceId, clientId, searchNo],
    queryFn: ({ signal }) => fetchDeviceStatus(instanceId, clientId, signal),
    enabled: enabled && clientId !== "",
    refetchInterval: (query) => (live && query.state.status !== "error" ? STATUS_REFRESH_MS : false),
  });
}
