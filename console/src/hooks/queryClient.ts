import { MutationCache, QueryCache, QueryClient } from "@tanstack/react-query";
import { ApiError, isStatus } from "../api/http";
import { ME_KEY } from "./useSession";

const RETRIES = 2;

/** Only what may be better a moment later is asked again: no connection, or a broker that is still starting. */
function mayRetry(failures: number, error: Error): boolean {
  return failures < RETRIES && error instanceof ApiError && (error.status === 0 || error.status === 503);
}

/** A 401 of any request means that the session is over: the log in page follows (see RequireLogin). */
export function makeQueryClient(): QueryClient {
  const onError = (error: Error) => {
    if (isStatus(error, 401)) {
      client.setQueryData(ME_KEY, null);
    }
  };
  const client = new QueryClient({
    queryCache: new QueryCache({ onError }),
    mutationCache: new MutationCache({ onError }),
    defaultOptions: { queries: { retry: mayRetry, staleTime: 1000 } },
  });
  return client;
}
