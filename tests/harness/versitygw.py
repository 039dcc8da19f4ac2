"""A real S3 server for tests: versitygw on a free port of 127.0.0.1, ended by pid when the block ends."""
import os
import socket
import subprocess
import time
from pathlib import Path

VERSION = "1.8.0"
CACHE = Path(os.environ.get("TRAINYARD_CACHE") or Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "trainyard")


class Versitygw:
    """tls: (certificate, key) files, PEM. options: more of versitygw's own."""

    def __init__(self, directory, binary=None, tls=None, options=()):
        self.binary = Path(binary or CACHE / f"versitygw-{VERSION}" / "versitygw")
        if not self.binary.exists():
            raise FileNotFoundError(f"{self.binary} is missing: run make deps")
        self.directory = Path(directory)
        self.directory.mkdir(parents=True, exist_ok=True)
        self.access, self.secret = "testaccess", "testsecret"
        self.tls, self.options = tls, list(options)
        self.process = None

    def __enter__(self):
        with socket.socket() as s:
            s.bind(("127.0.0.1", 0))
            self.port = s.getsockname()[1]
        self.endpoint = f"{'https' if self.tls else 'http'}://127.0.0.1:{self.port}"
        options = [*self.options, *(["--cert", str(self.tls[0]), "--key", str(self.tls[1])] if self.tls else [])]
        self.log = open(self.directory.parent / f"{self.directory.name}.log", "wb")
        self.process = subprocess.Popen([str(self.binary), "--port", f"127.0.0.1:{self.port}", *options, "posix", str(self.directory)], stdout=self.log,
                                        stderr=subprocess.STDOUT, env={**os.environ, "ROOT_ACCESS_KEY": self.access, "ROOT_SECRET_KEY": self.secret})
        for _ in range(200):
            with socket.socket() as s:
                if s.connect_ex(("127.0.0.1", self.port)) == 0:
                    return self
            if self.process.poll() is not None:
                break
            time.sleep(0.05)
        raise RuntimeError(f"versitygw did not start; see {self.log.name}")

    def __exit__(self, *_):
        self.process.terminate()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.log.close()

    def make_bucket(self, name):
        (self.directory / name).mkdir(exist_ok=True)

    @property
    def environment(self):
        return {"AWS_ACCESS_KEY_ID": self.access, "AWS_SECRET_ACCESS_KEY": self.secret, "AWS_ENDPOINT_URL": self.endpoint, "AWS_REGION": "us-east-1"}
