import { LogoutOutlined, UserOutlined } from "@ant-design/icons";
import { Button, Dropdown } from "antd";
import { useLogOut, useMe } from "../hooks/useSession";

export function UserMenu() {
  const me = useMe();
  const logOut = useLogOut();
  const items = [{ key: "logout", icon: <LogoutOutlined aria-hidden />, label: "Log out", onClick: () => logOut.mutate() }];
  return (
    <Dropdown menu={{ items }} trigger={["click"]} placement="bottomRight">
      <Button type="text" icon={<UserOutlined aria-hidden />} aria-label={`User menu of ${me.data?.user ?? ""}`}>
        {me.data?.user}
      </Button>
    </Dropdown>
  );
}
