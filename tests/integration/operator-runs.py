#!/usr/bin/env python3
"""TrainingRuns under the operator, out of cluster, against a real API server and Job controller, in a namespace that enforces Pod Security "restricted".

There is no kubelet: the test writes the pod statuses that one would write, so that every failure class is reached on purpose and at once. What the
classes look like on a real node is tests/e2e's. Where the control plane cannot run, the script says why and skips.
"""
import http.client
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

from cluster import Cluster  # noqa: E402
from cluster import tools  # noqa: E402
from cluster.api import ApiError  # noqa: E402
from yard import Cases  # noqa: E402

BUILD = ROOT / os.environ.get("BUILD", "build")
GROUP, NS = "/apis/trainyard.dev/v1alpha1", "team"
DIGEST = "sha256:" + "0" * 64
RESULT = json.dumps({"outputs": {}, "values": {}})


class Quiet(Cases):
    """Details of what went wrong only."""

    def check(self, name, ok, detail=""):
        return super().check(name, ok, "" if ok else detail)


cases = Quiet()


def wait(condition, seconds=20):
    """Its value once it is true, or the last one."""
    until = time.monotonic() + seconds
    while True:
        value = condition()
        if value or time.monotonic() > until:
            return value
        time.sleep(0.05)


# --- what a kubelet would say ----------------------------------------------------------------------------


def now():
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())


def ended(name, code, reason="", message=""):
    return {"name": name, "image": "x", "imageID": "", "ready": False, "restartCount": 0,
            "state": {"terminated": {"exitCode": code, "reason": reason or ("Completed" if code == 0 else "Error"), "message": message,
                                     "startedAt": now(), "finishedAt": now()}}}


def waiting(name, reason, message=""):
    return {"name": name, "image": "x", "imageID": "", "ready": False, "restartCount": 0, "state": {"waiting": {"reason": reason, "message": message}}}


def running(name):
    return {"name": name, "image": "x", "imageID": "", "ready": True, "restartCount": 0, "state": {"running": {"startedAt": now()}}}


def done(message=RESULT):
    return {"phase": "Succeeded", "initContainerStatuses": [ended("fetch", 0), ended("step", 0)], "containerStatuses": [ended("publish", 0, message=message)]}


def failed(code, message="", reason="", **more):
    return {"phase": "Failed", "initContainerStatuses": [ended("fetch", 0), ended("step", code, reason, message)],
            "containerStatuses": [waiting("publish", "PodInitializing")], **more}


def disrupted(reason, code=143):
    return failed(code, conditions=[{"type": "DisruptionTarget", "status": "True", "reason": reason, "message": f"because of {reason}"}])


def hindered(reason, message):
    return {"phase": "Pending", "initContainerStatuses": [ended("fetch", 0), waiting("step", reason, message)],
            "containerStatuses": [waiting("publish", "PodInitializing")]}


def works():
    return {"phase": "Pending", "initContainerStatuses": [ended("fetch", 0), running("step")], "containerStatuses": [waiting("publish", "PodInitializing")]}


def unschedulable():
    return {"phase": "Pending", "conditions": [{"type": "PodScheduled", "status": "False", "reason": "Unschedulable",
                                                "message": "0/3 nodes are available: 3 node(s) didn't match Pod's node affinity/selector."}]}


DELETE, DELETE_JOB = "delete the pod", "delete the Job"


