#!/usr/bin/env python3
"""Failures of every class, and what a person reads in `kubectl get tr -o json`: the documented state, and a message that says
what happened and what to do, within the deadline. All at once, for most of the time is waiting."""
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
import scene  # noqa: E402

NS = "e2e-failures"
QUICK = {"backoffSeconds": 1, "maxBackoffSeconds": 1, "application": 0, "infrastructure": 0, "memory": {"budget": 0}, "preemption": -1}


def table(s):
    """name → (step, more of the spec, seconds, phase, class, reason, words of the message, attempt)"""
    def box(*words, **more):
        return s.box("go", *words, **{"retry": QUICK, **more})
    return {
        "bad-data": (box("print", "row 7: price is negative", "exit", 65), {}, 60, "Failed", "user", "exit-65", ["65", "row 7: price is negative"], 1),
        "own-bug": (box("print", "assertion failed", "exit", 70, retry={**QUICK, "application": 1}), {}, 60, "Failed", "application", "exit-70",
                    ["70", "assertion failed"], 2),
        "try-again": (box("exit", 75, retry={**QUICK, "infrastructure": 1}), {}, 60, "Failed", "infrastructure", "exit-75", ["75"], 2),
        "crash": (box("crash"), {}, 60, "Failed", "application", "exit-132", ["132"], 1),
        "memory": (box("eat", 300, retry={**QUICK, "memory": {"budget": 1, "factor": 1.5, "max": "64Mi"}}), {}, 60, "Failed", "memory", "OOMKilled",
                   ["memory", "raise resources.memory"], 2),
        "too-slow": (box("sleep", 60, timeoutSeconds=3), {}, 60, "Failed", "application", "Timeout", ["timeoutSeconds"], 1),
        "no-image": (box(container={"image": "localhost/absent:1"}), {}, 200, "Failed", "infrastructure", "", ["localhost/absent:1"], 1),
        "no-credentials": (box("exit", 0), {"store": {**s.store("x"), "credentialsSecret": "forgotten"}}, 60, "Failed", "user", "", ["forgotten", "create it in the run's namespace"], 1),
        "no-secret-in-env": (box("exit", 0, podTemplate={"env": [{"name": "KEY", "valueFrom": {"secretKeyRef": {"name": "absent", "key": "k"}}}]}), {}, 60,
                             "Failed", "user", "CreateContainerConfigError", ["absent"], 1),
        "no-node": (box("exit", 0, podTemplate={"nodeSelector": {"pool": "none-such"}}), {"limits": {"pendingSeconds": 8}}, 60, "Failed",
                    "infrastructure", "PendingDeadline", ["pendingSeconds", "node"], 1),
        "too-large": (box("exit", 0, resources={"cpu": "500", "memory": "32Mi"}), {"limits": {"pendingSeconds": 8}}, 60, "Failed", "infrastructure",
                      "PendingDeadline", ["pendingSeconds", "cpu"], 1),
        "no-claim": (box("exit", 0, podTemplate={"volumes": [{"name": "v", "persistentVolumeClaim": {"claimName": "absent"}}],
                                                 "volumeMounts": [{"name": "v", "mountPath": "/v"}]}),
                     {"limits": {"pendingSeconds": 8}}, 60, "Failed", "infrastructure", "PendingDeadline", ["absent"], 1),
    }


def judge(s, name, row, began):
    _, _, seconds, phase, kind, reason, words, attempt = row
    run = s.first_run(NS, name)
    done = s.finished(NS, run, max(1, seconds - (time.monotonic() - began)))
    item = s.item(done, "go")
    s.cases.equal(f"{name}: ends", (done["status"]["phase"], item.get("class"), item.get("attempt")), (phase, kind, attempt))
    if reason:
        s.cases.equal(f"{name}: reason", item.get("reason"), reason)
    missing = [w for w in words if w not in item.get("message", "")]
    s.cases.check(f"{name}: the message says what happened", not missing, f"no {missing} in: {item.get('message')}" if missing else "")
    s.cases.equal(f"{name}: conditions", (s.condition(done, "Finished").get("status"), s.condition(done, "Finished").get("reason"),
                                          s.condition(done, "Failed").get("status")), ("True", "Failed", "True"))
    jobs = [j["metadata"]["name"] for j in s.jobs(NS, run)]  # one that never ran was deleted
    s.cases.check(f"{name}: at most one Job an attempt", len(jobs) <= attempt, str(jobs))
    # The Job controller counts a second after the run has ended: a pod's end is what decides.
    s.until(f"the Jobs' end of {name}", 30, lambda: not any(j["status"].get("active") for j in s.jobs(NS, run)))


