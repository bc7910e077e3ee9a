// Every address of the console; the routes table in routes.tsx has the same patterns.
const segment = encodeURIComponent;

export const paths = {
  login: (next: string) => (next === "" ? "/login" : `/login?next=${segment(next)}`),
  instances: () => "/instances",
  instance: (id: string) => `/instances/${segment(id)}`,
  deviceTrace: (id: string, search = "") => withSearch(`/instances/${segment(id)}/device-trace`, search),
  deviceStatus: (id: string, search = "") => withSearch(`/instances/${segment(id)}/device-status`, search),
};

function withSearch(path: string, search: string): string {
  return search === "" ? path : `${path}?${search}`;
}

/** Where to go after log in: a page of this console only, never another site. */
export function safeNext(next: string | null): string {
  return next !== null && /^\/(?![/\\])/.test(next) && !next.startsWith("/login") ? next : paths.instances();
}
