// Which clock the page shows: UTC or the browser's. One switch for all pages, remembered by the browser.
import { createContext, useContext, useMemo, useState, type ReactNode } from "react";
import { formatMoment, zoneName, type Zone } from "./format";

const STORAGE_KEY = "tracemq.zone";

interface ZoneState {
  zone: Zone;
  setZone: (zone: Zone) => void;
}

const ZoneContext = createContext<ZoneState>({ zone: "local", setZone: () => undefined });

function rememberedZone(): Zone {
  return localStorage.getItem(STORAGE_KEY) === "utc" ? "utc" : "local";
}

export function ZoneProvider({ children }: { children: ReactNode }) {
  const [zone, setZoneState] = useState<Zone>(rememberedZone);
  const state = useMemo<ZoneState>(
    () => ({
      zone,
      setZone: (next) => {
        localStorage.setItem(STORAGE_KEY, next);
        setZoneState(next);
      },
    }),
    [zone],
  );
  return <ZoneContext.Provider value={state}>{children}</ZoneContext.Provider>;
}

export function useZone(): ZoneState {
  return useContext(ZoneContext);
}

/** A moment in the chosen zone, its full form and zone on hover. `null` is a dash. */
export function Moment({ ms, iso, withMs = true }: { ms: number | null; iso?: string; withMs?: boolean }) {
  const { zone } = useZone();
  if (ms === null) {
    return <>–</>;
  }
  const title = iso ?? `${formatMoment(ms, zone)} ${zoneName(ms, zone)}`;
  return (
    <time dateTime={new Date(ms).toISOString()} title={title} className="nowrap">
      {formatMoment(ms, zone, withMs)}
    </time>
  );
}
