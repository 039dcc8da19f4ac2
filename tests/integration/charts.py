#!/usr/bin/env python3
"""The chart and the plain manifests, against a real API server with the real Helm: install, upgrade, uninstall; the operator under exactly the rights
that the chart gives it; the policy for approvals. Pods do not run here; tests/e2e installs the chart on a node.
"""
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

TESTS = Path(__file__).resolve().parents[1]
ROOT = TESTS.parent
sys.path[:0] = [str(TESTS), str(TESTS / "harness")]

from cluster import Cluster, tools  # noqa: E402
from cluster.api import ApiError  # noqa: E402
from yard import Cases  # noqa: E402



class Quiet(Cases):
    """Details of what went wrong only."""

    def check(self, name, ok, detail=""):
        return super().check(name, ok, "" if ok else detail)


cases = Quiet()
BUILD = ROOT / os.environ.get("BUILD", "build")
GROUP = "/apis/trainyard.dev/v1alpha1"
SYSTEM = "trainyard-system"
CRDS = ["trainingpipelines.trainyard.dev", "trainingruns.trainyard.dev"]


def wait(condition, seconds=20):
    until = time.monotonic() + seconds
    while not (value := condition()) and time.monotonic() < until:
        time.sleep(0.1)
    return value


def helm(cluster, *arguments, check=True):
    done = subprocess.run([str(Cluster.tool("helm")), "--kubeconfig", str(cluster.kubeconfig), *map(str, arguments)], capture_output=True, text=True, timeout=120)
    if check and done.returncode != 0:
        raise RuntimeError(f"helm {' '.join(map(str, arguments))}: {done.stderr[-1500:]}")
    return done


def pipeline(name):
    return {"apiVersion": "trainyard.dev/v1alpha1", "kind": "TrainingPipeline", "metadata": {"name": name},
            "spec": {"store": {"url": "s3://bucket/x", "credentialsSecret": "s3"}, "steps": [{"name": "gate", "approval": {"message": "go on?"}}]}}


def crds_left(cluster):
    return [n for n in CRDS if cluster.api.find(f"/apis/apiextensions.k8s.io/v1/customresourcedefinitions/{n}")]


def templates(cluster):
    lint = helm(cluster, "lint", ROOT / "charts/trainyard", check=False)
    cases.equal("helm lint is content", lint.returncode, 0)
    refused = helm(cluster, "template", "ty", ROOT / "charts/trainyard", "--set", "replica=3", check=False)
    cases.check("an unknown value is refused by the values' schema", refused.returncode != 0 and "replica" in refused.stderr, refused.stderr[-200:])
    refused = helm(cluster, "template", "ty", ROOT / "charts/trainyard", "--set", "leaderElection=false", check=False)
    cases.check("two replicas without leader election are refused", refused.returncode != 0 and "leaderElection" in refused.stderr, refused.stderr[-200:])
    everything = helm(cluster, "template", "ty", ROOT / "charts/trainyard", "-n", SYSTEM, "--set", "namespaces={team,other}", "--set", "networkPolicy.enabled=true",
                      "--set", "networkPolicy.stepNamespaces={team}", "--set", "dashboards.enabled=true", "--set", "setUser=false", "--set", "crds.install=false").stdout
    applied = cluster.kubectl("apply", "--server-side", "--dry-run=server", "-f", "-", stdin=everything, check=False)
    cases.check("with every switch on the API server takes it", applied.returncode == 0 and "Warning" not in applied.stderr, applied.stderr[-400:])
    cases.check("restricted pods: no warning from Pod Security", "violate" not in applied.stderr, applied.stderr[-200:])
    monitors = helm(cluster, "template", "ty", ROOT / "charts/trainyard", "--set", "podMonitor.enabled=true", "--set", "prometheusRule.enabled=true").stdout
    cases.check("PodMonitor and PrometheusRule are rendered behind their switches", "kind: PodMonitor" in monitors and "alert: TrainyardNoLeader" in monitors)
    plain = subprocess.run([str(TESTS / "tools/plain-manifests.sh")], capture_output=True, text=True, check=True).stdout
    cases.check("charts/plain/trainyard.yaml is fresh", plain == (ROOT / "charts/plain/trainyard.yaml").read_text(), "run make plain-manifests")
    names = set(re.findall(r"trainyard_[a-z_]+", (ROOT / "charts/trainyard/files/rules.yaml").read_text() + (ROOT / "charts/trainyard/files/dashboard.json").read_text()))
    known = set(re.findall(r'"(trainyard_[a-z_]+)"', (ROOT / "operator/controller/metrics.c").read_text()))
    unknown = {n for n in names if n.removesuffix("_bucket").removesuffix("_count").removesuffix("_sum") not in known}
    cases.equal("alerts and dashboard name metrics that exist", unknown, set())


