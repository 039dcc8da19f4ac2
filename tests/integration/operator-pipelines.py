#!/usr/bin/env python3
"""TrainingPipelines under the operator, out of cluster, against a real API server: which runs are started, and that none is started twice,
whatever is edited, killed or doubled. The pipelines wait for an approval, so runs begin and end without a kubelet.

Where the control plane cannot run, the script says why and skips.
"""
import json
import os
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


def pipeline(name, epochs="3", **spec):
    return {"apiVersion": "trainyard.dev/v1alpha1", "kind": "TrainingPipeline", "metadata": {"name": name},
            "spec": {"store": {"url": "s3://bucket/x", "credentialsSecret": "s3"},
                     "parameters": [{"name": "epochs", "type": "integer", "default": epochs}],
                     "steps": [{"name": "gate", "approval": {"message": "go on?"}}], **spec}}


class Operator:
    """One process of the operator; its log is kept in the cluster's directory."""

    def __init__(self, cluster, name, *arguments, program=None, env=None):
        self.log = Path(cluster.directory) / f"operator-{name}.log"
        self.file = open(self.log, "ab")
        clean = {k: v for k, v in os.environ.items() if not k.startswith(("TRAINYARD_", "POD_", "KUBE"))}
        self.process = subprocess.Popen(
            [str(program or BUILD / "bin/trainyard-operator"), "--kubeconfig", str(cluster.kubeconfig), "--own-namespace", "default", "--address", "127.0.0.1",
             "--metrics-port", "0", "--progress-port", "0", "--pod-name", name, "--log-format", "json", "--log-level", "debug",
             "--lease-duration", "3s", "--renew-deadline", "2s", "--retry-period", "300ms", *arguments],
            stdout=self.file, stderr=self.file, env={**clean, **(env or {})})

    def lines(self):
        return [json.loads(line) for line in self.log.read_text().splitlines() if line.startswith("{")]

    def said(self, message):
        return [line for line in self.lines() if line["msg"] == message]

    def port(self, which="metrics_port"):
        return int(wait(lambda: self.said("serving"))[-1][which])

    def metrics(self):
        return subprocess.run(["curl", "-s", f"http://127.0.0.1:{self.port()}/metrics"], capture_output=True, text=True, check=True).stdout

    def probe(self, path="readyz"):
        done = subprocess.run(["curl", "-s", "-w", " %{http_code}", f"http://127.0.0.1:{self.port()}/{path}"], capture_output=True, text=True)
        return done.stdout

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


def wait(condition, seconds=20):
    """Its value once it is true, or the last one."""
    until = time.monotonic() + seconds
    while True:
        value = condition()
        if value or time.monotonic() > until:
            return value
        time.sleep(0.05)


class Yard:
    def __init__(self, cluster, ns):
        self.cluster, self.api, self.ns = cluster, cluster.api, ns

    def apply(self, document, manager="gitops"):
        self.cluster.kubectl("apply", "--server-side", "--force-conflicts", "--field-manager", manager, "-n", self.ns, "-f", "-", stdin=json.dumps(document))

    def get(self, name):
        return self.api.find(f"{GROUP}/namespaces/{self.ns}/trainingpipelines/{name}")

    def status(self, name):
        return (self.get(name) or {}).get("status", {})

    def ready(self, name):
        return next((c for c in self.status(name).get("conditions", []) if c["type"] == "Ready"), {})

    def runs(self, name):
        items = self.api.get(f"{GROUP}/namespaces/{self.ns}/trainingruns")["items"]
        return sorted((r for r in items if r["spec"]["pipeline"] == name), key=lambda r: (r["metadata"]["creationTimestamp"], r["metadata"]["name"]))

    def names(self, name):
        return [r["metadata"]["name"] for r in self.runs(name)]

    def phase(self, run):
        return (self.api.find(f"{GROUP}/namespaces/{self.ns}/trainingruns/{run}") or {}).get("status", {}).get("phase")

    def revisions(self, name):
        path = f"/apis/apps/v1/namespaces/{self.ns}/controllerrevisions?labelSelector=trainyard.dev/pipeline%3D{name}"
        return sorted(r["metadata"]["name"] for r in self.api.get(path)["items"])

    def patch_run(self, run, spec):
        return self.api.merge(f"{GROUP}/namespaces/{self.ns}/trainingruns/{run}", {"spec": spec})

    def approve(self, run):
        self.patch_run(run, {"approvals": [{"step": "gate", "by": "test", "comment": "yes"}]})

    def finish(self, run):
        """Ends a run well; true once the pipeline's status says so."""
        wait(lambda: self.phase(run))
        self.approve(run)
        return wait(lambda: self.status(name_of(run)).get("lastRun", {}).get("name") == run or self.phase(run) == "Succeeded")

    def quiet(self, name, seconds=1.5):
        """The names of its runs after some time in which nothing should happen."""
        time.sleep(seconds)
        return self.names(name)