class Kubelet(threading.Thread):
    """Plays a script for each pipeline: what becomes of attempt 1, 2, …, the last for all further ones. Workers may differ: a list."""

    def __init__(self, cluster):
        super().__init__(daemon=True)
        self.api, self.scripts, self.played, self.stopped = cluster.api, {}, set(), False

    def run(self):
        while not self.stopped:
            try:
                for pod in self.api.get(f"/api/v1/namespaces/{NS}/pods")["items"]:
                    if pod["metadata"]["uid"] not in self.played and "deletionTimestamp" not in pod["metadata"]:
                        self.play(pod)
            except (ApiError, OSError, http.client.HTTPException) as e:
                print(f"# kubelet: {e}", flush=True)
            time.sleep(0.05)

    def play(self, pod):
        labels, annotations = pod["metadata"]["labels"], pod["metadata"]["annotations"]
        script = self.scripts.get(labels["trainyard.dev/pipeline"])
        if not script:
            return
        attempt = int(labels["trainyard.dev/attempt"])
        turn = script[min(attempt, len(script)) - 1]
        if isinstance(turn, list):
            turn = turn[int(annotations["batch.kubernetes.io/job-completion-index"])]
        self.played.add(pod["metadata"]["uid"])
        path = f"/api/v1/namespaces/{NS}/pods/{pod['metadata']['name']}"
        if turn in (DELETE, DELETE_JOB):
            self.api.merge(f"{path}/status", {"status": works()})
            time.sleep(0.3)
            if turn == DELETE:
                self.api.delete(path, {"gracePeriodSeconds": 0})
            else:
                self.api.delete(f"/apis/batch/v1/namespaces/{NS}/jobs/{labels['batch.kubernetes.io/job-name']}", {"propagationPolicy": "Background"})
        else:
            self.api.merge(f"{path}/status", {"status": turn})


# --- the yard ----------------------------------------------------------------------------------------------


class Operator:
    def __init__(self, cluster):
        self.log = Path(cluster.directory) / "operator.log"
        clean = {k: v for k, v in os.environ.items() if not k.startswith(("TRAINYARD_", "POD_", "KUBE"))}
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(
                [str(BUILD / "bin/trainyard-operator"), "--kubeconfig", str(cluster.kubeconfig), "--own-namespace", "default", "--address", "127.0.0.1",
                 "--metrics-port", "0", "--progress-port", "0", "--log-format", "json", "--no-leader-election", "--grace-period", "1s",
                 "--image", "artifact=x/artifact:1"], stdout=log, stderr=log, env=clean)

    def port(self, which):
        def said():
            lines = [json.loads(line) for line in self.log.read_text().splitlines() if line.startswith("{")]
            return [line[which] for line in lines if line["msg"] == "serving"]
        return int(wait(said)[-1])

    def kill(self):
        self.process.kill()
        self.process.wait()

    def end(self):
        self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.kill()
            return "did not end"


class Yard:
    def __init__(self, cluster, kubelet):
        self.cluster, self.api, self.kubelet = cluster, cluster.api, kubelet

    def apply(self, name, script, step=None, container=None, steps=None, **spec):
        """A pipeline of one container step, or of those given; its first run is <name>-1."""
        self.kubelet.scripts[name] = script
        one = {"name": "s", "retry": {"backoffSeconds": 0}, **(step or {}), "container": {"image": "x/step:1", **(container or {})}}
        body = {"apiVersion": "trainyard.dev/v1alpha1", "kind": "TrainingPipeline", "metadata": {"name": name, "namespace": NS},
                "spec": {"store": {"url": "s3://bucket/x", "credentialsSecret": "s3"}, "steps": steps or [one], **spec}}
        self.api.post(f"{GROUP}/namespaces/{NS}/trainingpipelines", body)

    def run(self, name):
        return self.api.find(f"{GROUP}/namespaces/{NS}/trainingruns/{name}") or {}

    def status(self, name):
        return self.run(name).get("status", {})

    def finished(self, name, seconds=30):
        wait(lambda: any(c["type"] == "Finished" and c["status"] == "True" for c in self.status(name).get("conditions", [])), seconds)
        return self.status(name)

    def jobs(self, run):
        items = self.api.get(f"/apis/batch/v1/namespaces/{NS}/jobs?labelSelector=trainyard.dev/run%3D{run}")["items"]
        return sorted(items, key=lambda j: j["metadata"]["name"])


# --- failure classes ---------------------------------------------------------------------------------------

