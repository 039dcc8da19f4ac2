#!/usr/bin/env python3
"""The CRDs on a real API server: plain `kubectl apply` takes them, `kubectl explain` teaches them, every manifest of the examples and of the documentation
is accepted, applying again changes nothing, and what the schema shall refuse it refuses, with a message that a person can use.
"""
import copy
import json
import os
import re
import sys
import time
from pathlib import Path

TESTS = Path(__file__).resolve().parents[1]
ROOT = TESTS.parent
sys.path[:0] = [str(TESTS), str(TESTS / "harness")]

from cluster import Cluster, tools  # noqa: E402
from yard import Cases  # noqa: E402

GROUP = "/apis/trainyard.dev/v1alpha1/namespaces/team"
DEFINITIONS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
NAMES = ["trainingpipelines.trainyard.dev", "trainingruns.trainyard.dev"]
LARGEST = 256 * 1024
cases = Cases()


def check(name, ok, detail=""):
    cases.check(name, ok, "" if ok else str(detail)[-600:])


def pipeline(name, steps=None, **spec):
    return {"apiVersion": "trainyard.dev/v1alpha1", "kind": "TrainingPipeline", "metadata": {"name": name, "namespace": "team"},
            "spec": {"store": {"url": "s3://bucket/x"}, "steps": steps or [{"name": "gate", "approval": {"message": "go on?"}}], **spec}}


def run(name, **spec):
    return {"apiVersion": "trainyard.dev/v1alpha1", "kind": "TrainingRun", "metadata": {"name": name, "namespace": "team"}, "spec": {"pipeline": "p", **spec}}


def established(cluster):
    for path in sorted((ROOT / "crds").glob("*.yaml")):
        check(f"{path.name} is under 256 KiB", path.stat().st_size < LARGEST, path.stat().st_size)
    first = cluster.kubectl("apply", "-f", ROOT / "crds", check=False)
    check("plain kubectl apply takes them, without a warning", first.returncode == 0 and not first.stderr.strip(), first.stderr)
    cluster.install_crds(ROOT / "crds")
    for name in NAMES:
        found = cluster.api.get(f"{DEFINITIONS}/{name}")
        conditions = {c["type"]: (c["status"], c.get("message")) for c in found["status"]["conditions"]}
        check(f"{name} is established", conditions["Established"][0] == "True", conditions)
        check(f"{name} is structural", conditions.get("NonStructuralSchema", ("False",))[0] == "False", conditions)
        cases.equal(f"{name} says which schema it has", found["metadata"]["annotations"].get("trainyard.dev/schema-version"), "1")
    again = cluster.kubectl("apply", "-f", ROOT / "crds").stdout
    cases.equal("again changes nothing", again.count("unchanged"), len(NAMES))
    server_side = [cluster.kubectl("apply", "--server-side", "--force-conflicts", "-f", ROOT / "crds", check=False) for _ in range(2)]
    check("server-side, twice", all(s.returncode == 0 for s in server_side), server_side[-1].stderr)
    for field, word in (("tp.spec.steps.trainDdp.optimizers.dense.adamw", "lr"), ("tp.spec.store", "s3://bucket/prefix"), ("tr.spec.suspend", "resume as new attempts"),
                        ("tr.status.steps", "digests"), ("tp.spec.steps.retry", "preemption")):
        for _ in range(50):  # discovery follows a moment after Established
            explained = cluster.kubectl("explain", field, check=False)
            if "doesn't have a resource type" not in explained.stderr:
                break
            time.sleep(0.2)
        check(f"kubectl explain {field}", explained.returncode == 0 and word in explained.stdout, explained.stdout + explained.stderr)
    listed = cluster.kubectl("get", "trainyard", "-n", "team", check=False)
    cases.equal("the category names both kinds", listed.returncode, 0)


def undescribed(schema, path=""):
    """Fields of a schema without a description; items and metadata need none."""
    for name, field in (schema.get("properties") or {}).items():
        at = f"{path}.{name}"
        if not field.get("description") and at != ".metadata":
            yield at
        yield from undescribed(field, at)
    if "items" in schema:
        yield from undescribed(schema["items"], path + "[]")


def unbounded(schema, path=""):
    """Lists, maps and strings of the spec without a maximum (enumerations and dates are bounded by what they are)."""
    kind = schema.get("type")
    if kind == "array" and "maxItems" not in schema:
        yield path
    if kind == "string" and "maxLength" not in schema and "enum" not in schema and schema.get("format") != "date-time":
        yield path
    if isinstance(schema.get("additionalProperties"), dict):
        if "maxProperties" not in schema:
            yield path
        yield from unbounded(schema["additionalProperties"], path + "{}")
    for name, field in (schema.get("properties") or {}).items():
        yield from unbounded(field, f"{path}.{name}")
    if "items" in schema:
        yield from unbounded(schema["items"], path + "[]")