def name_of(run):
    return run.rsplit("-", 1)[0]


def starting_rules(y):
    y.apply(pipeline("rules"))
    cases.equal("a new pipeline starts one run", wait(lambda: y.names("rules")), ["rules-1"])
    cases.equal("its status says what runs", wait(lambda: y.status("rules").get("currentRun")), "rules-1")
    ready = y.ready("rules")
    cases.equal("and that the spec is valid", (ready.get("status"), ready.get("observedGeneration")), ("True", 1))
    run = y.runs("rules")[0]
    owner = run["metadata"]["ownerReferences"][0]
    cases.equal("the run is the pipeline's", (owner["kind"], owner["name"], run["metadata"]["labels"]["trainyard.dev/trigger"]), ("TrainingPipeline", "rules", "SpecChange"))
    cases.equal("it names the one revision", [run["spec"]["revision"]], y.revisions("rules"))
    before = y.get("rules")["metadata"]["resourceVersion"]
    for _ in range(3):
        y.apply(pipeline("rules"))
    cases.equal("repeated server-side applies start nothing", y.quiet("rules"), ["rules-1"])
    cases.equal("and write nothing", y.get("rules")["metadata"]["resourceVersion"], before)
    diff = y.cluster.kubectl("diff", "--server-side", "--force-conflicts", "--field-manager", "gitops", "-n", y.ns, "-f", "-", stdin=json.dumps(pipeline("rules")), check=False)
    cases.equal("kubectl diff is empty", (diff.returncode, diff.stdout), (0, ""))
    y.apply(pipeline("rules", retention={"successful": 2}, schedule={"cron": "0 3 * * *"}, runOn=["SpecChange", "Schedule"]))
    cases.equal("editing retention and schedule starts nothing", y.quiet("rules"), ["rules-1"])
    cases.equal("and makes no revision", len(y.revisions("rules")), 1)
    cases.check("the next time is shown", "T03:00:00Z" in wait(lambda: y.status("rules").get("nextScheduled", "")), y.status("rules"))
    y.apply(pipeline("rules", "5"))
    cases.equal("a change during a run waits", wait(lambda: y.status("rules").get("pending", {}).get("name")), "rules-3")
    y.apply(pipeline("rules", "6"))
    cases.equal("the latest spec wins", wait(lambda: y.status("rules").get("pending", {}).get("name") == "rules-4" and "rules-4"), "rules-4")
    cases.equal("one run so far", y.quiet("rules", 0.5), ["rules-1"])
    y.finish("rules-1")
    cases.equal("then exactly one starts", wait(lambda: len(y.names("rules")) == 2) and y.quiet("rules"), ["rules-1", "rules-4"])
    y.finish("rules-4")
    y.apply(pipeline("rules"))
    cases.equal("back to the first spec it runs again", wait(lambda: len(y.names("rules")) == 3) and y.quiet("rules"), ["rules-1", "rules-4", "rules-5"])
    cases.equal("with the first revision", y.runs("rules")[2]["spec"]["revision"], run["spec"]["revision"])
    y.finish("rules-5")
    cases.equal("last and last successful run", wait(lambda: y.status("rules").get("lastRun", {}).get("name") == "rules-5") and y.status("rules")["lastSuccessful"], "rules-5")
    y.cluster.kubectl("delete", "trainingrun", "rules-5", "-n", y.ns)
    cases.equal("a run that is deleted is not repeated", y.quiet("rules"), ["rules-1", "rules-4"])


