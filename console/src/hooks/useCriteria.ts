import { useMemo, useState } from "react";
import { useLocation, useSearch } from "wouter";
import { criteriaOf, searchOf, type TraceCriteria } from "../domain/criteria";

/** The criteria in the page's address, and how to change them. Searching again without a change counts `searchNo` up. */
export function useCriteria() {
  const search = useSearch();
  const [path, navigate] = useLocation();
  const [searchNo, setSearchNo] = useState(0);
  const criteria = useMemo(() => criteriaOf(search), [search]);
  const tab = new URLSearchParams(search).get("tab") ?? "";

  const go = (next: TraceCriteria, nextTab: string) => {
    setSearchNo((count) => count + 1);
    const more: Record<string, string> = nextTab === "" ? {} : { tab: nextTab };
    navigate(`${path}?${searchOf(next, more)}`);
  };
  return {
    criteria,
    searchNo,
    tab,
    change: (part: Partial<TraceCriteria>) => go({ ...criteria, ...part }, tab),
    setTab: (next: string) => navigate(`${path}?${searchOf(criteria, { tab: next })}`, { replace: true }),
  };
}