def complete(cluster):
    for name in NAMES:
        schema = cluster.api.get(f"{DEFINITIONS}/{name}")["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
        cases.equal(f"{name}: every field is described", list(undescribed(schema)), [])
        cases.equal(f"{name}: everything in spec has a maximum", list(unbounded(schema["properties"]["spec"])), [])


def manifests():
    """(where, text) of all manifests that people are shown."""
    for path in sorted((ROOT / "examples").rglob("*.yaml")):
        yield str(path.relative_to(ROOT)), path.read_text()
    for path in sorted([ROOT / "README.md", *(ROOT / "docs").rglob("*.md")]):
        for block in re.findall(r"^```yaml\n(.*?)^```", path.read_text(), re.M | re.S):
            if re.search(r"^kind: Training", block, re.M):
                yield str(path.relative_to(ROOT)), block


def shown(cluster):
    found = list(manifests())
    check("there are manifests to look at", len(found) >= 2, found)
    for where, text in found:
        text = re.sub(r"file://[^\"'\s}]*", "s3://bucket/prefix", text)
        text = re.sub(r"namespace: [-a-z]+", "namespace: team", text)
        if "store:" not in text and "kind: TrainingPipeline" in text:
            text = re.sub(r"^spec:\n", "spec:\n  store: {url: s3://bucket/prefix}\n", text, flags=re.M)
        done = cluster.kubectl("apply", "--dry-run=server", "-n", "team", "-f", "-", stdin=text, check=False)
        check(f"{where}: accepted", done.returncode == 0 and "Warning" not in done.stderr, done.stderr)
    text = (ROOT / "examples/click-ranker/pipeline.yaml").read_text().replace("file:///tmp/trainyard", "s3://bucket/x").replace("namespace: ranking", "namespace: team")
    generations = []
    for _ in range(3):
        cluster.kubectl("apply", "--server-side", "--field-manager", "git", "-f", "-", stdin=text)
        generations.append(cluster.api.get(f"{GROUP}/trainingpipelines/click-ranker")["metadata"]["generation"])
    cases.equal("server-side apply, three times: one generation", generations, [1, 1, 1])
    diff = cluster.kubectl("diff", "--server-side", "--field-manager", "git", "-f", "-", stdin=text, check=False)
    cases.equal("kubectl diff is empty", (diff.returncode, diff.stdout), (0, ""))
    columns = cluster.kubectl("get", "tp,tr", "-n", "team").stdout.split("\n")[0].split()
    cases.equal("columns of a pipeline", columns, ["NAME", "READY", "LAST", "RUN", "LAST", "PHASE", "NEXT", "AGE"])


def refused(cluster):
    def apply(what):
        return cluster.kubectl("apply", "-n", "team", "-f", "-", stdin=json.dumps(what), check=False)

    def refuse(name, what, *words):
        done = apply(what)
        check(f"refused: {name}", done.returncode != 0 and all(w in done.stderr for w in words), f"exit {done.returncode}: {done.stderr}")
    gate = {"name": "gate", "approval": {"message": "go on?"}}
    container = {"name": "c", "container": {"image": "x@sha256:" + "0" * 64}}
    refuse("an unknown field", pipeline("a", sotre={}), 'unknown field "spec.sotre"')
    refuse("an unknown field deep inside", pipeline("a", [{"name": "t", "trainDdp": {"epohcs": 3}}]), "epohcs")
    refuse("no store", {**pipeline("a"), "spec": {"steps": [gate]}}, "store is required in a cluster")
    refuse("a file:// store", pipeline("a", store={"url": "file:///tmp/x"}), "a cluster needs s3://bucket/prefix")
    refuse("a file:// registry", pipeline("a", registry={"url": "file:///tmp/x"}), "a cluster needs s3://bucket/prefix")
    refuse("runOn Schedule without one", pipeline("a", runOn=["Schedule"]), "there is no schedule")
    refuse("a step without a body", pipeline("a", [{"name": "empty"}]), "spec.steps[0]")
    refuse("a step with two bodies", pipeline("a", [{**gate, **container}]), "spec.steps[0]")
    refuse("two steps of one name", pipeline("a", [gate, gate]), "Duplicate value")
    refuse("no steps", {**pipeline("a"), "spec": {"store": {"url": "s3://bucket/x"}, "steps": []}}, "spec.steps")
    refuse("a name with a path in it", pipeline("a", [{**gate, "name": "../../etc"}]), "spec.steps[0].name")
    refuse("an output with a path in it", pipeline("a", [{"name": "c", "container": {**container["container"], "outputs": ["../x"]}}]), "outputs")
    refuse("hostNetwork", pipeline("a", [{**container, "podTemplate": {"hostNetwork": True}}]), "hostNetwork")
    refuse("a hostPath volume", pipeline("a", [{**container, "podTemplate": {"volumes": [{"name": "v", "hostPath": {"path": "/"}}]}}]), "hostPath")
    refuse("a privileged container", pipeline("a", [{**container, "container": {**container["container"], "securityContext": {"privileged": True}}}]), "securityContext")
    refuse("another service account", pipeline("a", [{**container, "podTemplate": {"serviceAccountName": "admin"}}]), "serviceAccountName")
    refuse("too many steps", pipeline("a", [{**gate, "name": f"s{i}"} for i in range(1001)]), "must have at most")
    refuse("text for a number", pipeline("a", limits={"runSeconds": "soon"}), "runSeconds")
    many = apply(pipeline("many", [{"name": f"s{i}", "approval": {"message": "?"}} for i in range(300)]))
    check("a pipeline of many steps stays within the budget of validation", many.returncode == 0, many.stderr)

    check("a run is taken", apply(run("r", parameters=[{"name": "a", "value": "1"}], approvals=[{"step": "gate", "by": "eve"}])).returncode == 0)
    refuse("a run without a pipeline", {**run("s"), "spec": {}}, "spec.pipeline")
    refuse("a parameter that is no text", run("s", parameters=[{"name": "a", "value": 1}]), "value")
    refuse("two values for one parameter", run("s", parameters=[{"name": "a", "value": "1"}] * 2), "Duplicate value")
    before = run("r", parameters=[{"name": "a", "value": "1"}], approvals=[{"step": "gate", "by": "eve"}])

    def changed(**spec):
        after = copy.deepcopy(before)
        after["spec"].update(spec)
        return {**after, "spec": {k: v for k, v in after["spec"].items() if v is not None}}
    refuse("another pipeline later", changed(pipeline="q"), "pipeline cannot be changed")
    refuse("other parameters later", changed(parameters=[{"name": "a", "value": "2"}]), "parameters cannot be changed")
    refuse("no parameters later", changed(parameters=None), "parameters cannot be changed")
    refuse("an approval taken back", changed(approvals=None), "approvals can only be added")
    refuse("an approval in another's name", changed(approvals=[{"step": "gate", "by": "adam"}]), "approvals can only be added")
    refuse("a stop that does not exist", changed(stop="Later"), "Graceful")
    check("one more approval, a stop and a restart are fine", apply(changed(approvals=[*before["spec"]["approvals"], {"step": "other", "by": "eve"}], stop="Now", suspend=True,
                                                                            restart={"id": "1", "from": ["gate"]})).returncode == 0)
    cluster.api.merge(f"{GROUP}/trainingruns/r", {"spec": {"revision": "p-1", "scheduledTime": "2026-11-01T02:00:00Z"}})
    done = cluster.kubectl("patch", "tr", "r", "-n", "team", "--type=merge", "-p", '{"spec":{"revision":"p-2"}}', check=False)
    check("refused: another revision later", done.returncode != 0 and "revision cannot be changed" in done.stderr, done.stderr)


def status(cluster):
    """What the operator writes into a status must come back; what comes in with the spec must not get there."""
    path = f"{GROUP}/trainingruns/r"
    long = "é" * 2048  # the longest error is no longer
    written = {"phase": "Running", "reason": "R", "message": long, "step": "gate", "progress": "0/1", "note": long, "started": "2026-11-01T02:00:00Z",
               "clock": {"countedMs": 12, "since": "2026-11-01T02:00:00Z"}, "stopping": "Now", "outOfTime": True, "observedRestart": "1", "observedGeneration": 2, "revision": "p-1",
               "conditions": [{"type": "Finished", "status": "False", "reason": "NotFinished", "message": long, "observedGeneration": 2, "lastTransitionTime": "2026-11-01T02:00:00Z"}],
               "steps": [{"name": "gate", "state": "Running", "charged": {"memory": 1}, "values": {"rows": "9007199254740993"}, "outputs": {"a": "sha256:" + "0" * 64}, "items": [{"from": 0, "to": 9, "each": []}]}]}
    cluster.api.merge(f"{path}/status", {"status": written})
    cases.equal("a run's status comes back as written", cluster.api.get(path)["status"], written)
    cluster.api.merge(path, {"status": {"phase": "Succeeded"}, "spec": {"suspend": False}})
    cases.equal("nobody writes it but through its own door", cluster.api.get(path)["status"]["phase"], "Running")


def main():
    absent = tools.missing(tools.CONTROL_PLANE)
    if absent:
        print(f"{', '.join(absent)} not built: run tests/tools/deps.sh cluster")
        sys.exit(77)
    with Cluster() as cluster:
        cluster.make_namespace("team")
        for part in (established, complete, shown, refused, status):
            part(cluster)
        cluster.keep_logs = bool(cases.failed) or bool(os.environ.get("KEEP"))


main()
sys.exit(cases.finish())