def new_default(y):
    """A CRD that gains a field with a default changes every object as it is read, but starts nothing."""
    y.apply(pipeline("defaulted"))
    wait(lambda: y.names("defaulted"))
    y.finish("defaulted-1")
    path = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/trainingpipelines.trainyard.dev"
    crd = y.api.get(path)
    spec = crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"]
    # A default in the middle of what the hash covers; the program knows the field with the same default already.
    timeout = spec["steps"]["items"]["properties"]["approval"]["properties"]
    known = {k for k, v in timeout.items() if "default" in v}
    cases.check("the schema has room for a default", isinstance(timeout, dict), known)
    spec["store"]["properties"]["region"]["default"] = "us-east-1"
    y.api.request("PUT", path, crd)
    shown = wait(lambda: y.get("defaulted")["spec"]["store"].get("region"))
    cases.equal("the API server fills it in", shown, "us-east-1")
    y.cluster.kubectl("annotate", "trainingpipeline", "defaulted", "-n", y.ns, "touched=1")
    return ["defaulted-1"]


def policies(y):
    for policy in ("Allow", "Replace"):
        name = policy.lower()
        schedule = {"schedule": {"cron": "0 0 1 1 *", "concurrencyPolicy": policy}}
        y.apply(pipeline(name, **schedule))
        wait(lambda: y.phase(f"{name}-1"))
        y.apply(pipeline(name, "7", **schedule))
        second = wait(lambda: f"{name}-2" in y.names(name))
        cases.check(f"{policy}: the second run starts", second, y.status(name))
        wait(lambda: y.phase(f"{name}-2"))
        expected = {"Allow": "Running", "Replace": "Stopped"}[policy]
        found = y.phase(f"{name}-1")
        cases.check(f"{policy}: the first one is {expected}", found == expected or (policy == "Allow" and found in ("Running", "Pending")), found)
        cases.equal(f"{policy}: two runs in all", y.quiet(name, 1), [f"{name}-1", f"{name}-2"])


def schedules(y):
    name = "clock"
    y.apply(pipeline(name, runOn=["Schedule"], schedule={"cron": "* * * * *", "concurrencyPolicy": "Allow"}))
    first = wait(lambda: y.status(name).get("nextScheduled"))
    cases.equal("a schedule alone starts nothing at once", y.quiet(name, 0.5), [])
    names = wait(lambda: y.names(name), 75)
    stamp = first.replace("-", "").replace("T", "").replace(":", "")[:12]
    cases.equal("the minute comes, and its run", names, [f"{name}-{stamp}"])
    run = y.runs(name)[0]
    cases.equal("which stands for that time", run["spec"]["scheduledTime"], first)
    cases.equal("the status remembers it", wait(lambda: y.status(name).get("lastScheduled")), first)
    y.apply(pipeline(name, runOn=["Schedule"], schedule={"cron": "0 0 1 1 *", "timeZone": "+02:00"}))
    cases.check("another schedule counts from now on", wait(lambda: y.status(name).get("nextScheduled", "").endswith("-12-31T22:00:00Z")), y.status(name).get("nextScheduled"))
    cases.equal("and starts nothing", y.quiet(name, 1), names)


def validity(y):
    document = pipeline("wrong")
    document["spec"]["steps"] = [{"name": "gate", "approval": {"message": "x"}},
                                 {"name": "use", "inputs": [{"name": "model", "from": "trian.model"}], "container": {"image": "localhost/a:1"}}]
    y.apply(document)
    ready = wait(lambda: y.ready("wrong"))
    cases.equal("an invalid spec is not Ready", ready.get("status"), "False")
    cases.check("the message names the field and what is wrong", "spec.steps[1].inputs[0]" in ready.get("message", "") and "trian" in ready.get("message", ""), ready.get("message"))
    cases.equal("and starts nothing", y.quiet("wrong", 0.5), [])
    y.apply(pipeline("wrong"))
    cases.equal("mended, it is Ready", wait(lambda: y.ready("wrong").get("status") == "True"), True)
    cases.equal("and starts a run", wait(lambda: y.names("wrong")), ["wrong-2"])
    events = wait(lambda: [e for e in y.api.get(f"/apis/events.k8s.io/v1/namespaces/{y.ns}/events")["items"] if e["regarding"]["name"] == "wrong" and e["reason"] == "Invalid"])
    cases.check("there is an Event about it", bool(events), "none")
    try:
        y.api.post(f"{GROUP}/namespaces/{y.ns}/trainingpipelines", {**pipeline("files"), "spec": {**pipeline("files")["spec"], "store": {"url": "file:///tmp/x"}}})
        cases.check("a file:// store is refused", False, "it was accepted")
    except ApiError as e:
        cases.check("a file:// store is refused with the reason", e.status == 422 and "file:// stores" in str(e), str(e))


