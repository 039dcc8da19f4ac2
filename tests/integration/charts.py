#!/usr/bin/env python3
"""The chart and the plain manifests, against a real API server with the real Helm 4 and Helm 3: lint, templates against the server's own schemas
(kubeconform), install, upgrade, uninstall; the operator under exactly the rights that the chart gives it; the policy for approvals. Pods do not run
here; tests/e2e installs the chart on a node.
"""
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

TESTS = Path(__file__).resolve().parents[1]
ROOT = TESTS.parent
sys.path[:0] = [str(TESTS), str(TESTS / "harness"), str(TESTS / "tools")]

import chartvalues  # noqa: E402
from cluster import Cluster, tools  # noqa: E402
from cluster.api import ApiError  # noqa: E402
from cluster.schemas import Kubeconform  # noqa: E402
from yard import Cases  # noqa: E402


class Quiet(Cases):
    """Details of what went wrong only."""

    def check(self, name, ok, detail=""):
        return super().check(name, ok, "" if ok else detail)


cases = Quiet()
BUILD = ROOT / os.environ.get("BUILD", "build")
GROUP = "/apis/trainyard.dev/v1alpha1"
SYSTEM = "trainyard-system"
CHART = ROOT / "charts/trainyard"
CRDS = ["trainingpipelines.trainyard.dev", "trainingruns.trainyard.dev"]


def wait(condition, seconds=20):
    until = time.monotonic() + seconds
    while not (value := condition()) and time.monotonic() < until:
        time.sleep(0.1)
    return value


class Helm:
    """One of the two: Helm("Helm 4", "helm") and Helm("Helm 3", "helm3")."""

    def __init__(self, title, program):
        self.title, self.program = title, program

    def __call__(self, cluster, *arguments, check=True):
        done = subprocess.run([str(tools.path(self.program)), "--kubeconfig", str(cluster.kubeconfig), *map(str, arguments)], capture_output=True, text=True, timeout=120)
        if check and done.returncode != 0:
            raise RuntimeError(f"{self.title}: {' '.join(map(str, arguments))}: {done.stderr[-1500:]}")
        return done

    def template(self, cluster, values=None, chart=CHART):
        """values: an object, passed as a values file."""
        with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
            json.dump(values or {}, file)
            file.flush()
            return self(cluster, "template", "ty", chart, "-n", SYSTEM, "-f", file.name).stdout


helm, helm3 = Helm("Helm 4", "helm"), Helm("Helm 3", "helm3")


def pipeline(name):
    return {"apiVersion": "trainyard.dev/v1alpha1", "kind": "TrainingPipeline", "metadata": {"name": name},
            "spec": {"store": {"url": "s3://bucket/x", "credentialsSecret": "s3"}, "steps": [{"name": "gate", "approval": {"message": "go on?"}}]}}


def crds_left(cluster):
    return [n for n in CRDS if cluster.api.find(f"/apis/apiextensions.k8s.io/v1/customresourcedefinitions/{n}")]


def lint(cluster, with_helm):
    title = with_helm.title
    cases.equal(f"{title}: lint is content", with_helm(cluster, "lint", "--strict", CHART, check=False).returncode, 0)
    for what, value, named in (("an unknown value", "replica=3", "replica"), ("a digest that is none", "images.operator.digest=latest", "digest"),
                               ("two replicas without leader election", "leaderElection=false", "leaderElection")):
        done = with_helm(cluster, "template", "ty", CHART, "--set", value, check=False)
        cases.check(f"{title}: the values' schema refuses {what}", done.returncode != 0 and named in done.stderr, done.stderr[-200:])


