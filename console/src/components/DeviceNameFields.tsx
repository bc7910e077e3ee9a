// Group ID and Device ID with suggestions: any text may be typed, a suggestion only saves typing.
import { AutoComplete, Badge, Form } from "antd";
import { joinClientId, splitClientId, type DeviceName } from "../domain/clientId";
import { useDeviceSuggestions, useGroupSuggestions } from "../hooks/useSuggestions";

interface FieldProps {
  instanceId: string;
  /** Set by the surrounding Form.Item. */
  id?: string;
  value?: string;
  onChange?: (text: string) => void;
}

export function GroupIdField({ instanceId, id, value = "", onChange }: FieldProps) {
  const groups = useGroupSuggestions(instanceId, value);
  return (
    <AutoComplete
      id={id}
      value={value}
      onChange={onChange}
      placeholder="GID_… (empty: no group)"
      options={groups.map((group) => ({ value: group }))}
      defaultActiveFirstOption={false}
      allowClear
    />
  );
}

interface DeviceIdFieldProps extends FieldProps {
  /** A suggestion was picked: both fields are to be filled in. */
  onPick: (name: DeviceName) => void;
}

export function DeviceIdField({ instanceId, id, value = "", onChange, onPick }: DeviceIdFieldProps) {
  const form = Form.useFormInstance();
  const group = (Form.useWatch<string | undefined>("group") ?? "").trim();
  const devices = useDeviceSuggestions(instanceId, joinClientId({ group, device: value }));
  const pick = (clientId: string) => {
    if (clientId === value && group === "") {
      form.submit(); // Enter on what is typed already: it is the search that was meant
    } else {
      onPick(splitClientId(clientId));
    }
  };
  return (
    <AutoComplete
      id={id}
      value={value}
      onChange={onChange}
      onSelect={pick}
      placeholder="Device ID or whole client ID"
      options={devices.map(({ clientId, online }) => ({
        value: clientId,
        label: <Badge status={online ? "success" : "default"} text={clientId} />,
      }))}
      defaultActiveFirstOption={false}
      popupMatchSelectWidth={false}
      allowClear
    />
  );
}