NONE = {"retry": {"backoffSeconds": 0, "infrastructure": 0}}
# name: script, further fields of the step, of the pipeline; phase, attempts, the class that was charged, reason of the step, words of its message
CLASSES = {
    "fine": ([done()], {}, {}, "Succeeded", 1, None, None, None),
    "bad-data": ([failed(65, json.dumps({"error": {"class": "invalid", "reason": "too-few-rows", "message": "expected 10 rows, found 3"}}))], {}, {},
                 "Failed", 1, "user", "too-few-rows", "expected 10 rows, found 3"),
    "bad-config": ([failed(78, "no such option --x")], {}, {}, "Failed", 1, "user", "exit-78", "no such option --x"),
    "no-secret": ([hindered("CreateContainerConfigError", 'secret "token" not found')], {}, {}, "Failed", 1, "user", "CreateContainerConfigError",
                  'secret "token" not found'),
    "bad-image": ([hindered("InvalidImageName", "couldn't parse image name")], {}, {}, "Failed", 1, "user", "InvalidImageName", "correct the image name"),
    "too-large": ([done(json.dumps({"outputs": {}, "values": {f"v{i}": "x" * 100 for i in range(25)}}))], {}, {}, "Failed", 1, "user",
                  "result-too-large", "name fewer or shorter values"),
    "cut": ([done('{"outputs": {"a": "sha25')], {}, {}, "Failed", 1, "user", "result-truncated", "the result cannot be read"),
    "crash": ([failed(139)], {}, {}, "Failed", 3, "application", "exit-139", "retries for class application are used up"),
    "crash-once": ([failed(1), done()], {}, {}, "Succeeded", 2, "application", None, None),
    "no-result": ([done(""), done()], {}, {}, "Succeeded", 2, "application", None, None),
    "too-long": ([failed(137, reason="Error") | {"reason": "DeadlineExceeded", "message": "Pod was active on the node longer than the deadline"}, done()],
                 {"timeoutSeconds": 600}, {}, "Succeeded", 2, "application", None, None),
    "memory": ([failed(137, reason="OOMKilled"), done()], {"resources": {"memory": "100Mi"}}, {}, "Succeeded", 2, "memory", None, None),
    "memory-up": ([failed(137, reason="OOMKilled")], {"resources": {"memory": "100Mi"}}, {}, "Failed", 3, "memory", "OOMKilled",
                  "retries for class memory are used up"),
    "preempted": ([disrupted("PreemptionByScheduler"), done()], {}, {}, "Succeeded", 2, "preemption", None, None),
    "evicted-api": ([disrupted("EvictionByEvictionAPI"), done()], {}, {}, "Succeeded", 2, "preemption", None, None),
    "tainted": ([disrupted("DeletionByTaintManager"), done()], {}, {}, "Succeeded", 2, "preemption", None, None),
    "shutdown": ([disrupted("TerminationByKubelet") | {"reason": "Terminated", "message": "Pod was terminated in response to imminent node shutdown."},
                  done()], {}, {}, "Succeeded", 2, "preemption", None, None),
    "pressure": ([disrupted("TerminationByKubelet") | {"reason": "Evicted", "message": "The node was low on resource: memory."}], NONE, {}, "Failed", 1,
                 "infrastructure", "TerminationByKubelet", "The node was low on resource: memory."),
    "collected": ([disrupted("DeletionByPodGC"), done()], {}, {}, "Succeeded", 2, "infrastructure", None, None),
    "store-away": ([failed(69, "the store does not answer"), done()], {}, {}, "Succeeded", 2, "infrastructure", None, None),
    "store-gone": ([failed(69, "the store does not answer")], NONE, {}, "Failed", 1, "infrastructure", "exit-69", "the store does not answer"),
    "nowhere": ([unschedulable()], NONE, {"limits": {"pendingSeconds": 8}}, "Failed", 1, "infrastructure", "PendingDeadline",
                "didn't match Pod's node affinity/selector"),
    "killed": ([DELETE, done()], {}, {}, "Succeeded", 2, "infrastructure", None, None),
    "no-job": ([DELETE_JOB, done()], {}, {}, "Succeeded", 2, None, None, None),
}


def charged(step):
    """The classes that its failed attempts were counted against; a failure of the user's is its step's last."""
    return " ".join(step.get("charged", {})) or step.get("class")


