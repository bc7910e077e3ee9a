import { QueryClientProvider } from "@tanstack/react-query";
import { App, ConfigProvider, type ThemeConfig } from "antd";
import { useState } from "react";
import { makeQueryClient } from "./hooks/queryClient";
import { ConsoleRoutes } from "./routes";
import { ZoneProvider } from "./time/ZoneContext";

const theme: ThemeConfig = {
  token: {
    colorPrimary: "#0e5fd8",
    colorSuccess: "#2b8a3e",
    colorWarning: "#b35c00",
    colorError: "#c92a2a",
    // Darker words than the library's own, for contrast, on its light grounds.
    colorSuccessBg: "#ebfbee",
    colorSuccessBorder: "#b2f2bb",
    colorWarningBg: "#fff9e6",
    colorWarningBorder: "#ffe08a",
    colorErrorBg: "#fff0f0",
    colorErrorBorder: "#ffc9c9",
    borderRadius: 6,
    fontFamily: 'system-ui, -apple-system, "Segoe UI", Roboto, "Noto Sans", "DejaVu Sans", sans-serif',
    fontFamilyCode: 'ui-monospace, "SF Mono", Menlo, Consolas, "Liberation Mono", "DejaVu Sans Mono", monospace',
  },
  components: { Layout: { headerBg: "#ffffff", headerHeight: 56, headerPadding: "0 24px", siderBg: "#ffffff" } },
};

export function ConsoleApp() {
  const [client] = useState(makeQueryClient);
  return (
    <ConfigProvider theme={theme}>
      <App component={false}>
        <QueryClientProvider client={client}>
          <ZoneProvider>
            <ConsoleRoutes />
          </ZoneProvider>
        </QueryClientProvider>
      </App>
    </ConfigProvider>
  );
}
