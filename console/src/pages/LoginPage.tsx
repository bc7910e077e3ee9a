import { Redirect, useSearch } from "wouter";
import { LoginForm } from "../components/LoginForm";
import { safeNext } from "../domain/paths";
import { usePageTitle } from "../hooks/usePageTitle";
import { useLogIn, useMe } from "../hooks/useSession";

export function LoginPage() {
  usePageTitle("Log in");
  const me = useMe();
  const logIn = useLogIn();
  const next = safeNext(new URLSearchParams(useSearch()).get("next"));
  if (me.data) {
    return <Redirect to={next} replace />;
  }
  return (
    <main className="login">
      <section className="login-card">
        <img src="/favicon.svg" alt="" width={44} height={44} />
        <h1>TraceMQ</h1>
        <p className="secondary">The MQTT broker that can always tell you why a device disconnected.</p>
        <LoginForm error={logIn.error} busy={logIn.isPending} onSubmit={logIn.mutate} />
      </section>
    </main>
  );
}