def classes(y):
    for name, (script, step, spec, *_) in CLASSES.items():
        y.apply(name, script, step, **spec)
    for name, (_, _, _, phase, attempts, class_, reason, words) in CLASSES.items():
        s = y.finished(f"{name}-1", 60)
        step = (s.get("steps") or [{}])[0]
        found = (s.get("phase"), step.get("attempt"), charged(step), step.get("reason") if reason else None)
        cases.check(f"{name}: {phase} after {attempts}, class {class_}", found == (phase, attempts, class_, reason), f"found {found}: {json.dumps(step)}")
        if words:
            cases.check(f"{name}: the step's message says it", words in step.get("message", ""), step.get("message"))
            cases.check(f"{name}: kubectl get tr says it", words in s.get("note", ""), s.get("note"))
            condition = next((c for c in s.get("conditions", []) if c["type"] == "Failed"), {})
            cases.check(f"{name}: so does the condition Failed", words in condition.get("message", ""), json.dumps(condition))
    limits = [j["spec"]["template"]["spec"]["initContainers"][1]["resources"]["limits"]["memory"] for j in y.jobs("memory-up-1")]
    sizes = [int(m[:-2]) * {"Mi": 2**20, "Ki": 2**10}[m[-2:]] if m[-1] == "i" else int(m) for m in limits]
    cases.check("each attempt after a lack of memory gets more", len(sizes) == 3 and sizes[0] < sizes[1] < sizes[2], str(limits))


# --- gangs, names, nodes -----------------------------------------------------------------------------------


def gang(y):
    y.apply("gang", [[failed(1, "lost rank 1"), failed(69, "no store")], [done(), done("")]], {"workers": 2, "minWorkers": 2})
    s = y.finished("gang-1")
    step = (s.get("steps") or [{}])[0]
    cases.equal("a gang fails and succeeds as one; the higher class counts", (s.get("phase"), step.get("attempt"), charged(step)),
                ("Succeeded", 2, "application"))
    services = {s["metadata"]["name"]: s["spec"] for s in y.api.get(f"/api/v1/namespaces/{NS}/services")["items"]}
    made = [e for e in y.cluster.audited() if e["objectRef"].get("resource") == "jobs" and e["verb"] == "create" and "gang-1" in str(e.get("requestObject"))]
    cases.equal("each attempt is an Indexed Job", [e["requestObject"]["spec"]["completionMode"] for e in made], ["Indexed", "Indexed"])
    cases.equal("with a subdomain of its name", [e["requestObject"]["spec"]["template"]["spec"].get("subdomain") for e in made],
                ["gang-1-s-a1", "gang-1-s-a2"])
    cases.check("and headless Services", all(v.get("clusterIP") == "None" and v.get("publishNotReadyAddresses") for k, v in services.items() if "gang" in k),
                json.dumps(services))


def name_taken(y):
    y.api.post(f"/apis/batch/v1/namespaces/{NS}/jobs", {
        "apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "taken-1-s-a1"},
        "spec": {"suspend": True, "template": {"spec": {"restartPolicy": "Never", "containers": [{"name": "c", "image": "x"}]}}}})
    y.apply("taken", [done()])
    note = wait(lambda: "does not belong to this run" in y.status("taken-1").get("note", "") and y.status("taken-1")["note"])
    cases.check("a name that is taken: the run waits, and says what to do", note and "kubectl delete job taken-1-s-a1" in note, json.dumps(y.status("taken-1")))
    y.api.delete(f"/apis/batch/v1/namespaces/{NS}/jobs/taken-1-s-a1", {"propagationPolicy": "Background"})
    s = y.finished("taken-1", 30)
    cases.equal("and goes on when it is free", (s.get("phase"), s["steps"][0].get("attempt")), ("Succeeded", 1))


def lost_node(y):
    """A pod that was told to end and of which its node says nothing any more. Called first, for it takes its time."""
    y.api.post("/api/v1/nodes", {"apiVersion": "v1", "kind": "Node", "metadata": {"name": "dead"}})
    y.apply("lost", [works(), done()])
    pod = wait(lambda: next((p for p in y.api.get(f"/api/v1/namespaces/{NS}/pods?labelSelector=trainyard.dev/run%3Dlost-1")["items"]
                             if p.get("status", {}).get("initContainerStatuses")), None))
    path = f"/api/v1/namespaces/{NS}/pods/{pod['metadata']['name']}"
    y.api.post(f"{path}/binding", {"apiVersion": "v1", "kind": "Binding", "metadata": {"name": pod["metadata"]["name"]}, "target": {"kind": "Node", "name": "dead"}})
    y.api.delete(path)
    return time.monotonic()


