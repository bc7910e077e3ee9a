// One function for every request: JSON in, JSON out, anything else is an ApiError.
// The session is a cookie that scripts cannot read, so nothing is added here to prove who we are.
import { noteServerDate } from "./clock";
import type { Problem } from "./types";

export class ApiError extends Error {
  /** 0 when the server could not be reached. */
  readonly status: number;
  /** The parameter that the server refused, if it named one. */
  readonly field: string | undefined;

  constructor(status: number, message: string, field?: string) {
    super(message);
    this.name = "ApiError";
    this.status = status;
    this.field = field;
  }
}

export function isStatus(error: unknown, status: number): boolean {
  return error instanceof ApiError && error.status === status;
}

type QueryValue = string | number | boolean | null | undefined;

/** Path segments are encoded one by one, so a client ID may hold `/` and `@`. Empty query values are left out. */
export function apiPath(segments: string[], query: Record<string, QueryValue> = {}): string {
  const params = new URLSearchParams();
  for (const [name, value] of Object.entries(query)) {
    if (value !== undefined && value !== null && value !== "") {
      params.set(name, String(value));
    }
  }
  const path = ["", "api", "v1", ...segments.map(encodeURIComponent)].join("/");
  const search = params.toString();
  return search === "" ? path : `${path}?${search}`;
}

interface RequestOptions {
  method?: "GET" | "POST" | "PUT" | "PATCH" | "DELETE";
  body?: unknown;
  signal?: AbortSignal;
}

export async function request<T>(path: string, { method = "GET", body, signal }: RequestOptions = {}): Promise<T> {
  const response = await send(path, {
    method,
    credentials: "same-origin",
    headers: body === undefined ? { Accept: "application/json" } : { Accept: "application/json", "Content-Type": "application/json" },
    body: body === undefined ? null : JSON.stringify(body),
    signal: signal ?? null,
  });
  noteServerDate(response.headers.get("Date"));
  if (!response.ok) {
    throw await errorOf(response);
  }
  return (response.status === 204 ? undefined : await response.json()) as T;
}

async function send(path: string, init: RequestInit): Promise<Response> {
  try {
    return await fetch(path, init);
  } catch (error) {
    if (error instanceof DOMException && error.name === "AbortError") {
      throw error;
    }
    throw new ApiError(0, "The broker does not answer. Is it running, and is the network up?");
  }
}

async function errorOf(response: Response): Promise<ApiError> {
  const fallback = `${response.status} ${response.statusText}`.trim();
  try {
    const problem = (await response.json()) as Partial<Problem>;
    return new ApiError(response.status, problem.detail ?? problem.title ?? fallback, problem.field);
  } catch {
    return new ApiError(response.status, fallback);
  }
}
