"""The cluster's S3 server: versitygw, plain and over TLS on the same folder, in the cluster's network."""
import secrets
import socket
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "harness"))

from versitygw import CACHE, VERSION  # noqa: E402

from .host import ClusterError, wait_until  # noqa: E402

BUCKET = "trainyard"


class S3:
    """endpoint, tls_endpoint: as pods (and run_inside) see it; also by the name s3.trainyard.test. host_endpoint,
    host_tls_endpoint: the same from this machine. ca: the authority's certificate, PEM file."""

    def __init__(self, cluster):
        self.cluster = cluster
        self.access, self.bucket, self.region = "testaccess", BUCKET, "us-east-1"
        self.directory = cluster.directory / "s3"
        self.ca = cluster.authority.certificate

    def start(self):
        binary = CACHE / f"versitygw-{VERSION}" / "versitygw"
        if not binary.exists():
            raise ClusterError(f"{binary} is missing: run tests/tools/deps.sh cluster")
        self.secret = secrets.token_hex(16)
        (self.directory / BUCKET).mkdir(parents=True)
        cluster = self.cluster
        certificate, key = cluster.authority.issue("s3", "s3", addresses=sorted({cluster.address, "127.0.0.1"}), names=["localhost", "s3.trainyard.test"])
        if cluster.node:
            plain, tls = 7070, 7443
        else:
            plain, tls = cluster.free_ports(2)
        environment = {"ROOT_ACCESS_KEY": self.access, "ROOT_SECRET_KEY": self.secret}
        for name, port, options in (("s3", plain, []), ("s3-tls", tls, ["--cert", certificate, "--key", key])):
            cluster.component(name, [binary, "--port", f"{cluster.address}:{port}", *options, "posix", self.directory], env=environment)
        cluster.record.save(s3={"secret": self.secret, "plain": plain, "tls": tls})
        self._addresses(plain, tls)
        for name, url in (("s3", self.host_endpoint), ("s3-tls", self.host_tls_endpoint)):
            def answers(name=name, port=int(url.rsplit(":", 1)[1])):
                ended = cluster.components[name].ended()
                if ended:
                    raise ClusterError(ended)
                # Through the forwarder a connection is taken before it is known whether the far side answers.
                with socket.create_connection(("127.0.0.1", port), timeout=2) as s:
                    s.settimeout(0.2)
                    try:
                        return s.recv(1) != b""
                    except TimeoutError:
                        return True
            wait_until(answers, 20, f"the S3 server {name}", step=0.05)
        return self

    def attach(self):
        known = self.cluster.record.data["s3"]
        self.secret = known["secret"]
        self._addresses(known["plain"], known["tls"])
        return self

    def _addresses(self, plain, tls):
        address = self.cluster.address
        self.endpoint, self.tls_endpoint = f"http://{address}:{plain}", f"https://{address}:{tls}"
        forwarded = self.cluster.record.data.get("forwarded", {})
        self.host_endpoint = f"http://127.0.0.1:{forwarded.get('s3', plain)}"
        self.host_tls_endpoint = f"https://127.0.0.1:{forwarded.get('s3tls', tls)}"

    def make_bucket(self, name):
        (self.directory / name).mkdir(exist_ok=True)

    def environment(self, tls=True, inside=True):
        """For programs that are configured by the AWS variables."""
        endpoint = {(True, True): self.tls_endpoint, (True, False): self.host_tls_endpoint, (False, True): self.endpoint,
                    (False, False): self.host_endpoint}[tls, inside]
        return {"AWS_ACCESS_KEY_ID": self.access, "AWS_SECRET_ACCESS_KEY": self.secret, "AWS_REGION": self.region, "AWS_ENDPOINT_URL": endpoint,
                **({"AWS_CA_BUNDLE": str(self.ca)} if tls else {})}

    def secret_manifest(self, namespace, name="s3-credentials"):
        """A Secret with the keys, as a pipeline's store refers to it."""
        return {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name, "namespace": namespace},
                "stringData": {"AWS_ACCESS_KEY_ID": self.access, "AWS_SECRET_ACCESS_KEY": self.secret}}

    def authority_manifest(self, namespace, name="s3-authority"):
        """A ConfigMap with the authority's certificate under ca.pem, for the store's caBundle."""
        return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "namespace": namespace}, "data": {"ca.pem": Path(self.ca).read_text()}}

    def describe(self):
        return (f"{self.endpoint} and {self.tls_endpoint} in the node's network, {self.host_endpoint} and {self.host_tls_endpoint} here; "
                f"bucket {self.bucket}, access key {self.access}, secret key {self.secret}")