class Operator:
    """The operator of this build, out of cluster, as the chart's service account."""

    def __init__(self, cluster, *arguments):
        self.log = Path(cluster.directory) / "logs" / f"operator-{len(list((Path(cluster.directory) / 'logs').iterdir()))}.log"
        self.file = open(self.log, "wb")
        config = cluster.service_account_kubeconfig(SYSTEM, "ty-trainyard")
        clean = {k: v for k, v in os.environ.items() if not k.startswith(("TRAINYARD_", "POD_", "KUBE"))}
        self.process = subprocess.Popen([str(BUILD / "bin/trainyard-operator"), "--kubeconfig", str(config), "--own-namespace", SYSTEM, "--address", "127.0.0.1", "--metrics-port", "0",
                                         "--progress-port", "0", "--log-format", "json", "--log-level", "debug", *arguments], stdout=self.file, stderr=self.file, env=clean)

    def text(self):
        return self.log.read_text()

    def end(self):
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(20)


def works_under_its_rights(cluster, ns, operator, what):
    cluster.kubectl("apply", "-n", ns, "-f", "-", stdin=json.dumps(pipeline("first")))
    run = f"{GROUP}/namespaces/{ns}/trainingruns/first-1"
    cases.check(f"{what}: a run waits for its approval", wait(lambda: (cluster.api.find(run) or {}).get("status", {}).get("phase") == "Running", 30), operator.text()[-800:])
    cluster.api.merge(run, {"spec": {"approvals": [{"step": "gate", "by": "admin"}]}}) if what != "cluster-wide" else None
    if what != "cluster-wide":
        cases.check(f"{what}: and ends", wait(lambda: cluster.api.get(run)["status"]["phase"] == "Succeeded", 30), operator.text()[-800:])
    cases.check(f"{what}: nothing was forbidden to it", "forbidden" not in operator.text().lower(), [line for line in operator.text().splitlines() if "orbidden" in line][:2])
    events = wait(lambda: cluster.api.get(f"/apis/events.k8s.io/v1/namespaces/{ns}/events")["items"])
    cases.check(f"{what}: it says so in Events", bool(events))


def rights(cluster):
    account = f"system:serviceaccount:{SYSTEM}:ty-trainyard"

    def can(verb, resource, ns, name=""):
        done = cluster.kubectl("auth", "can-i", verb, resource + (f"/{name}" if name else ""), "-n", ns, "--as", account, check=False)
        return done.stdout.strip() == "yes"
    for verb, resource, ns, name, expected in (
            ("get", "secrets", "team", "", False), ("list", "secrets", SYSTEM, "", False), ("get", "secrets", SYSTEM, "trainyard-operator-key", True), ("get", "secrets", SYSTEM, "other", False),
            ("create", "pods", "team", "", False), ("create", "pods/exec", "team", "", False), ("delete", "pods", "team", "", False), ("create", "jobs", "team", "", True),
            ("update", "trainingpipelines", "team", "", False), ("delete", "namespaces", "team", "", False), ("create", "clusterroles", "team", "", False)):
        cases.equal(f"rights: {verb} {resource}{'/' + name if name else ''} in {ns}: {'yes' if expected else 'no'}", can(verb, resource, ns, name), expected)


