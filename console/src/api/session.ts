import { apiPath, request } from "./http";
import type { User } from "./types";

export function fetchMe(signal: AbortSignal): Promise<User> {
  return request<User>(apiPath(["me"]), { signal });
}

export function logIn(user: string, password: string): Promise<User> {
  return request<User>(apiPath(["login"]), { method: "POST", body: { user, password } });
}

export function logOut(): Promise<void> {
  return request<void>(apiPath(["logout"]), { method: "POST" });
}
