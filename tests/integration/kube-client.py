#!/usr/bin/env python3
"""The client and its caches against a real API server over HTTP/2, while connections die without a word, the server is killed,
and etcd forgets the versions that a cache knows. What faults of single answers do is in kube-faults.py."""
import re
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

TESTS = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(TESTS), str(TESTS / "harness")]

from cluster import Cluster, ClusterError, tools  # noqa: E402
from cluster.host import wait_until  # noqa: E402
from yard import BIN, ROOT, Cases  # noqa: E402

SILENCE_MS, TIMEOUT_MS = 4000, 2000
CONFIGMAPS = "/api/v1/namespaces/default/configmaps"
cases = Cases()


class Tunnel:
    """A TCP proxy. freeze(): the connections that are open swallow everything and stay open; new ones are served."""

    def __init__(self, target):
        self.target, self.open, self.accepted, self.refusing = target, [], 0, False
        self.listening = socket.create_server(("127.0.0.1", 0))
        self.port = self.listening.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        while True:
            near = self.listening.accept()[0]
            self.accepted += 1
            if self.refusing:
                near.close()
                continue
            try:
                far = socket.create_connection(self.target)
            except OSError:
                near.close()
                continue
            frozen = threading.Event()
            self.open.append(frozen)
            for source, sink in ((near, far), (far, near)):
                threading.Thread(target=self._pump, args=(source, sink, frozen), daemon=True).start()

    @staticmethod
    def _pump(source, sink, frozen):
        try:
            while data := source.recv(65536):
                if not frozen.is_set():
                    sink.sendall(data)
            while frozen.is_set():
                time.sleep(1)
        except OSError:
            pass
        for end in (source, sink):
            try:
                end.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass

    def freeze(self):
        for frozen in self.open:
            frozen.set()


class Probe:
    """kube-probe, and its lines."""

    def __init__(self, binary, kubeconfig):
        self.process = subprocess.Popen([binary, kubeconfig, "300", str(SILENCE_MS), str(TIMEOUT_MS)], stdout=subprocess.PIPE, text=True)
        self.lines = []
        threading.Thread(target=lambda: self.lines.extend(iter(self.process.stdout.readline, "")), daemon=True).start()

    def sees(self, title, pattern, seconds, since=0):
        try:
            wait_until(lambda: any(re.search(pattern, line) for line in list(self.lines)[since:]), seconds, title, step=0.05)
        except ClusterError as error:
            return cases.check(title, False, f"{error}; the last lines: {''.join(self.lines[-3:])}")
        return cases.check(title, True)

    def memory(self):
        text = Path(f"/proc/{self.process.pid}/status").read_text(encoding="ascii")
        return {key: int(re.search(rf"{key}:\s+(\d+)", text).group(1)) for key in ("VmRSS", "RssAnon")}


def build(directory):
    obj = BIN.parent / "obj/tests/harness/kube-probe.c.o"
    libs = [BIN.parent / f"lib/lib{name}.a" for name in ("kube", "http", "base")]
    targets = [str(p.relative_to(ROOT)) for p in (obj, *libs)]
    subprocess.run(["make", "--no-print-directory", "-s", *targets], cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
    binary = directory / "kube-probe"
    sanitizer = [f"-fsanitize={BIN.parent.name}"] if BIN.parent.name in ("address", "undefined", "thread") else []
    subprocess.run(["gcc", "-o", binary, *sanitizer, obj, *libs, *"-lyaml -lcurl -lmicrohttpd -lcjson -lcrypto -lm -lpthread".split()], check=True)
    return binary, bool(sanitizer)


def create(api, name):
    api.post(CONFIGMAPS, {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}})


def scenes(cluster, tunnel, probe, sanitized):
    api = cluster.api
    for what in ("configmaps", "pods", "jobs", "services"):
        probe.sees(f"{what} are listed", f"^synced {what}", 10)
    cases.check("the pages of a list are one list", sum(line.startswith("new configmaps default/many-") for line in probe.lines) == 25)
    probe.sees("calls pass", "^read .* ok", 10)
    cases.check("four watches and the calls share one connection", tunnel.accepted == 1, f"{tunnel.accepted} connections")
    create(api, "first")
    probe.sees("a new object is seen", "^new configmaps default/first ", 5)
    memory = probe.memory()
    cases.check("four idle caches: under 4 MiB of their own, under 16 MiB with the shared libraries' pages",
                sanitized or (memory["RssAnon"] < 4096 and memory["VmRSS"] < 16384), f"{memory} KiB")

    since = len(probe.lines)
    tunnel.freeze()
    create(api, "half-open")
    probe.sees("a dead connection costs a call its time-out, no more", "^read .* ok", 3 * TIMEOUT_MS / 1000, since)
    probe.sees("what was made meanwhile is seen", "^new configmaps default/half-open ", 2 * SILENCE_MS / 1000, since)

    since = len(probe.lines)
    api.delete(f"{CONFIGMAPS}/first")
    cluster.restart_api(kill=True)
    create(cluster.api, "after-restart")
    probe.sees("the API server was killed: a deletion before is seen", "^deleted configmaps default/first ", 40, since)
    probe.sees("the API server was killed: watches go on", "^new configmaps default/after-restart ", 40, since)
    repeated = [line for line in probe.lines[since:] if re.match("new configmaps default/(many|half)", line)]
    cases.check("nothing that was known came as new", not repeated, "".join(repeated))

    since = len(probe.lines)
    tunnel.refusing = True
    tunnel.freeze()
    cluster.api.delete(f"{CONFIGMAPS}/half-open")
    create(cluster.api, "after-compaction")
    cluster.compact_etcd()
    cluster.restart_api()
    tunnel.refusing = False
    probe.sees("away while etcd was compacted: what was deleted is found by a new list", "^deleted configmaps default/half-open ", 40, since)
    probe.sees("away while etcd was compacted: what is new as well", "^new configmaps default/after-compaction ", 10, since)
    create(cluster.api, "last")
    probe.sees("and the watch goes on from there", "^new configmaps default/last ", 10, since)


def main():
    absent = tools.missing(tools.CONTROL_PLANE)
    if absent:
        print(f"{', '.join(absent)} not built: run tests/tools/deps.sh cluster")
        return 77
    with Cluster() as cluster:
        binary, sanitized = build(Path(cluster.directory))
        original = Path(cluster.kubeconfig).read_text(encoding="utf-8")
        address, port = re.search(r"https://([0-9.]+):(\d+)", original).groups()
        tunnel = Tunnel((address, int(port)))
        kubeconfig = Path(cluster.directory) / "tunnelled"
        kubeconfig.write_text(original.replace(f"{address}:{port}", f"127.0.0.1:{tunnel.port}"), encoding="utf-8")
        for i in range(25):
            create(cluster.api, f"many-{i:02}")
        probe = Probe(binary, kubeconfig)
        try:
            scenes(cluster, tunnel, probe, sanitized)
            cases.check("the process lived through all of it", probe.process.poll() is None)
        finally:
            probe.process.kill()
            probe.process.wait()
    return cases.finish()


if __name__ == "__main__":
    sys.exit(main())
