// The one place that says how the words of the trace look. The words themselves come from the server.

export type Tone = "success" | "default" | "warning" | "error" | "processing";

/** `connect` began a channel, `disconnect` ended it as it should, `close` is what one searches for. */
export function actionTone(action: string): Tone {
  switch (action) {
    case "connect":
      return "success";
    case "disconnect":
      return "default";
    case "close":
      return "error";
    default:
      return "warning";
  }
}

/** A cause is a stable code such as `auth.bad_password`; it is shown as it is, so it can be searched for. */
export function causeLabel(cause: string | null): string {
  return cause ?? "–";
}

export function instanceTone(status: string): "success" | "warning" {
  return status === "running" ? "success" : "warning";
}

const SETTING_LABELS: Record<string, string> = {
  client_id: "Client IDs",
  topics: "Topics",
  on_denied: "Denied publish or subscribe",
  subscriptions: "Subscriptions",
  allow_anonymous: "Anonymous clients",
  unknown_users: "User names that nobody has",
};

const SETTING_VALUES: Record<string, string> = {
  "client_id=any": "any: a client ID may have any form, groups need not be declared",
  "client_id=grouped": "grouped: GroupID@@@DeviceID only, the group must be declared",
  "topics=open": "open: any topic may be used",
  "topics=declared": "declared: the first level must be created first",
  "on_denied=close": "close: the connection is closed",
  "on_denied=refuse": "refuse: answered with a reason code, the connection stays",
  "subscriptions=covered": "covered: permissions must cover the filter",
  "subscriptions=filtered": "filtered: all are granted, messages that may not be read are passed over",
  "allow_anonymous=true": "allowed",
  "allow_anonymous=false": "refused",
  "unknown_users=refused": "refused",
  "unknown_users=anonymous": "anonymous: as if there was no user name, where anonymous clients are let in",
};

export function settingLabel(key: string): string {
  return SETTING_LABELS[key] ?? key;
}

export function settingValue(key: string, value: string | boolean): string {
  return SETTING_VALUES[`${key}=${String(value)}`] ?? String(value);
}
