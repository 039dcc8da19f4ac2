#!/usr/bin/env python3
"""Leader election between processes, Events, and the key Secret, against a real API server: at every moment at most one leads,
whether the other is killed, stopped, cut off or ends in good order.

Where the control plane cannot run, the script says why and skips.
"""
import base64
import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

TESTS = Path(__file__).resolve().parents[1]
ROOT = TESTS.parent
sys.path[:0] = [str(TESTS), str(TESTS / "harness")]

from cluster import Cluster, ClusterError  # noqa: E402
from yard import Cases  # noqa: E402

cases = Cases()
BUILD = ROOT / os.environ.get("BUILD", "build")
PROGRAM = BUILD / "test/kube-parts"
DURATION, RENEW, RETRY = 2000, 1200, 200  # as in kube-parts.c
LEASE = "/apis/coordination.k8s.io/v1/namespaces/default/leases/election"


def build():
    sanitize = [f"-fsanitize={os.environ['SANITIZE']}"] if os.environ.get("SANITIZE") else []
    folder = os.path.relpath(BUILD, ROOT)
    libraries = [f"{folder}/lib/lib{name}.a" for name in ("controller", "kube", "pipeline", "http", "base")]
    thing = f"{folder}/obj/tests/harness/kube-parts.c.o"
    subprocess.run(["make", "-s", thing, *libraries], cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
    PROGRAM.parent.mkdir(parents=True, exist_ok=True)
    system = ["-lcurl", "-lmicrohttpd", "-lyaml", "-lcjson", "-lcrypto", "-lm", "-lpthread"]
    subprocess.run(["gcc", *sanitize, "-o", str(PROGRAM), thing, *libraries, *system], cwd=ROOT, check=True)


def now_ms():
    return time.monotonic() * 1000


def wait(condition, seconds=15):
    until = time.monotonic() + seconds
    while True:
        value = condition()
        if value or time.monotonic() > until:
            return value
        time.sleep(0.01)


class Candidate:
    every = []

    def __init__(self, kubeconfig, name):
        self.name, self.lines, self.ended_ms = name, [], None
        self.process = subprocess.Popen([str(PROGRAM), str(kubeconfig), "lease", name], stdout=subprocess.PIPE, text=True)
        self.thread = threading.Thread(target=self.read, daemon=True)
        self.thread.start()
        Candidate.every.append(self)

    def read(self):
        for line in self.process.stdout:
            moment, _, what = line.strip().partition(" ")
            self.lines.append((int(moment), what))

    def leads(self):
        changes = [what for _, what in self.lines if what in ("leading", "lost")]
        return self.ended_ms is None and changes[-1:] == ["leading"]

    def last(self, what):
        return next((moment for moment, said in reversed(self.lines) if said == what), None)

    def kill(self):
        if self.ended_ms is None:
            self.process.kill()
            self.ended_ms = now_ms()
            self.process.wait()
            self.thread.join()

    def end(self):
        self.process.send_signal(signal.SIGTERM)
        try:
            code = self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.kill()
            return "did not end"
        self.ended_ms = now_ms()
        self.thread.join()
        return code

    def reigns(self):
        """[from, to] of each time it led."""
        found, since = [], None
        for moment, what in self.lines:
            if what == "leading":
                since = moment
            elif what == "lost":
                found.append((since, moment))
                since = None
        return found if since is None else [*found, (since, self.ended_ms or now_ms())]


def leader():
    leading = [c for c in Candidate.every if c.leads()]
    return leading[0] if len(leading) == 1 else None


def overlaps():
    reigns = sorted((a, b, c.name) for c in Candidate.every for a, b in c.reigns())
    return [f"{x} and {y}" for x, y in zip(reigns, reigns[1:]) if y[0] < x[1]]


def holder(cluster):
    return cluster.kubectl("get", "lease", "election", "-o", "jsonpath={.spec.holderIdentity}").stdout


def killed_and_ended(cluster):
    for name in ("a", "b", "c"):
        Candidate(cluster.kubeconfig, name)
    first = wait(leader)
    cases.check("one of three leads", first is not None)
    cases.equal("kubectl shows the holder", holder(cluster), first.name)
    time.sleep(1.5 * DURATION / 1000)
    cases.check("it goes on leading", first.leads() and len(first.lines) == 1, str(first.lines))

    first.kill()
    second = wait(leader)
    took = second.last("leading") - first.ended_ms
    cases.check("after kill -9 another leads once the Lease has run out", DURATION - 2 * RETRY <= took <= DURATION + 4000, f"{took:.0f} ms")
    cases.equal("the change is counted", cluster.api.get(LEASE)["spec"]["leaseTransitions"], 1)

    code = second.end()
    third = wait(leader)
    took = third.last("leading") - second.last("lost")
    cases.equal("SIGTERM gives it back", (code, [what for _, what in second.lines]), (0, ["leading", "lost", "released"]))
    cases.check("then the next leads at once", 0 <= took < DURATION / 2, f"{took} ms")
    cases.equal("no two ever led at once", overlaps(), [])
    return third


def deleted(cluster, current):
    cluster.kubectl("delete", "lease", "election")
    again = wait(lambda: cluster.api.find(LEASE))
    cases.check("a deleted Lease is made again, and its leader goes on", again is not None and again["spec"]["holderIdentity"] == current.name and current.leads())


def stopped(cluster, current):
    other = Candidate(cluster.kubeconfig, "d")
    time.sleep(0.5)
    current.process.send_signal(signal.SIGSTOP)
    cases.check("a leader that stands still is replaced", wait(other.leads) is True)
    resumed = now_ms()
    current.process.send_signal(signal.SIGCONT)
    wait(lambda: current.last("lost"))
    took = (current.last("lost") or float("inf")) - resumed
    cases.check("and knows it as soon as it goes on", took < 250, f"{took:.0f} ms")
    time.sleep(1)
    cases.check("the other still leads, alone", leader() is other)
    current.kill()
    Candidate.every.remove(current)  # its reign ended while it could not say so
    return other


def cut_off(cluster, current):
    link = cluster.link("election")
    remote = Candidate(cluster.user_kubeconfig("admin", server=link.server), "remote")
    time.sleep(0.5)
    current.end()
    cases.check("a leader behind a link", wait(remote.leads) is True)
    near = Candidate(cluster.kubeconfig, "near")
    time.sleep(0.5)
    for what, disturb in (("cut", link.cut), ("held", link.hold)):  # refused; or open, without a byte
        began = now_ms()
        disturb()
        wait(lambda: not remote.leads())
        cases.check(f"{what} off, it stops leading before its Lease runs out", not remote.leads() and remote.last("lost") - began <= RENEW + 300,
                    f"{(remote.last('lost') or 0) - began:.0f} ms")
        cases.check(f"{what} off, another takes over", wait(near.leads) is True)
        link.heal()
        time.sleep(1)
        cases.check(f"{what} off and back, it waits", not remote.leads() and near.leads())
        near.end()
        cases.check(f"{what} off and back, it can lead again", wait(remote.leads) is True)
        near = Candidate(cluster.kubeconfig, "near")
        time.sleep(0.5)
    cases.equal("no two ever led at once, also when cut off", overlaps(), [])


def events(cluster):
    made = cluster.api.post("/api/v1/namespaces/default/configmaps", {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "spoken-of"}})
    uid = made["metadata"]["uid"]
    done = subprocess.run([str(PROGRAM), str(cluster.kubeconfig), "events", "ConfigMap", "spoken-of", uid], check=False)
    cases.equal("events are sent", done.returncode, 0)
    found = [e for e in json.loads(cluster.kubectl("get", "events.v1.events.k8s.io", "-o", "json").stdout)["items"] if e["regarding"].get("uid") == uid]
    counts = {e["reason"]: e.get("series", {}).get("count", 1) for e in found}
    cases.equal("what was said five times is one Event that counts to five", counts, {"Repeated": 5, "Alarming": 1})
    cases.equal("its text is whole", [e["note"] for e in found if e["reason"] == "Alarming"], ['said once: "quoted" ä'])
    text = cluster.kubectl("events", "--for", "configmap/spoken-of").stdout
    cases.check("kubectl events shows both", "said five times" in text and "Warning" in text, text.strip())
    described = cluster.kubectl("describe", "configmap", "spoken-of").stdout
    cases.check("so does kubectl describe", "Repeated" in described and "Alarming" in described)


