"""Certificates for a cluster that lives for minutes: one authority, elliptic keys, made with openssl."""
import subprocess
from pathlib import Path


def _openssl(*arguments, stdin=None):
    done = subprocess.run(["openssl", *map(str, arguments)], input=stdin, text=True, capture_output=True, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"openssl {arguments[0]}: {done.stderr.strip()}")


def make_key(path):
    """The plain PKCS#8 form is what every reader of the cluster takes."""
    _openssl("genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256", "-out", path)
    Path(path).chmod(0o600)
    return path


def make_key_pair(private, public):
    _openssl("pkey", "-in", make_key(private), "-pubout", "-out", public)


class Authority:
    """ca.crt and ca.key in directory; issue() puts NAME.crt and NAME.key beside them."""

    def __init__(self, directory):
        self.directory = Path(directory)
        self.certificate, self.key = self.directory / "ca.crt", self.directory / "ca.key"

    def create(self):
        self.directory.mkdir(parents=True, exist_ok=True)
        make_key(self.key)
        _openssl("req", "-x509", "-new", "-key", self.key, "-subj", "/CN=trainyard test cluster", "-days", 30, "-out", self.certificate)
        return self

    def issue(self, name, common_name, organizations=(), addresses=(), names=()):
        key, request, certificate = (self.directory / f"{name}.{suffix}" for suffix in ("key", "csr", "crt"))
        make_key(key)
        subject = "".join(f"/O={o}" for o in organizations) + f"/CN={common_name}"
        _openssl("req", "-new", "-key", key, "-subj", subject, "-out", request)
        extensions = ["basicConstraints=CA:FALSE", "keyUsage=digitalSignature"]
        alternatives = [f"IP:{a}" for a in addresses] + [f"DNS:{n}" for n in names]
        extensions.append("extendedKeyUsage=" + ("serverAuth,clientAuth" if alternatives else "clientAuth"))
        if alternatives:
            extensions.append("subjectAltName=" + ",".join(alternatives))
        settings = self.directory / f"{name}.ext"
        settings.write_text("\n".join(extensions) + "\n")
        _openssl("x509", "-req", "-in", request, "-CA", self.certificate, "-CAkey", self.key, "-CAcreateserial", "-days", 30,
                 "-extfile", settings, "-out", certificate)
        request.unlink()
        settings.unlink()
        return certificate, key
