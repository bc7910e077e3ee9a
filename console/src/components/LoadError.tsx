import { Alert, Button } from "antd";

interface Props {
  error: Error;
  onRetry?: () => void;
}

export function LoadError({ error, onRetry }: Props) {
  return (
    <Alert
      type="error"
      showIcon
      className="load-error"
      title="This could not be loaded"
      description={error.message}
      action={onRetry === undefined ? undefined : <Button onClick={onRetry}>Try again</Button>}
    />
  );
}
