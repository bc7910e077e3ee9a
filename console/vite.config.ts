import react from "@vitejs/plugin-react";
import { defineConfig } from "vite";

// The built files are embedded into the broker: few files, hashed names (cacheable for ever), nothing from outside.
// `TRACEMQ_URL` is the broker that `npm run dev` forwards the API to.
const broker = process.env["TRACEMQ_URL"] ?? "http://127.0.0.1:8080";

/** React and the component library change rarely: apart from the console's own code they stay in the browser's cache. */
function chunkOf(id: string): string | undefined {
  if (!id.includes("/node_modules/")) {
    return undefined;
  }
  return /\/node_modules\/(react|react-dom|scheduler|use-sync-external-store|wouter|regexparam|mitt|@tanstack)\//.test(id) ? "react" : "antd";
}

export default defineConfig({
  plugins: [react()],
  server: { host: "127.0.0.1", proxy: { "/api": broker } },
  build: {
    target: "es2022",
    sourcemap: false,
    chunkSizeWarningLimit: 1200,
    modulePreload: { polyfill: false },
    rollupOptions: { output: { manualChunks: chunkOf } },
  },
});