def lost_node_ends(y, since):
    s = y.finished("lost-1", 100)
    step = (s.get("steps") or [{}])[0]
    cases.check("a pod on a dead node holds its step for half a minute, not for ever",
                (s.get("phase"), step.get("attempt"), charged(step)) == ("Succeeded", 2, "infrastructure"),
                f"after {time.monotonic() - since:.0f} s: {json.dumps(s)}")


def missing_pipeline(y):
    y.api.post(f"{GROUP}/namespaces/{NS}/trainingruns", {"apiVersion": "trainyard.dev/v1alpha1", "kind": "TrainingRun", "metadata": {"name": "orphan"},
                                                         "spec": {"pipeline": "not-there"}})
    s = wait(lambda: y.status("orphan").get("reason") and y.status("orphan"))
    cases.equal("a run without a pipeline says so", (s.get("phase"), s.get("reason"), s.get("note")),
                ("Pending", "PipelineNotFound", f"there is no TrainingPipeline not-there in namespace {NS}"))


def refused(y):
    """What the schema does not let through, with its reason; jobs_build()'s own checks are in tests/unit/controller/test_jobs.c."""
    for name, spec, words in (
            ("laptop", {"store": {"url": "file:///etc"}}, "file:// stores are for `trainyard run` only"),
            ("traversal", {"store": {"url": "s3://bucket/x", "credentialsSecret": "../../etc"}}, "credentialsSecret"),
            ("root", {"container": {"runAsUser": 0}}, "runAsUser")):
        try:
            y.apply(name, [done()], **spec)
            text = "it was taken"
        except ApiError as e:
            text = str(e)
        cases.check(f"a hostile manifest is refused: {name}", words in text, text)
    y.apply("ours", [done()], {"podTemplate": {"labels": {"trainyard.dev/run": "x"}}})
    def said():
        pipeline = y.api.get(f"{GROUP}/namespaces/{NS}/trainingpipelines/ours").get("status", {})
        return json.dumps([pipeline.get("conditions"), y.status("ours-1").get("note")])
    wait(lambda: "podTemplate" in said())
    cases.check("labels of ours cannot be set, and it is said", "podTemplate" in said() and "trainyard.dev/run" in said(), said())
    cases.equal("and nothing is started", y.jobs("ours-1"), [])


# --- cache, restarts of the operator, writes ---------------------------------------------------------------


def cache(y):
    y.apply("cached", [done()], {"cache": {"enabled": True}}, {"image": f"x/step@{DIGEST}"})
    cases.equal("a step that may be cached runs once", y.finished("cached-1").get("phase"), "Succeeded")
    y.api.post(f"{GROUP}/namespaces/{NS}/trainingruns", {"apiVersion": "trainyard.dev/v1alpha1", "kind": "TrainingRun", "metadata": {"name": "cached-again"},
                                                         "spec": {"pipeline": "cached"}})
    s = y.finished("cached-again")
    cases.equal("the next run takes its result", (s.get("phase"), s["steps"][0]["state"], y.jobs("cached-again")), ("Succeeded", "Cached", []))
    path = f"/api/v1/namespaces/{NS}/configmaps/cached-cache"
    found = wait(lambda: y.api.find(path))
    cases.check("the cache is a ConfigMap that the pipeline owns", found and found["metadata"]["ownerReferences"][0]["name"] == "cached", json.dumps(found))


def cache_survives(y):
    y.api.post(f"{GROUP}/namespaces/{NS}/trainingruns", {"apiVersion": "trainyard.dev/v1alpha1", "kind": "TrainingRun", "metadata": {"name": "cached-later"},
                                                         "spec": {"pipeline": "cached"}})
    s = y.finished("cached-later")
    cases.equal("a new operator finds the cache", (s.get("phase"), s["steps"][0]["state"]), ("Succeeded", "Cached"))


def killed_midway(y, operator):
    """The operator is away while an attempt ends."""
    y.apply("away", [works()])
    pod = wait(lambda: next((p for p in y.api.get(f"/api/v1/namespaces/{NS}/pods?labelSelector=trainyard.dev/run%3Daway-1")["items"]
                             if p.get("status", {}).get("initContainerStatuses")), None))
    operator.kill()
    y.api.merge(f"/api/v1/namespaces/{NS}/pods/{pod['metadata']['name']}/status", {"status": done()})
    operator = Operator(y.cluster)
    s = y.finished("away-1")
    cases.equal("what ended while no operator ran is found", (s.get("phase"), s["steps"][0].get("attempt"), len(y.jobs("away-1"))), ("Succeeded", 1, 1))
    return operator


