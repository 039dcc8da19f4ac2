#!/usr/bin/env python3
"""Disturbs the operator and its cluster at many moments and looks whether every run ends as if nothing had happened.

Two operators work on a real node, each behind a link of its own to the API server. KILLS moments, drawn with SEED, are spread
over at most 8 runs of a small pipeline: an operator is killed with -9 or cut off, one is stopped and wakes up deposed, the API
server restarts, etcd is compacted, watches are cut, the controller-manager is away, pods are deleted with force, the node is not
ready. Then: every run Succeeded with the digests of an undisturbed one; one Job was created for each step attempt; in the
API server's own record of all writes no status went backwards; a step has another attempt only where a pod of it was
deleted, and says so. Of 25 moments and more, one or more are the loss of the node for longer than its pods tolerate.

usage: on_cluster.py [--kills 50] [--seed 1] [--keep]       (--keep leaves the cluster `chaos` up)
"""
import argparse
import collections
import json
import random
import shutil
import sys
import time
from pathlib import Path

TESTS = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(TESTS), str(TESTS / "harness")]

from cluster import Cluster, ClusterError, node_blockers, oci, tools  # noqa: E402
from cluster.api import ApiError  # noqa: E402
from cluster.host import wait_until  # noqa: E402
from cluster.node import NAME as NODE, ready  # noqa: E402
from yard import BIN, ROOT, Cases  # noqa: E402

GROUP = "/apis/trainyard.dev/v1alpha1"
NAMESPACE, SYSTEM, PIPELINE = "chaos", "trainyard-system", "small"
RUNS = 8
LONG = 25  # moments
LEASE = 4  # seconds
OVER = ("Succeeded", "Failed", "Stopped")
SETTLED = ("Succeeded", "Skipped")
RUN_DEADLINE = 300

cases = Cases()


def step(name, script, inputs=(), outputs=(), **more):
    return {"name": name, "resources": {"cpu": "20m", "memory": "32Mi"}, "retry": {"backoffSeconds": 1, "maxBackoffSeconds": 2},
            **({"inputs": [{"name": i, "from": source} for i, source in inputs]} if inputs else {}), **more,
            "container": {"image": "localhost/toolbox:1", "command": ["/bin/sh", "-ec", script],
                          **({"outputs": list(outputs)} if outputs else {}), **({"values": [{"name": "n", "type": "integer"}]} if name == "make" else {})}}


def pipeline(cluster):
    out = "/trainyard/out"
    return {"apiVersion": "trainyard.dev/v1alpha1", "kind": "TrainingPipeline", "metadata": {"name": PIPELINE, "namespace": NAMESPACE}, "spec": {
        "store": {"url": f"s3://{cluster.s3.bucket}/chaos", "endpoint": cluster.s3.tls_endpoint, "region": cluster.s3.region, "addressing": "path",
                  "credentialsSecret": "s3-credentials", "caBundle": {"configMap": "s3-authority", "key": "ca.pem"}},
        "runOn": [], "parameters": [{"name": "pause", "type": "string", "default": "1"}],
        "steps": [
            step("make", f"sleep $(params.pause); mkdir -p {out}/data; echo one > {out}/data/a; echo '{{\"n\": 3}}' > {out}/values.json", outputs=["data"]),
            step("left", f"sleep $(params.pause); mkdir -p {out}/part; cat /trainyard/in/data/a > {out}/part/l; echo left >> {out}/part/l",
                 [("data", "make.data")], ["part"]),
            step("right", f"sleep $(params.pause); mkdir -p {out}/part; cat /trainyard/in/data/a > {out}/part/r; echo right >> {out}/part/r",
                 [("data", "make.data")], ["part"], when="steps.make.values.n == 3"),
            step("gang", f"sleep $(params.pause); mkdir -p {out}/model; cat /trainyard/in/part/l > {out}/model/m", [("part", "left.part")], ["model"], workers=2),
            step("join", f"sleep $(params.pause); mkdir -p {out}/all; cat /trainyard/in/model/m /trainyard/in/right/r > {out}/all/all",
                 [("model", "gang.model"), ("right", "right.part")], ["all"]),
            step("note", "echo $(run.phase)", **{"finally": True})]}}


