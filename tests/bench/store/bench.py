#!/usr/bin/env python3
"""Artifact transfer beside boto3's transfer manager, against versitygw on this machine: CPU seconds per GB (of the client alone) and
GB/s. Written to build/bench/store.json.

Both move the same bytes over the same protocol with their defaults; the peer runs in its default mode and with our part size and
number of connections, and its better mode counts in each case. Runs alternate. Before anything is timed, each direction's
bytes are compared. The server's files are in the page cache; every download writes a new file, every upload a new object.
What the two do for integrity: over http both sign the SHA-256 of each body they upload; over TLS ours sends a CRC32C of each body, the
peer none (peer.py says why). On download ours verifies the object's CRC32C, the peer only what comes without a range.
"""
import argparse
import hashlib
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

sys.path[:0] = [str(Path(__file__).resolve().parents[1]), str(Path(__file__).resolve().parents[2] / "harness")]
import measure  # noqa: E402
from storetool import TOOL, Tool, build_tool  # noqa: E402
from versitygw import VERSION, Versitygw  # noqa: E402

PEER = Path(__file__).with_name("peer.py")
MODES = ("default", "tuned")


def certificate(directory):
    run = lambda *a: subprocess.run(["openssl", *a], cwd=directory, check=True, capture_output=True)  # noqa: E731
    run("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2", "-keyout", "server.key", "-out", "server.pem",
        "-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1")
    return directory / "server.pem", directory / "server.key"


def digest(path):
    with open(path, "rb") as f:
        return hashlib.file_digest(f, "sha256").hexdigest()


class Case:
    """One direction, protocol and shape, for both sides."""

    def __init__(self, name, verb, gateway, ca, files, directory):
        self.name, self.verb, self.gateway, self.ca, self.files, self.directory = name, verb, gateway, ca, files, directory
        self.bytes = sum(f.stat().st_size for f in files)
        self.tool = Tool("s3://bucket", endpoint=gateway.endpoint, ca_file=ca, deadline="120s")
        self.count = 0
        self.runs = {who: [] for who in ("ours", *MODES)}

    def places(self):
        """Fresh names for this run: objects for put, files for get."""
        self.count += 1
        if self.verb == "put":
            return [(f"up/{self.name}/{self.count}/{f.name}", f) for f in self.files]
        target = self.directory / "down"
        target.mkdir(exist_ok=True)
        for old in target.iterdir():
            old.unlink()
        return [(f"source/{f.name}", target / f.name) for f in self.files]

    def run(self, who):
        pairs = self.places()
        if who == "ours":
            operation = "putfile" if self.verb == "put" else "getfile"
            done = self.tool.many([(operation, key, path) for key, path in pairs])
            failed = [d for d in done if not d["ok"]]
            if failed or len(done) != len(pairs):
                raise RuntimeError(f"{self.name}: {failed[:1]}")
            result = {"cpu": sum(d["cpu"] for d in done), "wall": sum(d["wall"] for d in done)}
        else:
            arguments = [str(a) for pair in pairs for a in pair]
            out = subprocess.run([sys.executable, str(PEER), self.gateway.endpoint, str(self.ca or "-"), who, self.verb, *arguments], capture_output=True, text=True)
            if out.returncode != 0:
                raise RuntimeError(f"{self.name}, {who}: {out.stderr[-2000:]}")
            result = json.loads(out.stdout)
        return result, pairs

    def check_bytes(self):
        for who in ("ours", *MODES):
            _, pairs = self.run(who)
            for (key, path), source in zip(pairs, self.files):
                moved = self.gateway.directory / "bucket" / key if self.verb == "put" else path
                if digest(moved) != digest(source):
                    raise RuntimeError(f"{self.name}, {who}: the bytes differ")
            self.forget(pairs)

    def forget(self, pairs):
        if self.verb == "put":
            for key, _ in pairs:
                (self.gateway.directory / "bucket" / key).unlink()

    def measure(self, quiet):
        for who in ("ours", *MODES):
            busy = measure.wait_until_quiet() if quiet else measure.busy_share(0.1)
            result, pairs = self.run(who)
            self.forget(pairs)
            self.runs[who].append({"cpu_per_gb": result["cpu"] / self.bytes * 1e9, "gb_per_s": self.bytes / result["wall"] / 1e9, "busy_before": round(busy, 3)})

    def result(self):
        def of(who):
            return {key: measure.summary(self.runs[who], key) for key in ("cpu_per_gb", "gb_per_s")} | {"busy_before": [r["busy_before"] for r in self.runs[who]]}
        ours, peers = of("ours"), {mode: of(mode) for mode in MODES}
        cheapest = min(peers.values(), key=lambda p: p["cpu_per_gb"]["median"])
        fastest = max(peers.values(), key=lambda p: p["gb_per_s"]["median"])
        return {"case": self.name, "bytes": self.bytes, "files": len(self.files), "ours": ours, "peer": peers,
                "ratio_cpu": cheapest["cpu_per_gb"]["median"] / ours["cpu_per_gb"]["median"],
                "ratio_speed": ours["gb_per_s"]["median"] / fastest["gb_per_s"]["median"], "peer_cpu_per_gb": cheapest["cpu_per_gb"]["median"]}