def writes(y):
    """No Job is created twice, and a run of one step costs few writes."""
    events = y.cluster.audited()
    created, conflicts = {}, {}
    for e in events:
        ref = e["objectRef"]
        if ref.get("resource") == "jobs" and e["verb"] == "create" and ref.get("namespace") == NS and e.get("userAgent", "").startswith("trainyard/"):
            name = e.get("requestObject", {}).get("metadata", {}).get("name", "?")
            if e["responseStatus"]["code"] == 201:
                created[name] = created.get(name, 0) + 1
            else:
                conflicts[name] = conflicts.get(name, 0) + 1
    cases.check("Jobs were created", len(created) > 30, str(len(created)))
    cases.equal("none of them twice", {k: v for k, v in created.items() if v > 1}, {})
    conflicts.pop("taken-1-s-a1", None)
    cases.equal("and none was asked for again", conflicts, {})
    statuses = [e for e in events if e["objectRef"].get("subresource") == "status" and e["objectRef"].get("name") == "fine-1"]
    cases.check("a run of one step has at most three status writes", 0 < len(statuses) <= 3, str(len(statuses)))


def progress(y, operator):
    port = operator.port("progress_port")
    y.apply("post", [works()])
    pod = wait(lambda: next((p for p in y.api.get(f"/api/v1/namespaces/{NS}/pods?labelSelector=trainyard.dev/run%3Dpost-1")["items"]
                             if p.get("status", {}).get("initContainerStatuses")), None))
    env = {e["name"]: e.get("value") for e in pod["spec"]["initContainers"][1]["env"]}
    path = env["TRAINYARD_PROGRESS_URL"].split("/v1/", 1)[1]

    def post(token, where=path):
        return subprocess.run(["curl", "-s", "-o", "/dev/null", "-w", "%{http_code}", "-X", "POST", "-H", f"Authorization: Bearer {token}", "-d",
                               '{"fraction": 0.5, "checkpoint_step": 7}', f"http://127.0.0.1:{port}/v1/{where}"], capture_output=True, text=True).stdout
    token = env["TRAINYARD_PROGRESS_TOKEN"]
    cases.equal("a progress post with its token is taken", wait(lambda: post(token) == "204" and "204"), "204")
    cases.equal("one with another token is not", post("0" * 64), "401")
    cases.equal("nor one of an attempt that does not exist", post(token, path[:-1] + "9"), "404")
    cases.check("a checkpoint is in the status at once", wait(lambda: y.status("post-1")["steps"][0].get("checkpointStep") == 7, 5),
                json.dumps(y.status("post-1")))
    y.api.merge(f"/api/v1/namespaces/{NS}/pods/{pod['metadata']['name']}/status", {"status": done()})
    y.finished("post-1")
    cases.equal("after its end it is gone", wait(lambda: post(token) == "410" and "410") or post(token), "410")


def main():
    try:
        tools.build(list(tools.CONTROL_PLANE))
    except tools.ToolError as e:
        cases.skip("all", str(e))
        print("0 passed, 0 failed, 1 skipped")
        return 0
    with Cluster(fast_jobs=True, audit=True) as cluster:
        cluster.install_crds(ROOT / "crds")
        cluster.kubectl("create", "namespace", NS)
        cluster.kubectl("label", "namespace", NS, "pod-security.kubernetes.io/enforce=restricted")
        kubelet = Kubelet(cluster)
        kubelet.start()
        y = Yard(cluster, kubelet)
        operator = Operator(cluster)
        try:
            since = lost_node(y)
            classes(y)
            for part in (gang, name_taken, missing_pipeline, refused, cache):
                part(y)
            progress(y, operator)
            operator = killed_midway(y, operator)
            cache_survives(y)
            lost_node_ends(y, since)
            writes(y)
            cases.equal("the operator ends when it is asked to", operator.end(), 0)
        finally:
            kubelet.stopped = True
            kubelet.join()
            cluster.keep_logs = bool(cases.failed)
            if operator.process.poll() is None:
                operator.kill()
    return cases.finish()


sys.exit(main())