class Chaos:
    def __init__(self, cluster, seed):
        self.cluster, self.random = cluster, random.Random(seed)
        self.links, self.deleted, self.done = {}, collections.Counter(), []
        self.operators = {}

    # --- what is disturbed -----------------------------------------------------------------------------

    def prepare(self):
        cluster = self.cluster
        for image in (oci.toolbox(cluster.directory / "toolbox.tar"),
                      oci.write_image(cluster.directory / "artifact.tar", "localhost/artifact:1", oci.closure([BIN / "artifact"]), ["/bin/artifact"])):
            cluster.load_image(image)
        cluster.install_crds(ROOT / "crds")
        cluster.make_namespace(SYSTEM, None)
        cluster.make_namespace(NAMESPACE)
        cluster.apply([cluster.s3.secret_manifest(NAMESPACE), cluster.s3.authority_manifest(NAMESPACE)])
        program = shutil.copy2(BIN / "trainyard-operator", cluster.directory / "operator")  # a build meanwhile does not disturb
        for i, name in enumerate(("operator-a", "operator-b")):
            self.links[name] = cluster.link(f"link-{name[-1]}")
            self.operators[name] = cluster.component(name, [
                program, "--kubeconfig", cluster.user_kubeconfig("admin", server=self.links[name].server),
                "--own-namespace", SYSTEM, "--pod-name", name, "--pod-address", cluster.address, "--metrics-port", 18080 + i, "--progress-port", 18090 + i,
                "--progress-url", f"http://{cluster.address}:{18090 + i}", "--image", "artifact=localhost/artifact:1", "--grace-period", "2s",
                "--lease-duration", f"{LEASE}s", "--renew-deadline", f"{LEASE - 1}s", "--retry-period", "500ms", "--log-format", "text"])
        cluster.apply(pipeline(cluster))
        wait_until(lambda: any(c["type"] == "Ready" and c["status"] == "True" for c in cluster.api.get(
            f"{GROUP}/namespaces/{NAMESPACE}/trainingpipelines/{PIPELINE}").get("status", {}).get("conditions", [])), 30, "the pipeline being Ready", step=0.1)

    def leader(self):
        """The operator that the Lease names; a drawn one while nobody does."""
        lease = self.cluster.api.find(f"/apis/coordination.k8s.io/v1/namespaces/{SYSTEM}/leases/trainyard-operator") or {}
        holder = lease.get("spec", {}).get("holderIdentity") or ""
        return next((name for name in self.operators if holder.startswith(name)), self.random.choice(sorted(self.operators)))

    def pods(self, run):
        return [p for p in self.cluster.api.get(f"/api/v1/namespaces/{NAMESPACE}/pods?labelSelector=trainyard.dev%2Frun%3D{run}")["items"]
                if p["status"].get("phase") in ("Pending", "Running") and "deletionTimestamp" not in p["metadata"]]

    # --- disturbances: each returns what it did, in words, or None when there was nothing to disturb -----

    def kill_leader(self, _):
        name = self.leader()
        self.operators[name].kill()
        time.sleep(self.random.uniform(0, 3))
        self.operators[name].start()
        return f"{name} (leader) killed"

    def kill_both(self, _):
        for operator in self.operators.values():
            operator.kill()
        time.sleep(self.random.uniform(0, 4))
        for operator in self.operators.values():
            operator.start()
        return "both operators killed"

    def cut_leader(self, _):
        name, seconds = self.leader(), self.random.uniform(1, LEASE + 3)
        self.links[name].cut()
        time.sleep(seconds)
        self.links[name].heal()
        return f"{name} (leader) cut off for {seconds:.1f} s"

    def hold_leader(self, _):
        name, seconds = self.leader(), self.random.uniform(1, LEASE + 4)
        self.links[name].hold()
        time.sleep(seconds)
        self.links[name].heal()
        return f"{name} (leader) half-open for {seconds:.1f} s"

    def depose_leader(self, _):
        name = self.leader()
        self.operators[name].pause()
        time.sleep(LEASE + self.random.uniform(1.5, 4))
        self.operators[name].resume()
        return f"{name} (leader) stopped for longer than its lease: two are alive"

    def cut_watches(self, _):
        for link in self.links.values():
            link.reset()
        return "watches cut"

    def restart_api(self, _):
        kill = self.random.random() < 0.5
        self.cluster.restart_api(kill=kill)
        return f"API server {'killed' if kill else 'restarted'}"

    def compact(self, _):
        self.cluster.compact_etcd()
        if self.random.random() < 0.5:
            self.cluster.restart_api()
            return "etcd compacted, API server restarted"
        for link in self.links.values():
            link.reset()
        return "etcd compacted, watches cut"

    def stop_manager(self, _):
        manager, seconds = self.cluster.components["kube-controller-manager"], self.random.uniform(2, 8)
        manager.kill()
        time.sleep(seconds)
        manager.start()
        return f"controller-manager away for {seconds:.1f} s"

    def delete_pod(self, run):
        pods = self.pods(run)
        if not pods:
            return None
        pod = self.random.choice(sorted(pods, key=lambda p: p["metadata"]["name"]))
        labels, name = pod["metadata"]["labels"], pod["metadata"]["name"]
        try:
            self.cluster.api.delete(f"/api/v1/namespaces/{NAMESPACE}/pods/{name}", {
                "apiVersion": "v1", "kind": "DeleteOptions", "gracePeriodSeconds": 0, "preconditions": {"uid": pod["metadata"]["uid"]}})
        except ApiError as error:
            if error.status == 404:
                return None
            raise
        self.deleted[run, labels["trainyard.dev/step"]] += 1
        return f"pod {name} deleted with force"

    def node_away(self, _):
        """Shorter than the pods tolerate (30 s): the node comes back with them."""
        kubelet = self.cluster.components["kubelet"]
        kubelet.pause()
        try:
            wait_until(lambda: not ready(self.cluster.api.get(f"/api/v1/nodes/{NODE}")), 40, "the node being not ready", step=0.2)
            time.sleep(self.random.uniform(1, 4))
        finally:
            kubelet.resume()
        wait_until(lambda: ready(self.cluster.api.get(f"/api/v1/nodes/{NODE}")), 40, "the node being ready again", step=0.2)
        return "node not ready for a while"

    def node_lost(self, run):
        """Longer than the pods tolerate: they are evicted from a node that does not hear of it."""
        if not self.pods(run):
            return None
        kubelet, evicted = self.cluster.components["kubelet"], set()

        def look():
            for pod in self.cluster.api.get(f"/api/v1/namespaces/{NAMESPACE}/pods?labelSelector=trainyard.dev%2Frun%3D{run}")["items"]:
                if "deletionTimestamp" in pod["metadata"]:
                    evicted.add((pod["metadata"]["labels"]["trainyard.dev/step"], pod["metadata"]["labels"]["trainyard.dev/attempt"]))
            return evicted
        kubelet.pause()
        try:
            wait_until(look, 90, "pods being evicted from the lost node", step=0.5)
            until = time.monotonic() + self.random.uniform(2, 6)
            while time.monotonic() < until:
                look()
                time.sleep(0.2)
        finally:
            kubelet.resume()
        wait_until(lambda: ready(self.cluster.api.get(f"/api/v1/nodes/{NODE}")), 40, "the node being ready again", step=0.2)
        look()
        for step_name, _ in evicted:
            self.deleted[run, step_name] += 1
        return f"node lost for longer than its pods tolerate; evicted: {', '.join(f'{s} a{a}' for s, a in sorted(evicted))}"

    KINDS = {"kill_leader": 5, "cut_leader": 4, "hold_leader": 3, "depose_leader": 3, "cut_watches": 3, "restart_api": 3, "compact": 3, "stop_manager": 3,
             "delete_pod": 5, "kill_both": 3, "node_away": 1, "node_lost": 1}

    def draw(self, count):
        """Every kind at least once where there are enough moments, the rest by weight; in drawn order."""
        kinds = sorted(k for k in self.KINDS if k != "node_lost" or count >= LONG)  # it takes a minute
        chosen = kinds[:] if count >= len(kinds) else self.random.sample(kinds, count)
        chosen += self.random.choices(kinds, [self.KINDS[k] for k in kinds], k=count - len(chosen))
        self.random.shuffle(chosen)
        return collections.deque(chosen)

    # --- runs ------------------------------------------------------------------------------------------

    def start_run(self, name, pause):
        wait_until(lambda: self.cluster.api.post(f"{GROUP}/namespaces/{NAMESPACE}/trainingruns", {
            "apiVersion": "trainyard.dev/v1alpha1", "kind": "TrainingRun", "metadata": {"name": name, "namespace": NAMESPACE},
            "spec": {"pipeline": PIPELINE, "parameters": [{"name": "pause", "value": str(pause)}]}}), 30, f"creating run {name}")

    def run(self, name):
        return self.cluster.api.get(f"{GROUP}/namespaces/{NAMESPACE}/trainingruns/{name}")

    def over(self, name):
        try:
            return self.run(name).get("status", {}).get("phase") in OVER
        except (OSError, ApiError):
            return False  # the API server is away

    def disturb(self, name, moments, share):
        """Takes share moments from the queue while the run is not over; those that find nothing to disturb go back."""
        taken = 0
        while taken < share and moments and not self.over(name):
            time.sleep(self.random.uniform(0.2, 2))
            kind = moments.popleft()
            text = getattr(self, kind)(name)
            if text is None:
                moments.append(kind)
                continue
            taken += 1
            self.done.append((name, text))
            print(f"#   {len(self.done)}: {name}: {text}", flush=True)


