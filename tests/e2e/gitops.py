#!/usr/bin/env python3
"""What GitOps tools do all day, and what it must not start: repeated server-side applies, edits of retention and schedule, a CRD
that gains a defaulted field; and what a changed parameter must start: one run, which reuses what did not change."""
import copy
import json
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
import scene  # noqa: E402

NS = "e2e-gitops"
NAME = "nightly"
CRD = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/trainingpipelines.trainyard.dev"


def manifest(s, lr="0.1", **spec):
    data = s.box("data", "write", "/trainyard/out/rows/a.csv", "1,2", cache={"enabled": True}, container={"outputs": ["rows"]})
    train = s.box("train", "copy", "/trainyard/in/rows/a.csv", "/trainyard/out/model/m", "print", "lr $(params.lr)", cache={"enabled": True},
                  inputs=[{"name": "rows", "from": "data.rows"}], container={"outputs": ["model"]})
    return s.pipeline(NS, NAME, [data, train], parameters=[{"name": "lr", "type": "number", "default": lr}], **spec)


def apply(s, what):
    return s.cluster.kubectl("apply", "--server-side", "--field-manager=gitops", "--force-conflicts", "-f", "-", stdin=what)


def found(s):
    return s.get(NS, "trainingpipelines", NAME)


def quiet(s, what, runs, seconds=5):
    """Nothing starts; a poke (an annotation) makes sure that the operator has looked."""
    s.merge(NS, "trainingpipelines", NAME, {"metadata": {"annotations": {"example.org/poke": str(time.monotonic())}}})
    time.sleep(seconds)
    names = [r["metadata"]["name"] for r in s.runs(NS, NAME)]
    s.cases.check(f"{what} starts nothing", len(names) == runs, f"expected {runs} runs, found {names}" if len(names) != runs else "")


def settled(s, runs, seconds=90):
    s.until(f"run {runs}", 30, lambda: len(s.runs(NS, NAME)) >= runs)
    newest = s.runs(NS, NAME)[-1]["metadata"]["name"]
    return s.finished(NS, newest, seconds)


def repeated(s):
    apply(s, manifest(s))
    first = settled(s, 1)
    s.cases.equal("the first apply starts a run", first["status"]["phase"], "Succeeded")
    s.until("the pipeline knows of its run", 20, lambda: (found(s).get("status", {}).get("lastRun") or {}).get("phase") == "Succeeded")
    before = found(s)
    for _ in range(3):
        apply(s, manifest(s))
    after = found(s)
    s.cases.equal("applied again, generation and version stay", (after["metadata"]["generation"], after["metadata"]["resourceVersion"]),
                  (before["metadata"]["generation"], before["metadata"]["resourceVersion"]))
    diff = s.cluster.kubectl("diff", "--server-side", "--field-manager=gitops", "--force-conflicts", "-f", "-", stdin=manifest(s), check=False)
    s.cases.equal("kubectl diff is empty", (diff.returncode, diff.stdout), (0, ""))
    quiet(s, "a repeated apply", 1)


def edits(s):
    apply(s, manifest(s, retention={"successful": 7, "failed": 3}))
    quiet(s, "an edit of retention", 1)
    apply(s, manifest(s, retention={"successful": 7, "failed": 3}, runOn=["SpecChange", "Schedule"], schedule={"cron": "0 2 * * *", "timeZone": "Europe/Berlin"}))
    quiet(s, "an edit of the schedule", 1)
    due = found(s)["status"].get("nextScheduled", "")
    s.cases.check("it says when it is due", due[11:16] in ("00:00", "01:00"), due)


def change(s):
    apply(s, manifest(s, lr="0.2"))
    done = settled(s, 2)
    s.cases.equal("a changed parameter starts a run", done["status"]["phase"], "Succeeded")
    s.cases.equal("which reuses the data and trains again", (s.item(done, "data").get("state"), s.item(done, "train").get("state")), ("Cached", "Succeeded"))
    quiet(s, "one change more than one run: it", 2)
    apply(s, manifest(s, lr="0.1"))
    done = settled(s, 3)
    s.cases.equal("back again: runs again, all of it from the cache", (s.item(done, "data").get("state"), s.item(done, "train").get("state")), ("Cached", "Cached"))


def new_default(s):
    """The CRD gains fields with defaults: on the spec, and on steps."""
    crd = s.cluster.api.get(CRD)
    old = copy.deepcopy(crd["spec"])
    schema = crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"]
    added = {"type": "string", "maxLength": 10, "default": "plain"}
    schema["futureField"] = added
    schema["steps"]["items"]["properties"]["futureField"] = added
    s.cluster.api.merge(CRD, {"spec": crd["spec"]})
    try:
        s.until("the new default", 30, lambda: found(s)["spec"].get("futureField") == "plain")
        apply(s, manifest(s, lr="0.1"))
        quiet(s, "a CRD that gains defaulted fields", 3)
        s.cases.equal("and the pipeline stays Ready", s.condition(found(s), "Ready").get("status"), "True")
    finally:
        s.cluster.api.merge(CRD, {"spec": json.loads(json.dumps(old).replace("NaN", "null"))})
        drop = [{"op": "remove", "path": "/spec/versions/0/schema/openAPIV3Schema/properties/spec/properties/futureField"},
                {"op": "remove", "path": "/spec/versions/0/schema/openAPIV3Schema/properties/spec/properties/steps/items/properties/futureField"}]
        now = s.cluster.api.get(CRD)["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"]
        if "futureField" in now:
            s.cluster.api.request("PATCH", CRD, drop, "application/json-patch+json")


def from_git(s):
    """A run kept in Git: applied again it is not repeated, and retention does not touch it."""
    run = {"apiVersion": scene.GROUP, "kind": "TrainingRun", "metadata": {"name": "by-hand", "namespace": NS},
           "spec": {"pipeline": NAME, "parameters": [{"name": "lr", "value": "0.3"}]}}
    apply(s, run)
    done = s.finished(NS, "by-hand", 60)
    s.cases.equal("a run of a person works", done["status"]["phase"], "Succeeded")
    apply(s, manifest(s, lr="0.1", retention={"successful": 1, "failed": 1}))
    s.until("retention", 30, lambda: len(s.runs(NS, NAME)) <= 2)
    names = [r["metadata"]["name"] for r in s.runs(NS, NAME)]
    s.cases.check("retention leaves it alone", "by-hand" in names, str(names))
    before = s.get(NS, "trainingruns", "by-hand")["metadata"]["resourceVersion"]
    apply(s, run)
    time.sleep(2)
    s.cases.equal("applied again it is not repeated", s.get(NS, "trainingruns", "by-hand")["metadata"]["resourceVersion"], before)


def scenario(s):
    s.namespace(NS)
    s.case("repeated applies", repeated)
    s.case("edits", edits)
    s.case("a changed parameter", change)
    s.case("new defaults", new_default)
    s.case("a run from Git", from_git)


if __name__ == "__main__":
    sys.exit(scene.main(scenario))