def waiting(s, name, words):
    """While it waits, the status says for what."""
    run = s.first_run(NS, name)

    def said():
        item = s.item(s.get(NS, "trainingruns", run) or {}, "go")
        return item.get("message") if all(w in item.get("message", "") for w in words) else None
    try:
        s.cases.check(f"{name}: says what it waits for", s.until("the message", 40, said) is not None)
    except TimeoutError:
        s.cases.check(f"{name}: says what it waits for", False, f"expected {words} in {s.item(s.get(NS, 'trainingruns', run), 'go').get('message')!r}")


def classes(s):
    rows = table(s)
    began = time.monotonic()
    for name, row in rows.items():
        s.cluster.apply(s.pipeline(NS, name, [row[0]], **row[1]))
    waiting(s, "no-node", ["node"])
    waiting(s, "no-image", ["localhost/absent:1"])
    for name, row in sorted(rows.items(), key=lambda r: r[1][2]):
        s.case(name, lambda _, n=name, r=row: judge(s, n, r, began))


def running(s, run, attempt=1):
    def pod():
        for p in s.list(NS, "pods", f"trainyard.dev/run={run},trainyard.dev/attempt={attempt}"):
            if any(c["name"] == "step" and "running" in c.get("state", {}) for c in p["status"].get("initContainerStatuses", [])):
                return p["metadata"]["name"]
        return None
    return s.until(f"attempt {attempt} of {run} running", 90, pod)


def taken_away(s):
    """Pods that others end: by eviction, by force, with their Job."""
    def evict(pod, _):
        s.cluster.api.post(s.path(NS, "pods", pod) + "/eviction", {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": pod, "namespace": NS}})

    def force(pod, _):
        s.cluster.kubectl("delete", "pod", "-n", NS, pod, "--force", "--grace-period=0")

    def job(_, run):
        s.cluster.kubectl("delete", "job", "-n", NS, s.jobs(NS, run)[0]["metadata"]["name"], "--cascade=background")

    ways = {"evicted": evict, "forced": force, "job-deleted": job}
    runs = {}
    for name in ways:
        runs[name] = s.start(NS, name, [s.box("go", "sleep", 6, retry={**QUICK, "infrastructure": 2, "application": 1})])
    for name, end in ways.items():
        end(running(s, runs[name]), runs[name])
    for name in ways:
        done = s.finished(NS, runs[name], 120)
        s.cases.equal(f"{name}: another attempt succeeds", (done["status"]["phase"], s.item(done, "go").get("attempt")), ("Succeeded", 2))
        charged = s.item(done, "go").get("charged", {})
        s.cases.check(f"{name}: nothing is charged to the step itself", not charged.get("application") and not charged.get("user"), str(charged))


def refused(s):
    """An image name that cannot be one is refused before anything starts."""
    bad = s.pipeline(NS, "bad-image", [s.box("go", container={"image": "UPPER CASE"}, retry=QUICK)])
    done = s.cluster.kubectl("apply", "-f", "-", stdin=bad, check=False)
    if done.returncode:
        s.cases.check("an impossible image name is refused", "image" in done.stderr, done.stderr)
        return
    item = s.item(s.finished(NS, s.first_run(NS, "bad-image"), 60), "go")
    s.cases.equal("an impossible image name ends the run", (item.get("class"), item.get("attempt")), ("user", 1))


def scenario(s):
    s.namespace(NS)
    s.case("classes", classes)
    s.case("taken away", taken_away)
    s.case("refused", refused)


if __name__ == "__main__":
    sys.exit(scene.main(scenario))