def key_race(cluster):
    for round_ in range(3):
        name = f"race-{round_}"
        racers = [subprocess.Popen([str(PROGRAM), str(cluster.kubeconfig), "key", name], stdout=subprocess.PIPE, text=True) for _ in range(8)]
        said = [p.communicate(timeout=60)[0].split()[1:] for p in racers]
        stored = cluster.api.get(f"/api/v1/namespaces/default/secrets/{name}")["data"]["key"]
        expected = [["key", base64.b64decode(stored).hex()]] * 8
        cases.equal(f"eight at once make one key, and all know it ({round_ + 1})", said, expected)
        cases.equal(f"of 32 bytes ({round_ + 1})", len(base64.b64decode(stored)), 32)


def main():
    build()
    with Cluster() as cluster:
        try:
            current = killed_and_ended(cluster)
            deleted(cluster, current)
            cut_off(cluster, stopped(cluster, current))
            events(cluster)
            key_race(cluster)
        finally:
            cluster.keep_logs = bool(cases.failed)
            for candidate in Candidate.every:
                candidate.kill()


if __name__ == "__main__":
    try:
        main()
    except ClusterError as error:
        if cases.passed + cases.failed:
            raise
        print(f"leader election, Events and the key Secret: {error}")
        sys.exit(77)
    sys.exit(cases.finish())
