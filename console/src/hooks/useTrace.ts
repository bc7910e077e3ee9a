import { useInfiniteQuery } from "@tanstack/react-query";
import { useState } from "react";
import { fetchDeviceTrace } from "../api/devices";
import type { TraceOrder, TracePage } from "../api/types";
import { rangeProblem, toQueryRange, type TraceRange } from "../time/range";

export const PAGE_SIZE = 50;

export interface TraceSearch {
  instanceId: string;
  clientId: string;
  range: TraceRange;
  order: TraceOrder;
  /** Another number searches again, so that a range that ends now ends now. */
  searchNo: number;
}

interface Position {
  begin: number;
  end: number;
  cursor: string;
}

export interface Trace {
  page: TracePage | undefined;
  error: Error | null;
  loading: boolean;
  /** How many rows of the result come before this page. */
  firstRow: number;
  previous: (() => void) | undefined;
  next: (() => void) | undefined;
}

/**
 * One page of a device's trace and the ways to its neighbours. Pages already read are kept; all pages of a search have the
 * begin and end of its first answer, so rows that arrive while one reads do not move the others.
 */
export function useTrace(search: TraceSearch): Trace {
  const key = ["trace", search] as const;
  const id = JSON.stringify(search);
  const [shown, setShown] = useState({ id, index: 0 });
  const index = shown.id === id ? shown.index : 0;
  const query = useInfiniteQuery({
    queryKey: key,
    queryFn: ({ pageParam, signal }) =>
      fetchDeviceTrace(
        search.instanceId,
        search.clientId,
        { ...(pageParam ?? toQueryRange(search.range)), order: search.order, limit: PAGE_SIZE },
        signal,
      ),
    initialPageParam: null as Position | null,
    getNextPageParam: ({ begin, end, next }: TracePage): Position | undefined =>
      next === null ? undefined : { begin, end, cursor: next },
    enabled: search.clientId !== "" && rangeProblem(search.range) === null,
    staleTime: Infinity,
    refetchOnWindowFocus: false,
    refetchOnReconnect: false,
  });

  const pages = query.data?.pages ?? [];
  const goTo = (to: number) => setShown({ id, index: to });
  const forward = async () => {
    if (index + 1 >= pages.length) {
      const result = await query.fetchNextPage();
      if (result.isError) {
        return;
      }
    }
    goTo(index + 1);
  };
  const hasNext = index + 1 < pages.length || query.hasNextPage;
  return {
    page: pages[index],
    error: query.error,
    loading: query.isFetching,
    firstRow: pages.slice(0, index).reduce((sum, page) => sum + page.items.length, 0),
    previous: index > 0 ? () => goTo(index - 1) : undefined,
    next: hasNext ? () => void forward() : undefined,
  };
}
