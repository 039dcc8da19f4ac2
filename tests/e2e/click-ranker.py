#!/usr/bin/env python3
"""The main job on the node: `kubectl apply` of examples/click-ranker with an S3 store over TLS and two training workers. The run
becomes Complete, says where it is while it runs, and its artifacts have the digests that `trainyard run` gives for the same data
and binaries. A changed parameter reuses the data; an accident in the data ends Finished with Failed.

The example is taken as it is but for where things lie (store, source), the requests (the node has two cores for all of it) and a
gate that so few rows pass. ROWS=n (default 100000).
"""
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
import scene  # noqa: E402
import storetool  # noqa: E402
import yard  # noqa: E402

NS = "ranking"
ROWS = os.environ.get("ROWS", "100000")
OUTPUTS = {"validate": ["snapshot"], "features": ["features"], "train": ["model"], "logistic": ["model"], "evaluate": ["report"], "evaluate-logistic": ["report"]}


def example(s, name="click-ranker", **parameters):
    """The example's text with the changes that its head names; JSON in flow style is YAML."""
    text = yard.PIPELINE.read_text()
    for old, new in (('{url: "file:///tmp/trainyard"}', json.dumps(s.store(f"{NS}/click-ranker"))), ("name: click-ranker, namespace: ranking", f"name: {name}, namespace: {NS}"),
                     ("  parameters:", "  limits: {startSeconds: 120}\n  parameters:")):
        if text.count(old) != 1:
            raise ValueError(f"{yard.PIPELINE}: expected {old!r} once")
        text = text.replace(old, new)
    for key, value in {"minAuc": "0.5", **parameters}.items():
        text, n = re.subn(r"(\{name: %s, type: \w+)(, default: [^}]*)?\}" % key, lambda m, v=value: f'{m[1]}, default: "{v}"}}', text)
        if n != 1:
            raise ValueError(f"{yard.PIPELINE}: expected the parameter {key} once")
    text, n = re.subn(r"    - name: (\w[-\w]*)\n((?:(?!    - name: ).*\n)*?)      resources: \{cpu: \"\d\"", r'    - name: \1\n\2      resources: {cpu: 200m', text)
    if "cpu: \"" in text or n == 0:
        raise ValueError(f"{yard.PIPELINE}: expected resources with cpu in every step that has any")
    return text


def generate(s, name, directory, *options):
    """The data as a folder here, and the same in the bucket; yesterday's is the newest partition."""
    clicks = Path(directory, name)
    yesterday = time.strftime("%Y-%m-%d", time.gmtime(time.time() - 86400))
    yard.generate(clicks, int(ROWS), extra=["--last-day", yesterday, *options])
    s3 = s.cluster.s3
    storetool.build_tool()
    tool = storetool.Tool(f"s3://{s3.bucket}/{name}", (s3.access, s3.secret), endpoint=s3.host_endpoint, deadline="60s")
    done = tool.many([("putfile", file.relative_to(clicks), file) for file in sorted(clicks.rglob("*.parquet"))])
    if not all(d["ok"] for d in done):
        raise RuntimeError(f"upload: {[d for d in done if not d['ok']][:2]}")
    return clicks, f"s3://{s3.bucket}/{name}/"


def locally(s, text, clicks, directory):
    """`trainyard run` of the same manifest: step → outputs' digests."""
    path, store = Path(directory, "pipeline.yaml"), f"file://{directory}/store"
    path.write_text(text)
    yard.signing_key(Path(directory, "secrets"))
    yard.trainyard("run", path, "--name", "local", "--store", store, "--param", f"source=file://{clicks}/", "--secret", f"model-signing={directory}/secrets")
    record = yard.get_run("local", store)
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
    clicks, source = generate(s, "clicks", work)
    manifest = example(s, source=source)
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
    manifest = example(s, source=f"s3://{s.cluster.s3.bucket}/clicks/", epochs="1")
    s.cluster.apply(manifest)
    s.until("the second run", 30, lambda: len(s.runs(NS, "click-ranker")) == 2)
    done = s.finished(NS, s.runs(NS, "click-ranker")[-1]["metadata"]["name"], 300)
    s.cases.equal("with other epochs it trains again on the same features", (done["status"]["phase"], s.item(done, "features").get("state"),
                                                                             s.item(done, "train").get("state")), ("Succeeded", "Cached", "Succeeded"))


def accident(s, work):
    _, source = generate(s, "bad-clicks", work, "--accident", "nulls")
    s.cluster.apply(example(s, "bad-ranker", source=source))
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