def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--large-mib", type=int, default=1024)
    parser.add_argument("--small-files", type=int, default=500)
    parser.add_argument("--repetitions", type=int, default=5)
    parser.add_argument("--no-wait", action="store_true", help="do not wait for a quiet machine (a trial run)")
    options = parser.parse_args()
    build_tool()
    with tempfile.TemporaryDirectory(prefix="bench-store-", dir=os.environ.get("TMPDIR")) as temporary:
        directory = Path(temporary)
        large = directory / "large.bin"
        with open(large, "wb") as f:
            for _ in range(options.large_mib):
                f.write(os.urandom(1 << 20))
        small = [directory / f"small-{i}.bin" for i in range(options.small_files)]
        for path in small:
            path.write_bytes(os.urandom(1 << 20))
        pem, key = certificate(directory)
        with Versitygw(directory / "plain", options=["--keep-alive", "--quiet"]) as plain, Versitygw(directory / "tls", tls=(pem, key), options=["--keep-alive", "--quiet"]) as secure:
            cases = []
            for protocol, gateway, ca in (("http", plain, None), ("tls", secure, pem)):
                gateway.make_bucket("bucket")
                tool = Tool("s3://bucket", endpoint=gateway.endpoint, ca_file=ca, deadline="120s")
                for d in tool.many([("putfile", f"source/{f.name}", f) for f in [large, *small]]):
                    if not d["ok"]:
                        raise RuntimeError(d["message"])
                for verb in ("get", "put"):
                    cases.append(Case(f"{protocol}-{verb}-large", verb, gateway, ca, [large], directory))
                    if small:
                        cases.append(Case(f"{protocol}-{verb}-small", verb, gateway, ca, small, directory))
            for case in cases:
                case.check_bytes()
            for _ in range(options.repetitions):
                for case in cases:
                    case.measure(quiet=not options.no_wait)
    results = [case.result() for case in cases]
    headline = [r for r in results if r["case"].endswith("large")]
    ours = sum(r["ours"]["cpu_per_gb"]["median"] for r in headline) / len(headline)
    peer = sum(r["peer_cpu_per_gb"] for r in headline) / len(headline)
    versions = json.loads(subprocess.run([sys.executable, "-c", "import json,boto3,s3transfer,botocore;print(json.dumps({'boto3':boto3.__version__,'s3transfer':s3transfer.__version__,"
                                          "'botocore':botocore.__version__}))"], capture_output=True, text=True, check=True).stdout)
    measure.write("store", {"unit": "CPU seconds per GB, one large file, mean over http and TLS, download and upload", "ours": ours, "peer": peer, "ratio": peer / ours,
                            "versions": {**versions, "versitygw": VERSION, "python": sys.version.split()[0]}, "sizes": {"large_mib": options.large_mib, "small": f"{options.small_files} x 1 MiB"},
                            "repetitions": options.repetitions, "spread": {r["case"]: r["ours"]["cpu_per_gb"] for r in results}, "cases": results})
    for r in results:
        print(f"{r['case']:16s} ours {r['ours']['cpu_per_gb']['median']:6.2f} CPU s/GB {r['ours']['gb_per_s']['median']:5.2f} GB/s   "
              f"peer {r['peer_cpu_per_gb']:6.2f}   CPU x{r['ratio_cpu']:.2f}, speed x{r['ratio_speed']:.2f}")
    print(f"ratio {peer / ours:.2f}")


if __name__ == "__main__":
    main()
