"""Certificates for tests, made by openssl's command line: an authority, servers, clients, a list of revoked ones."""

import subprocess


def openssl(*words):
    subprocess.run(["openssl", *map(str, words)], check=True, capture_output=True)


class Authority:
    def __init__(self, directory, name="ca"):
        self.directory, self.serial = directory, 100
        self.cert, self.key = directory / f"{name}.pem", directory / f"{name}.key"
        self.index = directory / f"{name}.index"
        self.index.write_text("")
        self.config = directory / f"{name}.cnf"
        self.config.write_text(
            f"[ca]\ndefault_ca=d\n[d]\ndatabase={self.index}\ndefault_md=sha256\ndefault_crl_days=2\n"
        )
        openssl("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", 2, "-subj",
                f"/O=TraceMQ tests/CN={name}", "-keyout", self.key, "-out", self.cert)  # fmt: skip

    def issue(self, name, subject=None, san=None, days=40):
        """(certificate, key): files of that name."""
        cert, key, request = (self.directory / f"{name}.{end}" for end in ("pem", "key", "csr"))
        extensions = self.directory / f"{name}.ext"
        extensions.write_text(f"subjectAltName={san}\n" if san else "basicConstraints=CA:FALSE\n")
        openssl("req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj", subject or f"/CN={name}",
                "-keyout", key, "-out", request)  # fmt: skip
        self.serial += 1
        openssl("x509", "-req", "-in", request, "-CA", self.cert, "-CAkey", self.key, "-set_serial", self.serial, "-days",
                days, "-extfile", extensions, "-out", cert)  # fmt: skip
        return cert, key

    def revoke(self, *certs):
        """A list of revoked certificates: its file."""
        crl = self.directory / "crl.pem"
        base = ["ca", "-config", self.config, "-keyfile", self.key, "-cert", self.cert]
        for cert in certs:
            openssl(*base, "-revoke", cert)
        openssl(*base, "-gencrl", "-out", crl)
        return crl