def templates(cluster):
    everything = helm(cluster, "template", "ty", CHART, "-n", SYSTEM, "--set", "namespaces={team,other}", "--set", "networkPolicy.enabled=true",
                      "--set", "networkPolicy.stepNamespaces={team}", "--set", "dashboards.enabled=true", "--set", "setUser=false", "--set", "crds.install=false").stdout
    applied = cluster.kubectl("apply", "--server-side", "--dry-run=server", "-f", "-", stdin=everything, check=False)
    cases.check("with every switch on the API server takes it", applied.returncode == 0 and "Warning" not in applied.stderr, applied.stderr[-400:])
    cases.check("restricted pods: no warning from Pod Security", "violate" not in applied.stderr, applied.stderr[-200:])
    monitors = helm(cluster, "template", "ty", CHART, "--set", "podMonitor.enabled=true", "--set", "prometheusRule.enabled=true").stdout
    cases.check("PodMonitor and PrometheusRule are rendered behind their switches", "kind: PodMonitor" in monitors and "alert: TrainyardNoLeader" in monitors)
    plain = subprocess.run([str(TESTS / "tools/plain-manifests.sh")], capture_output=True, text=True, check=True).stdout
    cases.check("charts/plain/trainyard.yaml is fresh", plain == (ROOT / "charts/plain/trainyard.yaml").read_text(), "run make plain-manifests")
    names = set(re.findall(r"trainyard_[a-z_]+", (CHART / "files/rules.yaml").read_text() + (CHART / "files/dashboard.json").read_text()))
    known = set(re.findall(r'"(trainyard_[a-z_]+)"', (ROOT / "operator/controller/metrics.c").read_text()))
    unknown = {n for n in names if n.removesuffix("_bucket").removesuffix("_count").removesuffix("_sum") not in known}
    cases.equal("alerts and dashboard name metrics that exist", unknown, set())