def control(y):
    y.apply(pipeline("steered"))
    wait(lambda: y.phase("steered-1"))
    y.apply(pipeline("steered", control={"run": "steered-1", "suspend": True}))
    cases.check("spec.control reaches the run that it names", wait(lambda: y.phase("steered-1") == "Suspended"), y.phase("steered-1"))
    cases.check("the status says that it was passed on", wait(lambda: y.status("steered").get("observedControl", "").startswith("steered-1/")), y.status("steered"))
    y.patch_run("steered-1", {"suspend": False})
    time.sleep(1)
    cases.equal("a person's later word stays", y.api.get(f"{GROUP}/namespaces/{y.ns}/trainingruns/steered-1")["spec"].get("suspend"), False)
    y.apply(pipeline("steered", control={"run": "steered-1", "approvals": [{"step": "gate", "by": "git"}]}))
    cases.check("approvals from Git are added", wait(lambda: y.phase("steered-1") == "Succeeded"), y.phase("steered-1"))
    y.apply(pipeline("steered", "9", control={"run": "steered-1", "stop": "Now"}))
    wait(lambda: len(y.names("steered")) == 2)
    second = y.names("steered")[1]
    wait(lambda: y.phase(second))
    time.sleep(1)
    cases.check("a left-over never hits a later run", y.phase(second) not in ("Stopped", "Stopping"), y.phase(second))
    cases.equal("control started nothing", len(y.names("steered")), 2)


def retention(y):
    """Five runs, of which two are kept; a person's is neither counted nor deleted."""
    hand = {"apiVersion": "trainyard.dev/v1alpha1", "kind": "TrainingRun", "metadata": {"name": "kept-by-hand"}, "spec": {"pipeline": "kept"}}
    y.apply(pipeline("kept", "1"))
    wait(lambda: y.phase("kept-1"))
    y.apply(hand)
    wait(lambda: y.phase("kept-by-hand"))
    y.approve("kept-by-hand")
    for epochs in range(1, 6):
        y.apply(pipeline("kept", str(epochs)))
        name = wait(lambda: next((n for n in y.names("kept") if n != "kept-by-hand" and y.phase(n) not in ("Succeeded", None)), None))
        y.finish(name)
    wait(lambda: y.status("kept").get("lastRun", {}).get("name") == "kept-5")
    y.apply(pipeline("kept", "5", retention={"successful": 2}))
    cases.equal("the newest two and the person's stay", wait(lambda: sorted(y.names("kept")) == ["kept-4", "kept-5", "kept-by-hand"]) and sorted(y.names("kept")), ["kept-4", "kept-5", "kept-by-hand"])
    named = {r["spec"].get("revision") or r["status"].get("revision") for r in y.runs("kept")} | {y.status("kept")["revision"]}
    wait(lambda: set(y.revisions("kept")) == named, 30)
    cases.equal("revisions that nobody names are pruned", set(y.revisions("kept")), named)
    cases.equal("what was deleted is not repeated", sorted(y.quiet("kept", 1)), ["kept-4", "kept-5", "kept-by-hand"])
    y.cluster.kubectl("delete", "trainingpipeline", "kept", "-n", y.ns)
    cases.equal("deleting the pipeline takes its runs, not the person's", wait(lambda: y.names("kept") == ["kept-by-hand"], 40) and y.names("kept"), ["kept-by-hand"])
    cases.equal("and its revisions", wait(lambda: y.revisions("kept") == [], 40), True)


def orphans(y):
    """What outlives its pipeline: the revision is adopted by the next pipeline of the name, the run keeps its name to itself."""
    y.apply(pipeline("orphan"))
    wait(lambda: y.phase("orphan-1"))
    y.cluster.kubectl("delete", "trainingpipeline", "orphan", "-n", y.ns, "--cascade=orphan")
    y.apply(pipeline("orphan"))
    uid = wait(lambda: y.get("orphan"))["metadata"]["uid"]
    cases.equal("a new pipeline runs beside what an earlier one left", wait(lambda: len(y.names("orphan")) == 2) and y.quiet("orphan", 1), ["orphan-1", f"orphan-1-{uid[:5]}"])
    revision = y.api.get(f"/apis/apps/v1/namespaces/{y.ns}/controllerrevisions/{y.revisions('orphan')[0]}")
    cases.equal("and owns the revision now", [o["uid"] for o in revision["metadata"]["ownerReferences"]], [uid])
    y.cluster.kubectl("replace", "--force", "-n", y.ns, "-f", "-", stdin=json.dumps(pipeline("orphan")))
    uid = wait(lambda: y.get("orphan"))["metadata"]["uid"]
    cases.equal("deleted and made anew, it runs again", wait(lambda: y.names("orphan") == ["orphan-1", f"orphan-1-{uid[:5]}"], 40), True)


