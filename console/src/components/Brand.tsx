import { Link } from "wouter";
import { paths } from "../domain/paths";

export function Brand() {
  return (
    <Link href={paths.instances()} className="brand">
      <img src="/favicon.svg" alt="" width={28} height={28} />
      <span>TraceMQ</span>
    </Link>
  );
}
