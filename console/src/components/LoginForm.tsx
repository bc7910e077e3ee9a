import { LockOutlined, UserOutlined } from "@ant-design/icons";
import { Alert, Button, Form, Input } from "antd";
import { isStatus } from "../api/http";

interface LoginFields {
  user: string;
  password: string;
}

interface Props {
  error: Error | null;
  busy: boolean;
  onSubmit: (fields: LoginFields) => void;
}

function message(error: Error): string {
  return isStatus(error, 401) ? "User name or password is wrong." : error.message;
}

export function LoginForm({ error, busy, onSubmit }: Props) {
  return (
    <Form<LoginFields> layout="vertical" requiredMark={false} onFinish={onSubmit} size="large">
      <Form.Item name="user" label="User" rules={[{ required: true, message: "Enter your user name." }]}>
        <Input prefix={<UserOutlined aria-hidden />} autoComplete="username" autoFocus />
      </Form.Item>
      <Form.Item name="password" label="Password" rules={[{ required: true, message: "Enter your password." }]}>
        <Input.Password prefix={<LockOutlined aria-hidden />} autoComplete="current-password" />
      </Form.Item>
      {error !== null && !busy && <Alert type="error" showIcon title={message(error)} className="login-error" />}
      <Button type="primary" htmlType="submit" block loading={busy}>
        Log in
      </Button>
    </Form>
  );
}
