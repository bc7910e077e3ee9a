import { DatePicker, Segmented } from "antd";
import type { Dayjs } from "dayjs";
import type { KeyboardEvent } from "react";
import { fromPicker, toPicker } from "../time/format";
import { LASTS, toMoments, type Last, type TraceRange } from "../time/range";
import { useZone } from "../time/ZoneContext";

type Choice = Last | "fixed";

const CHOICES: Array<{ value: Choice; label: string }> = [
  ...LASTS.map(({ last, label }) => ({ value: last, label })),
  { value: "fixed", label: "Custom" },
];

interface Props {
  /** Set by the surrounding Form.Item. */
  id?: string;
  value?: TraceRange;
  onChange?: (range: TraceRange) => void;
}

/** Days that would make the range longer than a day cannot be picked; hours that would are refused by the form's rule. */
function tooFar(day: Dayjs, from: Dayjs | undefined): boolean {
  return from !== undefined && Math.abs(day.startOf("day").diff(from.startOf("day"), "day")) > 1;
}

/** In the picker Enter goes from begin to end and closes it; it must not search with half a range. */
function keepEnter(event: KeyboardEvent): void {
  if (event.key === "Enter") {
    event.preventDefault();
  }
}

export function TimeRangeField({ id, value, onChange }: Props) {
  const { zone } = useZone();
  if (value === undefined) {
    return null;
  }
  const choose = (choice: Choice) =>
    onChange?.(choice === "fixed" ? { kind: "fixed", ...toMoments(value) } : { kind: "last", last: choice });
  const pick = (moments: [Dayjs | null, Dayjs | null] | null) => {
    const [begin, end] = moments ?? [null, null];
    if (begin !== null && end !== null) {
      onChange?.({ kind: "fixed", begin: fromPicker(begin, zone), end: fromPicker(end, zone) });
    }
  };
  return (
    <div className="range-field" id={id} role="group" aria-label="Time Range">
      <Segmented<Choice>
        aria-label="Time Range preset"
        options={CHOICES}
        value={value.kind === "last" ? value.last : "fixed"}
        onChange={choose}
      />
      {value.kind === "fixed" && (
        <span onKeyDown={keepEnter}>
          <DatePicker.RangePicker
            placeholder={["Begin", "End"]}
            showTime
            allowClear={false}
            order={false}
            format="YYYY-MM-DD HH:mm:ss"
            value={[toPicker(value.begin, zone), toPicker(value.end, zone)]}
            onChange={pick}
            disabledDate={(day, { from }) => tooFar(day, from)}
          />
        </span>
      )}
    </div>
  );
}
