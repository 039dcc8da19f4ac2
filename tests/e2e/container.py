#!/usr/bin/env python3
"""Container steps on the node: somebody's image of a named user, without a shell, writing to its own root file system: outputs,
values, logs, checkpoints through an eviction, memory, time-out, exit codes, and a queue (Kueue's part, played by toggling the Job)."""
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
import scene  # noqa: E402

NS = "e2e-container"
NOTHING = {"backoffSeconds": 1, "maxBackoffSeconds": 1, "application": 0, "infrastructure": 0, "memory": {"budget": 0}}


def outputs_and_values(s):
    make = s.box("make", "user", scene.WORKER_USER, "absent", "/var/run/secrets/kubernetes.io/serviceaccount/token", "absent", "/trainyard/secrets/s3-credentials/AWS_ACCESS_KEY_ID",
                 "write", "/srv/worker/own/file", "x", "need", "/srv/worker/own/file", "write", "/tmp/t", "x", "print", "step speaks",
                 "write", "/trainyard/out/data/hello.txt", "hello", "write", "/trainyard/out/values.json", '{"n": 3, "kind": "plain"}',
                 container={"outputs": ["data"], "values": [{"name": "n", "type": "integer"}, {"name": "kind"}]})
    use = s.box("use", "need", "/trainyard/in/data/hello.txt", "copy", "/trainyard/in/data/hello.txt", "/trainyard/out/copy/hello.txt",
                "print", "kind $(steps.make.values.kind), item $(NOT_OURS)", inputs=[{"name": "data", "from": "make.data"}],
                when="steps.make.values.n == 3", container={"outputs": ["copy"], "env": [{"name": "NOT_OURS", "value": "theirs"}]})
    never = s.box("never", "exit", "1", after=["make"], when="steps.make.values.n == 4")
    run = s.start(NS, "boxes", [make, use, never])
    done = s.finished(NS, run, 120)
    s.cases.equal("a chain of container steps succeeds", done["status"]["phase"], "Succeeded")
    if done["status"]["phase"] != "Succeeded":
        print(s.brief(done))
        return
    s.cases.equal("its values are in the status", s.item(done, "make").get("values"), {"n": 3, "kind": "plain"})
    s.cases.check("its output's digest is in the status", len(s.item(done, "use").get("outputs", {}).get("copy", "")) >= 64)
    s.cases.equal("a step whose condition does not hold is skipped", s.item(done, "never").get("state"), "Skipped")
    files = sorted(p.read_text() for p in Path(s.cluster.s3.directory, s.cluster.s3.bucket, NS, "boxes", "runs").rglob("hello.txt"))
    s.cases.equal("the output's files are in the store", files, ["hello", "hello"])
    pod = s.pods(NS, run, "use")[0]["metadata"]["name"]
    said = s.cluster.kubectl("logs", "-n", NS, pod).stdout
    s.cases.equal("kubectl logs without a container shows the step's, with references of ours replaced", said, "kind plain, item theirs\n")
    secret_mounts = [c["name"] for c in pod_containers(s.pods(NS, run, "make")[0]) if any("/secrets" in m["mountPath"] for m in c["volumeMounts"])]
    s.cases.equal("credentials are mounted in the helpers alone", sorted(secret_mounts), ["fetch", "publish"])



def pod_containers(pod):
    return [*pod["spec"].get("initContainers", []), *pod["spec"]["containers"]]