def digests(run):
    return {s["name"]: (s.get("outputs") or (s.get("items") or [{}])[0].get("outputs")) for s in run["status"]["steps"]}


def item(step_status):
    return {**step_status, **(step_status["items"][0] if step_status.get("items") else {})}


def check_run(chaos, name, reference):
    run = chaos.run(name)
    status = run.get("status", {})
    brief = {s["name"]: f"{item(s).get('state')} a{item(s).get('attempt')} {item(s).get('class') or ''} {item(s).get('reason') or ''}".strip()
             for s in status.get("steps", [])}
    if not cases.equal(f"{name} succeeds", status.get("phase"), "Succeeded"):
        print(f"#   {status.get('message')}\n#   {brief}")
        return
    if reference:
        cases.equal(f"{name}: the digests of the undisturbed run", digests(run), reference)
    said = " ".join(e.get("message", "") for e in chaos.cluster.api.get(
        f"/api/v1/namespaces/{NAMESPACE}/events?fieldSelector=involvedObject.name%3D{name}")["items"])
    unexplained = []
    for s in status["steps"]:
        attempts, deleted = item(s).get("attempt", 1), chaos.deleted[name, s["name"]]
        if attempts - 1 > deleted:
            unexplained.append(f"{s['name']}: attempt {attempts}, {deleted} pods deleted")
        elif attempts > 1 and s["name"] not in said:
            unexplained.append(f"{s['name']}: attempt {attempts}, and no Event of the run speaks of it")
    cases.check(f"{name}: every further attempt is explained", not unexplained, "; ".join(unexplained))