def killed_between_writes(cluster, y):
    """kill -9 just after each write: of the revision, of the status before the run, of the run before the status."""
    program = ROOT / "build/failpoints/bin/trainyard-operator"
    built = subprocess.run(["make", "-s", "-C", str(ROOT), "FAILPOINTS=1", "BUILD=build/failpoints", "build/failpoints/bin/trainyard-operator"], capture_output=True, text=True)
    if built.returncode != 0:
        cases.check("the operator builds with failpoints", False, built.stderr[-500:])
        return
    for point in ("pipeline.revision.after", "pipeline.status.after", "pipeline.create.after"):
        for passage in (1, 2):
            name = point.split(".")[1] + str(passage)
            y.apply(pipeline(name, "1"))
            doomed = Operator(cluster, f"{name}", program=program, env={"TRAINYARD_FAILPOINT": f"{point}:{passage}"})
            try:
                doomed.process.wait(8 if passage == 1 or point == "pipeline.status.after" else 4)
                died = True
            except subprocess.TimeoutExpired:
                died = False
                doomed.kill()
            if passage == 1:
                cases.check(f"{point}: the operator was killed there", died)
            heir = Operator(cluster, f"{name}-heir")
            wait(lambda: y.phase(f"{name}-1"), 30)
            cases.equal(f"{point}:{passage}: one run, of one revision", (y.quiet(name, 1), len(y.revisions(name))), ([f"{name}-1"], 1))
            cases.check(f"{point}:{passage}: nothing is left half-done", wait(lambda: "starting" not in y.status(name)), y.status(name))
            heir.end()


def killed_at_random(cluster, y):
    """Changes while operators are killed at any moment; every run ends at once, so each spec that is current for long runs exactly once."""
    document = pipeline("storm", retention={"successful": 20})
    document["spec"]["steps"] = [{"name": "off", "when": "false", "approval": {"message": "never"}}]
    operator = Operator(cluster, "storm-0")
    for i in range(8):
        document["spec"]["parameters"][0]["default"] = str(100 + i)
        y.apply(document)
        time.sleep(0.05 * (i % 5))
        operator.kill()
        operator = Operator(cluster, f"storm-{i + 1}")
        generation = y.get("storm")["metadata"]["generation"]
        wait(lambda: y.phase(f"storm-{generation}") == "Succeeded", 30)
    hashes = [r["metadata"]["annotations"]["trainyard.dev/spec-hash"] for r in y.runs("storm")]
    cases.equal("each of eight specs ran, once, through eight kills", (len(hashes), len(set(hashes))), (8, 8))
    return operator


def two_operators(cluster, y, first):
    wait(lambda: first.said("leading"))
    second = Operator(cluster, "second")
    wait(lambda: second.said("ready"))
    cases.check("a standby is Ready", second.probe().strip().endswith("200"), second.probe())
    cases.check("and does not lead", "trainyard_leader 0" in second.metrics() and "trainyard_leader 1" in first.metrics())
    # A progress post to the standby is sent on to the leader.
    expected = f"307 http://127.0.0.1:{first.port('progress_port')}/v1/progress/a/b/c/0/1"

    def redirect():
        return subprocess.run(["curl", "-s", "-o", "/dev/null", "-X", "POST", "-d", "{}", "-w", "%{http_code} %{redirect_url}",
                               f"http://127.0.0.1:{second.port('progress_port')}/v1/progress/a/b/c/0/1"], capture_output=True, text=True).stdout
    wait(lambda: redirect() == expected)  # once it has seen who leads
    cases.equal("it sends progress posts to the leader", redirect(), expected)
    y.apply(pipeline("pair"))
    cases.equal("two operators, one run", wait(lambda: y.names("pair")) and y.quiet("pair"), ["pair-1"])
    asked = time.monotonic()
    cases.equal("SIGTERM ends the leader with 0", first.end(), 0)
    cases.check("it gave the Lease back", bool(first.said("ended")) and first.said("ended")[-1]["lease"] == "given back", first.lines()[-1:])
    cases.check("the standby leads", wait(lambda: second.said("leading")), "not within 20 s")
    cases.check("before the Lease's time was over", time.monotonic() - asked < 3, f"{time.monotonic() - asked:.1f} s")
    third = Operator(cluster, "third")
    wait(lambda: third.said("ready"))
    second.kill()
    killed = time.monotonic()
    cases.check("a killed leader is replaced", wait(lambda: third.said("leading")), "not within 20 s")
    cases.check("within the Lease's time and a little", time.monotonic() - killed < 6, f"{time.monotonic() - killed:.1f} s")
    y.finish("pair-1")
    y.apply(pipeline("pair", "4"))
    cases.equal("the new leader goes on", wait(lambda: len(y.names("pair")) == 2) and y.quiet("pair"), ["pair-1", "pair-2"])
    return third