def approvals(cluster):
    """Alice may edit, Bob may edit and approve."""
    cluster.apply([{"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding", "metadata": {"name": n, "namespace": "team"},
                    "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": role}, "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": user} for user in users]}
                   for n, role, users in (("edit", "edit", ["alice", "bob"]), ("approve", "ty-trainyard-approver", ["bob"]))])

    def patch(user, kind, name, spec):
        done = cluster.kubectl("patch", kind, name, "-n", "team", "--type", "merge", "-p", json.dumps({"spec": spec}), kubeconfig=cluster.user_kubeconfig(user), check=False)
        return "" if done.returncode == 0 else done.stderr
    of = lambda by: {"approvals": [{"step": "gate", "by": by}]}  # noqa: E731
    wait(lambda: "no right to approve" in patch("alice", "trainingrun", "first-1", of("alice")))  # the policy takes a moment to be in force
    cases.check("who has not the verb may not approve", "no right to approve" in patch("alice", "trainingrun", "first-1", of("alice")))
    cases.check("nobody approves in another's name", "must name the one who gives it" in patch("bob", "trainingrun", "first-1", of("alice")))
    cases.check("nor through the pipeline's control", "must name the one who gives it" in patch("bob", "trainingpipeline", "first", {"control": {"run": "first-1", **of("alice")}}))
    cases.equal("who may edits other fields still", patch("alice", "trainingrun", "first-1", {"suspend": False}), "")
    cases.equal("who may approve does, through the pipeline's control too", patch("bob", "trainingpipeline", "first", {"control": {"run": "first-1", **of("bob")}}), "")
    run = f"{GROUP}/namespaces/team/trainingruns/first-1"
    cases.check("and the operator passes it on", wait(lambda: cluster.api.get(run).get("status", {}).get("phase") == "Succeeded", 30), cluster.api.get(run).get("status"))
    cases.equal("a run with an approval can be edited by others", patch("alice", "trainingrun", "first-1", {"suspend": True}), "")


def main():
    absent = tools.missing([*tools.CONTROL_PLANE, "helm"])
    if absent:
        print(f"{', '.join(absent)} not built: run tests/tools/deps.sh cluster")
        sys.exit(77)
    with Cluster() as cluster:
        for ns in (SYSTEM, "team", "other"):
            cluster.make_namespace(ns)
        templates(cluster)
        helm(cluster, "install", "ty", ROOT / "charts/trainyard", "-n", SYSTEM)
        cases.equal("helm install brings the CRDs", crds_left(cluster), CRDS)
        operator = Operator(cluster, "--approvals-verified")
        try:
            works_under_its_rights(cluster, "team", operator, "cluster-wide")
            approvals(cluster)
            rights(cluster)
            before = cluster.api.get(f"{GROUP}/namespaces/team/trainingruns/first-1")["metadata"]["uid"]
            helm(cluster, "upgrade", "ty", ROOT / "charts/trainyard", "-n", SYSTEM, "--set", "namespaces={other}", "--set", "approvalPolicy.enabled=false")
            cases.equal("helm upgrade leaves runs alone", cluster.api.get(f"{GROUP}/namespaces/team/trainingruns/first-1")["metadata"]["uid"], before)
            cases.equal("the operator ended well", operator.end(), 0)
            operator = Operator(cluster, "--namespaces", "other")
            works_under_its_rights(cluster, "other", operator, "listed namespaces")
            try:
                cluster.api.merge(f"{GROUP}/namespaces/team/trainingruns/first-1", {"metadata": {"labels": {"a": "b"}}})
            except ApiError as e:
                cases.check("other namespaces stay usable", False, str(e))
            operator.end()
            helm(cluster, "uninstall", "ty", "-n", SYSTEM)
            cases.equal("uninstall keeps the CRDs", crds_left(cluster), CRDS)
            cases.check("and the runs", bool(cluster.api.find(f"{GROUP}/namespaces/team/trainingruns/first-1")))
            left = cluster.kubectl("get", "clusterrole,clusterrolebinding,role,rolebinding,deployment,validatingadmissionpolicy", "-A", "-l", "app.kubernetes.io/instance=ty", "-o", "name").stdout
            cases.equal("nothing else is left", left, "")
            plain = cluster.kubectl("apply", "--server-side", "--force-conflicts", "-k", str(ROOT / "charts/plain"), check=False)
            cases.check("kubectl apply -k charts/plain", plain.returncode == 0 and "deployment.apps/trainyard" in plain.stdout, plain.stderr[-400:])
        finally:
            cluster.keep_logs = bool(cases.failed)
            if operator.process.poll() is None:
                operator.process.kill()


main()
sys.exit(cases.finish())