def check_writes(chaos):
    """The API server's own record: who created which Job, and the order of each run's status."""
    created, known, last, backwards = collections.Counter(), {}, {}, []
    statuses = 0
    for event in chaos.cluster.audited():
        reference, code = event.get("objectRef", {}), event.get("responseStatus", {}).get("code", 0)
        if event["stage"] != "ResponseComplete" or code >= 300 or reference.get("namespace") != NAMESPACE:
            continue
        if reference["resource"] == "jobs" and event["verb"] == "create":
            labels = event["requestObject"]["metadata"]["labels"]
            key = tuple(labels.get(f"trainyard.dev/{k}") for k in ("run", "step", "index", "attempt"))
            created[key] += 1
            known.setdefault(key[:3], set()).add(key[3])
        # What was asked for, with the version that the answer gave it: the operator asks for no more of the answer.
        if reference["resource"] == "trainingruns" and event.get("requestObject", {}).get("status"):
            last.setdefault(reference["name"], []).append({**event["requestObject"], "metadata": event["responseObject"]["metadata"]})
    for name, writes in last.items():
        writes.sort(key=lambda o: int(o["metadata"]["resourceVersion"]))
        statuses += len(writes)
        for before, after in zip(writes, writes[1:]):
            if before["status"].get("phase") in OVER and after["status"].get("phase") != before["status"]["phase"]:
                backwards.append(f"{name}: phase {before['status']['phase']} → {after['status'].get('phase')}")
            now = {s["name"]: item(s) for s in after["status"].get("steps", [])}
            for s in before["status"].get("steps", []):
                old, new = item(s), now.get(s["name"], {})
                if old.get("attempt", 0) > new.get("attempt", 0) or (old.get("state") in SETTLED and new.get("state") != old["state"]):
                    backwards.append(f"{name}/{s['name']}: {old.get('state')} a{old.get('attempt')} → {new.get('state')} a{new.get('attempt')}")
    twice = [key for key, count in created.items() if count != 1]
    cases.check("one Job was created for each step attempt", created and not twice, f"{sum(created.values())} Jobs" if not twice else str(twice))
    cases.check("no status went backwards", statuses and not backwards, f"{statuses} status writes" if not backwards else "; ".join(backwards[:10]))
    gaps = []
    for name in last:
        for s in chaos.run(name)["status"].get("steps", []):
            attempts = set().union(*(known.get((name, s["name"], index), set()) for index in (None, "", "0")))
            if item(s).get("state") == "Succeeded" and sorted(map(int, attempts)) != list(range(1, item(s)["attempt"] + 1)):
                gaps.append(f"{name}/{s['name']}: status says attempt {item(s)['attempt']}, Jobs were created for {sorted(attempts)}")
    cases.check("the attempts in the status are those that Jobs were created for", not gaps, "; ".join(gaps))