def evict(s, pod):
    s.cluster.api.post(s.path(NS, "pods", pod) + "/eviction", {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": pod, "namespace": NS}})


def running(s, run, step, attempt=1):
    """The name of the attempt's pod once the user's container runs."""
    def pod():
        for p in s.list(NS, "pods", f"trainyard.dev/run={run},trainyard.dev/step={step},trainyard.dev/attempt={attempt}"):
            for c in p["status"].get("initContainerStatuses", []):
                if c["name"] == "step" and "running" in c.get("state", {}):
                    return p["metadata"]["name"]
        return None
    return s.until(f"attempt {attempt} of {run}/{step} running", 90, pod)


def checkpoint(s):
    state = "/trainyard/checkpoint"
    step = s.box("train", "on-term", f"{state}/said", "bye", 1500, "until", f"{state}/n", 40, "copy", f"{state}/said", "/trainyard/out/model/said",
                 "copy", f"{state}/n", "/trainyard/out/model/n", container={"checkpoint": True, "outputs": ["model"]})
    run = s.start(NS, "resumes", [step])
    pod = running(s, run, "train")
    s.until("the step's first words", 30, lambda: "is 5" in s.cluster.kubectl("logs", "-n", NS, pod, check=False).stdout)
    evict(s, pod)
    second = running(s, run, "train", 2)
    done = s.finished(NS, run, 120)
    first_words = s.cluster.kubectl("logs", "-n", NS, second).stdout.splitlines()[:1]
    s.cases.equal("a step with checkpoints goes on after an eviction", (done["status"]["phase"], s.item(done, "train").get("attempt")), ("Succeeded", 2))
    s.cases.check("from what the first attempt left", first_words and int(first_words[0].split()[-1]) > 5, str(first_words))
    files = {p.name: p.read_text() for p in Path(s.cluster.s3.directory, s.cluster.s3.bucket, NS, "resumes", "runs").rglob("model/*") if p.is_file()}
    s.cases.equal("also what it wrote on SIGTERM", (files.get("said"), files.get("n")), ("bye", "40"))


def memory(s):
    step = s.box("eat", "eat", 150, resources={"cpu": "50m", "memory": "48Mi"},
                 retry={**NOTHING, "memory": {"budget": 2, "factor": 6, "max": "512Mi"}})
    done = s.finished(NS, s.start(NS, "grows", [step]), 120)
    s.cases.equal("a step that ran out of memory gets more", (done["status"]["phase"], s.item(done, "eat").get("attempt")), ("Succeeded", 2))


def exits(s):
    """Several at once: exit code → class, attempts."""
    table = [(64, "user", 1), (65, "user", 1), (78, "user", 1), (69, "infrastructure", 2), (75, "infrastructure", 2), (1, "application", 2),
             (143, "application", 2)]
    retry = {**NOTHING, "application": 1, "infrastructure": 1}
    for code, _, _ in table:
        s.cluster.apply(s.pipeline(NS, f"exits-{code}", [s.box("go", "print", f"leaving with {code}", "exit", code, retry=retry)]))
    for code, kind, attempts in table:
        run = s.first_run(NS, f"exits-{code}")
        done = s.finished(NS, run, 120)
        item = s.item(done, "go")
        s.cases.equal(f"exit code {code}", (done["status"]["phase"], item.get("class"), item.get("attempt")), ("Failed", kind, attempts))
        s.cases.check(f"exit code {code}: the message names it", str(code) in item.get("message", ""), item.get("message", ""))


def time_out(s):
    step = s.box("slow", "sleep", 100, timeoutSeconds=4, retry=NOTHING)
    done = s.finished(NS, s.start(NS, "slow", [step]), 60)
    item = s.item(done, "slow")
    s.cases.equal("a step that is too slow", (done["status"]["phase"], item.get("class"), item.get("reason")), ("Failed", "application", "Timeout"))


def no_output(s):
    step = s.box("none", "print", "nothing to show", retry=NOTHING, container={"values": [{"name": "n", "type": "integer"}]})
    done = s.finished(NS, s.start(NS, "none", [step]), 60)
    item = s.item(done, "none")
    s.cases.equal("a declared value that the step did not leave", (done["status"]["phase"], item.get("class")), ("Failed", "user"))
    s.cases.check("the message names it", '"n"' in item.get("message", ""), item.get("message", ""))


def queue(s):
    def job(attempt):
        found = [j for j in s.jobs(NS, run) if j["metadata"]["labels"]["trainyard.dev/attempt"] == str(attempt)]
        return found[0] if found else None

    def let(attempt, suspend):
        s.merge(NS, "jobs", job(attempt)["metadata"]["name"], {"spec": {"suspend": suspend}})

    step = s.box("go", "sleep", 8, queueName="gpu-queue", retry={"preemption": -1})
    run = s.start(NS, "queued", [step], limits={"pendingSeconds": 5})
    found = s.until("its Job", 30, lambda: job(1))
    s.cases.equal("with a queueName the Job waits for the queue",
                  (found["spec"].get("suspend"), found["metadata"]["labels"].get("kueue.x-k8s.io/queue-name")), (True, "gpu-queue"))
    import time
    time.sleep(7)
    waiting = s.get(NS, "trainingruns", run)
    s.cases.check("pendingSeconds stands still while it waits", waiting["status"]["phase"] == "Running" and s.item(waiting, "go").get("attempt") == 1, s.brief(waiting))
    let(1, False)
    running(s, run, "go")
    let(1, True)
    s.until("its next attempt", 60, lambda: job(2))
    let(2, False)
    done = s.finished(NS, run, 60)
    s.cases.equal("an attempt whose place was taken back is followed by another", (done["status"]["phase"], s.item(done, "go").get("attempt")), ("Succeeded", 2))


def scenario(s):
    s.namespace(NS)
    s.case("outputs and values", outputs_and_values)
    s.case("exit codes", exits)
    s.case("checkpoint", checkpoint)
    s.case("memory", memory)
    s.case("time-out", time_out)
    s.case("missing values", no_output)
    s.case("queue", queue)


if __name__ == "__main__":
    sys.exit(scene.main(scenario))
