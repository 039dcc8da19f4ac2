#!/usr/bin/env python3
"""The main job on the node: `kubectl apply` of examples/click-ranker with an S3 store over TLS and two training workers. The run
becomes Complete, says where it is while it runs, and its artifacts have the digests that `trainyard run` gives for the same data
and binaries. A changed parameter reuses the data; an accident in the data ends Finished with Failed.

The example is taken as it is but for where things lie (store, source), the size of the requests (the node has two cores for all
of it) and the threads that those requests imply. ROWS=n (default 100000).
"""
import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
import scene  # noqa: E402
import yard  # noqa: E402

NS = "ranking"
ROWS = os.environ.get("ROWS", "100000")
OUTPUTS = {"validate": ["snapshot"], "features": ["features"], "train": ["model"], "logistic": ["model"], "evaluate": ["report"], "evaluate-logistic": ["report"]}


def example(s, source, **parameters):
    """The manifest as an object: kubectl reads the YAML."""
    done = s.cluster.kubectl("create", "--dry-run=client", "-o", "json", "-f", yard.PIPELINE)

    manifest = json.loads(done.stdout)
    spec = manifest["spec"]
    manifest["metadata"] = {"name": manifest["metadata"]["name"], "namespace": NS}
    spec["store"] = s.store(f"{NS}/click-ranker")
    spec["limits"] = {"startSeconds": 120}
    values = {"source": source, "day": "2026-10-31", "minAuc": "0.5", **parameters}
    for p in spec["parameters"]:
        if p["name"] in values:
            p["default"] = values[p["name"]]
    for step in spec["steps"]:
        step["resources"]["cpu"] = "200m"
    return manifest


def generate(s, name, *options):
    """Into the bucket's folder, which is what the S3 server serves."""
    directory = Path(s.cluster.s3.directory, s.cluster.s3.bucket, name)
    yard.generate(directory, int(ROWS), extra=options)
    return directory, f"s3://{s.cluster.s3.bucket}/{name}/"


def locally(s, manifest, clicks, directory):
    """`trainyard run` of the same manifest: step → outputs' digests."""

    own = json.loads(json.dumps(manifest))
    own["spec"]["store"] = {"url": f"file://{directory}/store"}
    for p in own["spec"]["parameters"]:
        if p["name"] == "source":
            p["default"] = f"file://{clicks}/"
    path = Path(directory, "pipeline.json")
    path.write_text(json.dumps(own))
    yard.signing_key(Path(directory, "secrets"))
    yard.trainyard("run", path, "--name", "local", "--scheduled-time", yard.SCHEDULED, "--secret", f"model-signing={directory}/secrets")
    record = yard.get_run("local", f"file://{directory}/store")
    return {step: s.item({"status": record}, step).get("outputs", {}) for step in OUTPUTS}


def watch(s, run):
    """What `kubectl get tr` shows until the run has ended: the set of (phase, step, progress)."""
    seen = set()

    def ended():
        words = s.cluster.kubectl("get", "tr", run, "-n", NS, "--no-headers").stdout.split()
        seen.add(tuple(words[1:4]))
        return words[1] in scene.FINISHED
    s.until("the run's end", 400, ended)
    return seen


def healthy(s, work):
    clicks, source = generate(s, "clicks")
    manifest = example(s, source)
    s.cluster.apply(manifest)
    run = s.first_run(NS, "click-ranker")
    waiter = subprocess.Popen([str(scene.tools.path("kubectl")), "--kubeconfig", str(s.cluster.directory / "kubeconfig"), "wait", "-n", NS, f"tr/{run}",
                               "--for=condition=Finished", "--timeout=400s"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    seen = watch(s, run)
    done = s.finished(NS, run, 10)
    s.cases.equal("the run of examples/click-ranker succeeds", done["status"]["phase"], "Succeeded")
    if done["status"]["phase"] != "Succeeded":
        print(s.brief(done))
    s.cases.equal("condition Complete", s.condition(done, "Complete").get("status"), "True")
    said = waiter.communicate(timeout=30)[0]
    s.cases.check("kubectl wait --for=condition=Finished returns", waiter.returncode == 0, said)
    steps = {row[1] for row in seen if row[0] == "Running"}
    s.cases.check("kubectl get tr shows steps while it runs", {"validate", "features"} <= steps and len({row[2] for row in seen}) > 2, str(sorted(seen)))
    pods = s.pods(NS, run, "train")
    s.cases.equal("training had two workers", len({p["metadata"]["annotations"].get("batch.kubernetes.io/job-completion-index") for p in pods}), 2)
    mine = {step: s.item(done, step).get("outputs", {}) for step in OUTPUTS}
    theirs = locally(s, manifest, clicks, work)
    for step, names in OUTPUTS.items():
        for name in names:
            s.cases.check(f"{step}.{name} has the digest of trainyard run", bool(mine[step].get(name)) and mine[step].get(name) == theirs[step].get(name),
                          f"{mine[step].get(name)} and {theirs[step].get(name)}" if mine[step].get(name) != theirs[step].get(name) else "")
    version = Path(s.cluster.s3.directory, s.cluster.s3.bucket, NS, "click-ranker", "models", "click-ranker", "versions", "1.json")
    s.cases.check("the model is registered as version 1", version.exists())


def changed(s, _):
    manifest = example(s, f"s3://{s.cluster.s3.bucket}/clicks/", epochs="1")
    s.cluster.apply(manifest)
    s.until("the second run", 30, lambda: len(s.runs(NS, "click-ranker")) == 2)
    done = s.finished(NS, s.runs(NS, "click-ranker")[-1]["metadata"]["name"], 300)
    s.cases.equal("with other epochs it trains again on the same features", (done["status"]["phase"], s.item(done, "features").get("state"),
                                                                             s.item(done, "train").get("state")), ("Succeeded", "Cached", "Succeeded"))


def accident(s, _):
    _, source = generate(s, "bad-clicks", "--accident", "nulls")
    manifest = example(s, source)
    manifest["metadata"]["name"] = "bad-ranker"
    s.cluster.apply(manifest)
    run = s.first_run(NS, "bad-ranker")
    waited = s.cluster.kubectl("wait", "-n", NS, f"tr/{run}", "--for=condition=Finished", "--timeout=120s", check=False, timeout=150)
    s.cases.check("kubectl wait returns for a failing run, too", waited.returncode == 0, waited.stderr)
    done = s.finished(NS, run, 10)
    s.cases.equal("bad data: Finished with Failed", (s.condition(done, "Finished").get("reason"), s.condition(done, "Failed").get("status"),
                                                     s.item(done, "validate").get("class")), ("Failed", "True", "user"))
    words = [w for w in ("price", "null", "0.02") if w not in s.item(done, "validate").get("message", "")]
    s.cases.check("the message names column, rule and bound", not words, s.item(done, "validate").get("message", ""))


def scenario(s):
    s.namespace(NS)
    work = tempfile.mkdtemp(prefix="e2e-click-ranker-")
    try:
        s.case("healthy", healthy, work)
        s.case("changed", changed, work)
        s.case("accident", accident, work)
    finally:
        shutil.rmtree(work, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(scene.main(scenario))