def both_act(cluster, y, operator):
    """Two that both act, as when a leader does not know yet that it was deposed: the API server's versions decide."""
    operator.end()
    pair = [Operator(cluster, f"both-{i}", "--no-leader-election") for i in range(2)]
    for each in pair:
        wait(lambda each=each: each.said("ready"))
    names = [f"both-{i}" for i in range(4)]
    for epochs in range(4):
        for name in names:
            document = pipeline(name, str(epochs))
            document["spec"]["steps"] = [{"name": "off", "when": "false", "approval": {"message": "never"}}]
            y.apply(document)
        for name in names:
            wait(lambda name=name: len(y.names(name)) == epochs + 1 and all(y.phase(r) == "Succeeded" for r in y.names(name)))
    found = {name: (y.names(name), len(y.revisions(name))) for name in names}
    cases.equal("two that both act: each of four specs ran once, in each of four pipelines", found, {name: ([f"{name}-{i}" for i in range(1, 5)], 4) for name in names})
    cases.equal("both ended well", [each.end() for each in pair], [0, 0])
    return Operator(cluster, "after-both")


def old_crds(cluster, operator):
    path = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/trainingruns.trainyard.dev"
    operator.end()
    cluster.api.merge(path, {"metadata": {"annotations": {"trainyard.dev/schema-version": "0"}}})
    late = Operator(cluster, "late")
    text = wait(lambda: "schema version 0" in late.probe() and late.probe())
    cases.check("older CRDs: not ready, and it says why", text and "trainingruns.trainyard.dev" in text and text.strip().endswith("503"), late.probe())
    cases.check("it does not lead", not late.said("leading"))
    cluster.kubectl("apply", "--server-side", "--force-conflicts", "-f", str(ROOT / "crds"))
    cases.check("once they are new enough it is ready", wait(lambda: late.probe().strip().endswith("200"), 20), late.probe())
    late.end()


def namespaces(cluster):
    for ns in ("mine", "theirs"):
        cluster.kubectl("create", "namespace", ns)
    mine, theirs = Yard(cluster, "mine"), Yard(cluster, "theirs")
    operator = Operator(cluster, "listed", "--namespaces", "mine,default", "--no-leader-election")
    for y in (mine, theirs):
        y.apply(pipeline("spot"))
    cases.equal("a listed namespace is looked after", wait(lambda: mine.names("spot")), ["spot-1"])
    cases.equal("others are not", theirs.quiet("spot", 1), [])
    operator.end()


def main():
    absent = tools.missing(tools.CONTROL_PLANE)
    if absent:
        print(f"{', '.join(absent)} not built: run tests/tools/deps.sh cluster")
        sys.exit(77)
    with Cluster() as cluster:
        cluster.install_crds(ROOT / "crds")
        cluster.kubectl("create", "namespace", "team")
        y = Yard(cluster, "team")
        operator = Operator(cluster, "one")
        try:
            cases.check("the operator is ready and leads", wait(lambda: operator.said("leading")), operator.probe())
            for part in (starting_rules, policies, validity, control, retention, orphans, schedules):
                part(y)
            before = new_default(y)
            cases.equal("and nothing is started", y.quiet("defaulted"), before)
            cluster.kubectl("apply", "--server-side", "--force-conflicts", "-f", str(ROOT / "crds"))
            cases.equal("no operator has died", operator.process.poll(), None)
            operator.end()
            killed_between_writes(cluster, y)
            operator = killed_at_random(cluster, y)
            operator = two_operators(cluster, y, operator)
            operator = both_act(cluster, y, operator)
            old_crds(cluster, operator)
            namespaces(cluster)
        finally:
            cluster.keep_logs = bool(cases.failed)
            if operator.process.poll() is None:
                operator.kill()


main()
sys.exit(cases.finish())