def play(cluster, options):
    chaos = Chaos(cluster, options.seed)
    chaos.prepare()
    chaos.start_run("reference", 0)
    wait_until(lambda: chaos.over("reference"), 120, "the end of the undisturbed run", step=0.2)
    check_run(chaos, "reference", None)
    reference = digests(chaos.run("reference"))
    moments = chaos.draw(options.kills)
    runs = min(RUNS, -(-options.kills // 6))
    share = -(-options.kills // runs)
    for i in range(runs):
        if not moments:
            break
        name = f"run-{i + 1}"
        chaos.start_run(name, max(2, share))
        before = time.monotonic()
        chaos.disturb(name, moments, len(moments) if i == runs - 1 else share)
        try:
            wait_until(lambda: chaos.over(name), RUN_DEADLINE, f"the end of {name}", step=0.2)
        except ClusterError as error:
            cases.check(f"{name} ends", False, str(error))
            print("#   " + json.dumps(chaos.run(name).get("status"))[:3000])
            print(cluster.kubectl("get", "jobs,pods", "-n", NAMESPACE, check=False).stdout)
            continue
        print(f"#   {name} took {time.monotonic() - before:.0f} s", flush=True)
        check_run(chaos, name, reference)
    check_writes(chaos)
    cases.equal("moments disturbed", len(chaos.done), options.kills)


def main():
    parser = argparse.ArgumentParser(usage=__doc__)
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--keep", action="store_true")
    options = parser.parse_args()
    absent = tools.missing([*tools.NODE, "kwok"])
    blockers = node_blockers() + ([f"{', '.join(absent)} not built: run tests/tools/deps.sh cluster"] if absent else [])
    if blockers:
        cases.skip("chaos on a cluster", "; ".join(blockers))
        cases.finish()
        return 0
    print(f"# seed {options.seed}, {options.kills} moments")
    # Where no node is ready nothing is evicted: for the loss of the node there are fake ones that stay.
    cluster = Cluster(node=True, audit=True, node_grace=8, kwok_nodes=2 if options.kills >= LONG else 0, detached=options.keep, **({"name": "chaos"} if options.keep else {}))
    if options.keep:
        cluster.up()
        play(cluster, options)
    else:
        with cluster:
            try:
                play(cluster, options)
            finally:
                cluster.keep_logs = bool(cases.failed)
    if cases.failed:
        print(f"# again with: make chaos-operator KILLS={options.kills} SEED={options.seed}")
    return cases.finish()


if __name__ == "__main__":
    sys.exit(main())
