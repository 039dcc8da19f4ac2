#!/usr/bin/env python3
"""The chart with the real Helm: two pods under their own account, an upgrade while a run is in progress, what uninstalling
leaves, installing again on what is there, and the CRDs by plain kubectl. Comes last: it takes the operator away."""
import json
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
import scene  # noqa: E402

NS = "e2e-helm"
KINDS = ("trainingpipelines.trainyard.dev", "trainingruns.trainyard.dev")


def operators(s):
    return s.list(scene.SYSTEM, "pods", "app.kubernetes.io/name=trainyard")


def is_ready(pod):
    return any(c["type"] == "Ready" and c["status"] == "True" for c in pod["status"].get("conditions", []))


def two_pods(s):
    pods = operators(s)
    s.cases.equal("two pods, the standby Ready as well", [is_ready(p) for p in pods], [True, True])
    s.cases.check("under an account of their own", all(p["spec"]["serviceAccountName"] not in ("", "default") for p in pods))
    s.cases.check("with restricted settings", all(c["securityContext"].get("allowPrivilegeEscalation") is False and c["securityContext"]["capabilities"]["drop"] == ["ALL"]
                                                  for p in pods for c in p["spec"]["containers"]))
    lease = s.cluster.api.get(f"/apis/coordination.k8s.io/v1/namespaces/{scene.SYSTEM}/leases/trainyard-operator")
    s.cases.check("one of them leads", any(p["metadata"]["name"] in lease["spec"]["holderIdentity"] for p in pods), lease["spec"]["holderIdentity"])
    restarts = sum(c["restartCount"] for p in pods for c in p["status"]["containerStatuses"])
    s.cases.equal("neither was restarted", restarts, 0)
    tests = s.helm("test", scene.RELEASE, "--namespace", scene.SYSTEM, check=False)
    s.cases.check("helm test passes", tests.returncode == 0, (tests.stdout + tests.stderr)[-800:] if tests.returncode else "")


def upgrade(s):
    """While steps work and hand over, the operator's pods are replaced."""
    steps = [s.box("one", "sleep", 12), s.box("two", "sleep", 4, after=["one"]), s.box("three", "sleep", 4, after=["two"])]
    run = s.start(NS, "through", steps)
    s.until("its first pod", 60, lambda: any(p["status"]["phase"] in ("Running", "Pending") for p in s.pods(NS, run, "one")))
    before = {p["metadata"]["uid"] for p in operators(s)}
    s.helm("upgrade", scene.RELEASE, scene.CHART, *s.helm_values(), "--set-string", "podAnnotations.upgraded=yes", "--wait", "--timeout", "120s")
    s.until("the old pods' end", 60, lambda: not before & {p["metadata"]["uid"] for p in operators(s)})
    done = s.finished(NS, run, 120)
    s.cases.equal("a run in progress is not disturbed by an upgrade", (done["status"]["phase"], [s.item(done, n).get("attempt") for n in ("one", "two", "three")]),
                  ("Succeeded", [1, 1, 1]))
    s.cases.equal("one Job a step", len(s.jobs(NS, run)), 3)
    s.cases.equal("and no second run", len(s.runs(NS, "through")), 1)


def uninstall(s):
    runs = {r["metadata"]["name"]: r["status"]["phase"] for r in s.runs(NS, "through")}
    s.helm("uninstall", scene.RELEASE, "--namespace", scene.SYSTEM, "--wait", "--timeout", "120s")
    s.until("the pods' end", 60, lambda: not operators(s))
    left = [kind for kind in KINDS if s.cluster.api.find(f"/apis/apiextensions.k8s.io/v1/customresourcedefinitions/{kind}")]
    s.cases.equal("uninstalling keeps the CRDs", left, list(KINDS))
    s.cases.equal("and the runs as they were", {r["metadata"]["name"]: r["status"]["phase"] for r in s.runs(NS, "through")}, runs)
    rights = json.loads(s.cluster.kubectl("get", "clusterroles,clusterrolebindings,validatingadmissionpolicies", "-l", "app.kubernetes.io/name=trainyard", "-o", "json").stdout)
    s.cases.equal("and no rights", [o["metadata"]["name"] for o in rights["items"]], [])


def plain_crds(s):
    done = s.cluster.kubectl("apply", "-f", scene.ROOT / "crds", check=False)
    s.cases.check("plain kubectl apply of the CRDs works", done.returncode == 0, done.stderr)
    explained = s.cluster.kubectl("explain", "tr.spec.suspend", check=False)
    s.cases.check("kubectl explain teaches", "Nothing new starts" in explained.stdout, explained.stdout + explained.stderr)


def again(s):
    """Installed again, it takes over what it finds: nothing runs twice, and new work is done."""
    s.install()
    time.sleep(5)
    s.cases.equal("installed again, nothing runs again", len(s.runs(NS, "through")), 1)
    done = s.finished(NS, s.start(NS, "after", [s.box("go", "exit", 0)]), 90)
    s.cases.equal("and new runs work", done["status"]["phase"], "Succeeded")


def scenario(s):
    s.namespace(NS)
    for name, part in (("two pods", two_pods), ("upgrade", upgrade), ("uninstall", uninstall), ("plain CRDs", plain_crds), ("again", again)):
        s.case(name, part)


if __name__ == "__main__":
    sys.exit(scene.main(scenario))
