// A client ID is `GroupID@@@DeviceID`, or any other text: then the device has no group and the text is its name.
const JOINER = "@@@";

export interface DeviceName {
  group: string;
  device: string;
}

export function joinClientId({ group, device }: DeviceName): string {
  return group === "" ? device : `${group}${JOINER}${device}`;
}

export function splitClientId(clientId: string): DeviceName {
  const at = clientId.indexOf(JOINER);
  return at <= 0
    ? { group: "", device: clientId }
    : { group: clientId.slice(0, at), device: clientId.slice(at + JOINER.length) };
}