# Rendered and looked at by kubeconform. Each template comes to life in at least one of them.
VALUES = {
    "defaults": {},
    "everything on": {
        "imagePullSecrets": [{"name": "pull"}], "images": {"operator": {"repository": "r.example/op", "digest": "sha256:" + "0" * 64}}, "clusterName": "c", "extraArgs": ["--lease-duration=20s"],
        "serviceAccount": {"annotations": {"a/b": "c"}}, "networkPolicy": {"enabled": True, "stepNamespaces": ["team", "other"]}, "podMonitor": {"enabled": True, "labels": {"release": "p"}},
        "prometheusRule": {"enabled": True, "labels": {"release": "p"}}, "dashboards": {"enabled": True}, "nodeSelector": {"kubernetes.io/arch": "amd64"},
        "tolerations": [{"key": "k", "operator": "Exists", "effect": "NoSchedule"}], "priorityClassName": "system-cluster-critical", "podAnnotations": {"a": "b"}, "podLabels": {"c": "d"},
        "affinity": {"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [{"topologyKey": "kubernetes.io/hostname", "labelSelector": {"matchLabels": {"a": "b"}}}]}}},
    "a list of namespaces": {"namespaces": ["team", "other"]},
    "one replica": {"replicas": 1, "leaderElection": False},
    "the platform assigns users": {"setUser": False, "crds": {"keep": False}, "podDisruptionBudget": {"maxUnavailable": "50%"}},
    "next to nothing": {"crds": {"install": False}, "rbac": {"create": False}, "serviceAccount": {"create": False, "name": "there"}, "approvalPolicy": {"enabled": False},
                        "podDisruptionBudget": {"enabled": False}},
}
NO_SCHEMA = ["monitoring.coreos.com/v1/PodMonitor", "monitoring.coreos.com/v1/PrometheusRule"]
# (what, file of the chart, from, to, the kind that is refused, what is said of it)
BROKEN = (
    ("a misspelt field of a container", "templates/deployment.yaml", "readinessProbe:", "readynessProbe:", "Deployment", "readynessProbe"),
    ("text for a number", "templates/deployment.yaml", "replicas: {{ .Values.replicas }}", "replicas: many", "Deployment", "replicas"),
    ("a CRD without its scope", "files/crds/trainingrun.yaml", "scope: Namespaced", "scopes: Namespaced", "CustomResourceDefinition", "scope"),
    ("a misspelt bound deep in a CRD's schema", "files/crds/trainingpipeline.yaml", "apiVersion: {type: string, maxLength:", "apiVersion: {type: string, maxLenght:",
     "CustomResourceDefinition", "maxLenght"),
)


def refused(found):
    return [(one["kind"], one["msg"]) for one in found if one["status"] in ("statusInvalid", "statusError")]


def conforms(cluster, conform, with_helm):
    rendered = set()
    for what, values in VALUES.items():
        text = with_helm.template(cluster, values)
        rendered |= set(re.findall(r"^# Source: trainyard/templates/(\S+)$", text, re.M))
        found = conform(text, skip=NO_SCHEMA)
        name = f"kubeconform, {with_helm.title}, {what}"
        kinds = sorted(re.findall(r"^kind: (\w+)$", text, re.M))
        cases.equal(f"{name}: each of {len(kinds)} objects is looked at", sorted(one["kind"] for one in found), kinds)
        cases.equal(f"{name}: they are valid", refused(found), [])
        skipped = sorted(f"{one['version']}/{one['kind']}" for one in found if one["status"] == "statusSkipped")
        cases.equal(f"{name}: none is left out but where said", skipped, NO_SCHEMA if what == "everything on" else [])
    cases.equal(f"kubeconform, {with_helm.title}: no template was left out", rendered, {str(p.relative_to(CHART / "templates")) for p in (CHART / "templates").rglob("*.yaml")})


def schemas(cluster, conform, helms):
    """All that the chart renders, against the schemas of this very API server."""
    for gvk in NO_SCHEMA:
        cases.check(f"the API server has no schema of {gvk}", gvk not in conform.kinds)
        cases.skip(f"kubeconform: {gvk}", "its CRD belongs to the Prometheus operator and is not in this cluster")
    for with_helm in helms:
        conforms(cluster, conform, with_helm)
    monitors = refused(conform(helm.template(cluster, VALUES["everything on"])))
    cases.equal("kubeconform: without being told to skip them, it refuses what it has no schema of", sorted(kind for kind, _ in monitors), ["PodMonitor", "PrometheusRule"])
    for what, file, old, new, kind, said in BROKEN:
        with tempfile.TemporaryDirectory() as folder:
            chart = Path(shutil.copytree(CHART, Path(folder) / "trainyard"))
            text = (chart / file).read_text()
            if not cases.check(f"{file} holds what is broken on purpose", old in text, old):
                continue
            (chart / file).write_text(text.replace(old, new, 1))
            found = refused(conform(helm.template(cluster, chart=chart)))
            cases.check(f"kubeconform refuses {what}", len(found) == 1 and found[0][0] == kind and said in found[0][1], found)


def own_kinds(cluster, conform):
    """Manifests against the schemas that the API server publishes of our CRDs; with a delay, so that it is waited for."""
    ours = {f"trainyard.dev/v1alpha1/{kind}" for kind in ("TrainingPipeline", "TrainingRun")}
    if not cases.check("the API server publishes schemas of our kinds", wait(lambda: ours <= set(conform.refresh()), 30)):
        return
    text = (ROOT / "examples/click-ranker/pipeline.yaml").read_text()
    cases.equal("kubeconform: the example's pipeline is valid", [(one["kind"], one["status"], one["msg"]) for one in conform(text)], [("TrainingPipeline", "statusValid", "")])
    found = refused(conform(text.replace("\n  steps:", "\n  stepps: []\n  steps:", 1)))
    cases.check("kubeconform: with a misspelt field it is not", len(found) == 1 and "stepps" in found[0][1], found)


def values_page():
    """The page itself is compared by make docs-check."""
    a, c = {"type": "integer", "description": "A."}, {"type": "string", "description": "C."}
    page = chartvalues.page({"a": 1, "b": {"c": "x|y"}}, {"properties": {"a": a, "b": {"properties": {"c": c}}}})
    cases.check("values' page: one row a value", "| `a` | integer | `1` | A. |\n| `b.c` | string | `\"x\\|y\"` | C. |\n" in page, page)

    def problem(values, properties):
        try:
            return chartvalues.page(values, {"properties": properties})
        except chartvalues.ValuesError as error:
            return str(error)
    cases.equal("values' page: no description, no page", problem({"a": 1}, {"a": {"type": "integer"}}), "values.schema.json: a has no description")
    cases.equal("values' page: nor without a type", problem({"a": 1}, {"a": {"description": "A."}}), "values.schema.json: a has no type")
    cases.equal("values' page: nor with a value that the schema lacks", problem({"a": 1}, {}), "values.yaml: a is not in values.schema.json")
    cases.equal("values' page: nor with one that has no default", problem({}, {"a": a}), "values.yaml: a of values.schema.json has no default")


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


def leftovers(cluster):
    return cluster.kubectl("get", "clusterrole,clusterrolebinding,role,rolebinding,deployment,service,serviceaccount,poddisruptionbudget,validatingadmissionpolicy,validatingadmissionpolicybinding",
                           "-A", "-l", "app.kubernetes.io/instance=ty", "-o", "name").stdout


def with_helm_3(cluster):
    """On its own, and its release taken over by Helm 4."""
    cluster.kubectl("delete", "crd", *CRDS)
    cluster.make_namespace("third")  # in the others, revisions of deleted pipelines wait for the garbage collector
    helm3(cluster, "install", "ty", CHART, "-n", SYSTEM)
    cases.equal("Helm 3: install brings the CRDs", crds_left(cluster), CRDS)
    operator = Operator(cluster)
    try:
        works_under_its_rights(cluster, "third", operator, "Helm 3")
    finally:
        operator.end()
    run = f"{GROUP}/namespaces/third/trainingruns/first-1"
    before = cluster.api.get(run)["metadata"]["uid"]
    helm3(cluster, "upgrade", "ty", CHART, "-n", SYSTEM, "--set", "namespaces={other}")
    account = f"system:serviceaccount:{SYSTEM}:ty-trainyard"
    can = [cluster.kubectl("auth", "can-i", "create", "jobs", "-n", ns, "--as", account, check=False).stdout.strip() for ns in ("other", "third")]
    cases.equal("Helm 3: upgrade to listed namespaces gives the rights there and takes the others", can, ["yes", "no"])
    helm3(cluster, "uninstall", "ty", "-n", SYSTEM)
    cases.equal("Helm 3: uninstall leaves the CRDs and nothing else", (leftovers(cluster), crds_left(cluster)), ("", CRDS))
    helm3(cluster, "install", "ty", CHART, "-n", SYSTEM)
    cases.check("Helm 3: a second install takes the CRDs that were left", "deployment.apps/ty-trainyard" in leftovers(cluster), leftovers(cluster))
    helm(cluster, "upgrade", "ty", CHART, "-n", SYSTEM, "--set", "replicas=3")
    cases.equal("Helm 4 upgrades what Helm 3 installed", cluster.api.get(f"/apis/apps/v1/namespaces/{SYSTEM}/deployments/ty-trainyard")["spec"]["replicas"], 3)
    cases.equal("and the run is still the same", cluster.api.get(run)["metadata"]["uid"], before)
    helm(cluster, "uninstall", "ty", "-n", SYSTEM)
    cases.equal("and uninstalls it", (leftovers(cluster), crds_left(cluster)), ("", CRDS))


def main():
    absent = tools.missing([*tools.CONTROL_PLANE, "helm"])
    if absent:
        print(f"{', '.join(absent)} not built: run tests/tools/deps.sh cluster")
        sys.exit(77)
    values_page()
    helms = [helm]
    if tools.find("helm3"):
        helms.append(helm3)
    else:
        cases.skip("Helm 3", "helm3 is not built: run tests/tools/deps.sh cluster")
    with tempfile.TemporaryDirectory() as folder, Cluster() as cluster:
        for ns in (SYSTEM, "team", "other"):
            cluster.make_namespace(ns)
        for with_helm in helms:
            lint(cluster, with_helm)
        templates(cluster)
        conform = None
        if tools.find("kubeconform"):
            conform = Kubeconform(cluster.api, tools.path("kubeconform"), folder, tools.KUBERNETES)
            schemas(cluster, conform, helms)
        else:
            cases.skip("kubeconform", "it is not built: run tests/tools/deps.sh cluster")
        helm(cluster, "install", "ty", CHART, "-n", SYSTEM)
        cases.equal("helm install brings the CRDs", crds_left(cluster), CRDS)
        if conform:
            own_kinds(cluster, conform)
        operator = Operator(cluster, "--approvals-verified")
        try:
            works_under_its_rights(cluster, "team", operator, "cluster-wide")
            approvals(cluster)
            rights(cluster)
            before = cluster.api.get(f"{GROUP}/namespaces/team/trainingruns/first-1")["metadata"]["uid"]
            helm(cluster, "upgrade", "ty", CHART, "-n", SYSTEM, "--set", "namespaces={other}", "--set", "approvalPolicy.enabled=false")
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
            cases.equal("nothing else is left", leftovers(cluster), "")
            if helm3 in helms:
                with_helm_3(cluster)
            plain = cluster.kubectl("apply", "--server-side", "--force-conflicts", "-k", str(ROOT / "charts/plain"), check=False)
            cases.check("kubectl apply -k charts/plain", plain.returncode == 0 and "deployment.apps/trainyard" in plain.stdout, plain.stderr[-400:])
        finally:
            cluster.keep_logs = bool(cases.failed)
            if operator.process.poll() is None:
                operator.process.kill()


main()
sys.exit(cases.finish())
