#!/usr/bin/env python3
"""`trainyard get|watch|logs|stop|suspend|resume|restart|approve|submit|compare` against a real API server.

First without an operator: the test writes the statuses that it would write, so that every state is reached on purpose; then with it. Everything else (validation,
conflicts, rights, server-side apply, watches) is the API server's own. Where it cannot run, the script says why and skips.

TRAINYARD_TEST_KUBECONFIG names a cluster to use instead of an own one; only the namespaces that the test makes are touched, and the CRDs are applied.
"""
import json
import os
import pty
import select
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests" / "harness"))
sys.path.insert(0, str(ROOT))
import yard  # noqa: E402
from tests.cluster import tools  # noqa: E402
from tests.cluster.cluster import Cluster  # noqa: E402
from versitygw import Versitygw  # noqa: E402

CASES = yard.Cases()


def check(name, ok, detail=""):
    return CASES.check(name, bool(ok), "" if ok else detail)


NS = f"cli-test-{os.getpid()}"

PIPELINE = """apiVersion: trainyard.dev/v1alpha1
kind: TrainingPipeline
metadata: {name: small}
spec:
  store: {url: "s3://ml-artifacts/small", endpoint: "https://s3.example.internal", region: eu-west-1, credentialsSecret: s3}
  parameters:
    - {name: lr, type: number, default: "0.1"}
  steps:
    - name: build
      container: {image: "example/build:1", outputs: [model], values: [{name: auc, type: number}]}
    - name: release
      after: [build]
      approval: {message: look at the report}
    - name: publish
      after: [release]
      inputs: [{name: model, from: build.model}]
      container: {image: "example/publish:1"}
"""
DIGEST = "sha256:" + "a" * 64
LATER = "sha256:" + "b" * 64


class Yard:
    """The cluster, the command, and the operator's pen."""

    def __init__(self, kubectl, kubeconfig, work):
        self.kubectl_path, self.kubeconfig, self.work = str(kubectl), str(kubeconfig), Path(work)
        self.home = self.work / "home"
        self.home.mkdir()
        self.plugin = self.work / "kubectl-trainyard"
        self.plugin.symlink_to(yard.BIN / "trainyard")
        self.environment = {k: v for k, v in os.environ.items() if not k.startswith(("AWS_", "TRAINYARD_", "KUBE"))}
        self.environment |= {"HOME": str(self.home), "XDG_STATE_HOME": str(self.work / "state"), "USER": "tester", "LC_ALL": "C.UTF-8"}

    def kubectl(self, *args, stdin=None):
        done = subprocess.run([self.kubectl_path, "--kubeconfig", self.kubeconfig, *args], input=stdin, text=True, capture_output=True, timeout=60)
        if done.returncode != 0:
            sys.exit(f"kubectl {' '.join(args)}: {done.stderr}")
        return done.stdout

    def apply(self, document):
        self.kubectl("apply", "-f", "-", stdin=document if isinstance(document, str) else json.dumps(document))

    def run(self, *args, kubeconfig="", env=None, program=None, timeout=60):
        """The command with this kubeconfig; None: without one."""
        environment = {**self.environment, **(env or {})}
        if kubeconfig is not None:
            environment["KUBECONFIG"] = kubeconfig or self.kubeconfig
        return subprocess.run([str(program or yard.BIN / "trainyard"), *map(str, args)], env=environment, text=True, capture_output=True,
                              timeout=timeout, stdin=subprocess.DEVNULL)

    def start(self, *args, stderr=subprocess.PIPE, env=None):
        return subprocess.Popen([str(yard.BIN / "trainyard"), *args], env={**self.environment, "KUBECONFIG": self.kubeconfig, **(env or {})}, text=True,
                                stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=stderr, start_new_session=True)

    def object(self, kind, name):
        return json.loads(self.kubectl("-n", NS, "get", kind, name, "-o", "json"))

    def status(self, kind, name, status):
        self.kubectl("-n", NS, "patch", kind, name, "--subresource=status", "--type=merge", "-p", json.dumps({"status": status}))

    def make_run(self, name, parameters=None, status=None):
        self.apply({"apiVersion": "trainyard.dev/v1alpha1", "kind": "TrainingRun", "metadata": {"name": name, "namespace": NS},
                    "spec": {"pipeline": "small", "parameters": [{"name": k, "value": v} for k, v in (parameters or {}).items()]}})
        if status:
            self.status("tr", name, status)


def steps(build, release="Waiting", publish="Waiting"):
    """States by name, or whole steps."""
    def one(name, s):
        return {"name": name, **({"state": s} if isinstance(s, str) else s)}
    return [one("build", build), one("release", release), one("publish", publish)]


def running(fraction=None):
    return {"state": "Running", "attempt": 1, "attemptLive": True, "started": "2026-11-20T02:00:00Z", "attemptStarted": "2026-11-20T02:00:00Z",
            **({} if fraction is None else {"progress": fraction})}


def built(auc=0.75, digest=DIGEST, cache=None):
    return {"state": "Succeeded", "attempt": 1, "started": "2026-11-20T02:00:00Z", "finished": "2026-11-20T02:01:30Z", "outputs": {"model": digest},
            "values": {"auc": auc}, **({"cache": cache} if cache else {})}


DONE = {"state": "Succeeded", "attempt": 1, "started": "2026-11-20T02:01:30Z", "finished": "2026-11-20T02:02:00Z"}


def ended(phase, step_list, **more):
    return {"phase": phase, "started": "2026-11-20T02:00:00Z", "finished": "2026-11-20T02:02:00Z", "steps": step_list, **more}


def show(done):
    return f"exit {done.returncode}\n{done.stdout}{done.stderr}"


def expect(name, done, code, *parts):
    """Exit code and parts of what was said on either stream."""
    said = done.stdout + done.stderr
    missing = [p for p in parts if p not in said]
    return check(name, done.returncode == code and not missing, "" if done.returncode == code and not missing
                       else f"expected exit {code} and {missing or 'nothing more'}, found {show(done)}")


# --- where ---------------------------------------------------------------------------------------------


def test_where(y):
    expect("without a kubeconfig the cluster's commands say what they looked for", y.run("watch", "x", kubeconfig=None), 78,
           "no kubeconfig: expected --kubeconfig FILE, $KUBECONFIG or ~/.kube/config")
    expect("without a kubeconfig get is about this machine", y.run("get", "x", kubeconfig=None), 66, "no runs are known here yet")
    expect("--store and --namespace contradict each other", y.run("get", "x", "-n", NS, "--store", "s"), 64, "leave one of them out")
    expect("a namespace twice, and not the same", y.run("get", f"{NS}/x", "-n", "other"), 64, "but --namespace says other")
    expect("a malformed reference", y.run("get", "a/b/c"), 64, "expected RUN or NAMESPACE/RUN")
    expect("a context that is not there", y.run("get", "-n", NS, "--context", "nope"), 78, "nope")
    y.make_run("wh-1")
    expect("a run reference means the cluster", y.run("get", f"{NS}/wh-1"), 0, f"run wh-1: Pending, in namespace {NS}")
    config = y.home / ".kube"
    config.mkdir()
    (config / "config").write_text(Path(y.kubeconfig).read_text().replace("cert/", str(Path(y.kubeconfig).parent / "cert") + "/"))
    expect("~/.kube/config is found", y.run("get", "wh-1", "-n", NS, kubeconfig=None), 0, "run wh-1: Pending")
    (config / "config").unlink()
    expect("the plugin asks the cluster", y.run("get", "wh-1", program=y.plugin), 66, "kubectl trainyard get: no run \"wh-1\" in namespace default")
    done = y.run("help", "watch", program=y.plugin)
    expect("and calls itself so in its help", done, 0, "Usage: kubectl trainyard watch", "\n  kubectl trainyard watch ranking/")
    check("in every example", "  trainyard watch" not in done.stdout)
    y.kubectl("-n", NS, "delete", "tr", "wh-1")


def test_local_first(y):
    """A run that this machine knows is meant by its plain name; the cluster's by its reference."""
    data = yard.generate(y.work / "clicks", rows=2000)
    store = y.work / "store"
    arguments = [str(a) for a in yard.run_arguments("both", data, store, params={"minAuc": "0.99"})]
    done = y.run(*arguments, kubeconfig=None, timeout=300)
    check("a local run is there", done.returncode in (0, 1), show(done) if done.returncode not in (0, 1) else "")
    y.make_run("both", status=ended("Succeeded", steps(built(), DONE, DONE)))
    expect("its plain name means the local run", y.run("get", "both"), 0, f"in file://{store}")
    expect("with a namespace it means the cluster's", y.run("get", "both", "-n", NS), 0, f"in namespace {NS}")
    expect("a name that only the cluster has means the cluster's", y.run("get", "neither"), 66, 'no run "neither" in namespace default')
    expect("without a name this machine's runs are listed", y.run("get"), 0, f"file://{store}")
    done = y.run("compare", "both", f"{NS}/both")
    expect("a local run compares with one of the cluster", done, 0, "both", "click-ranker", "build.auc", "parameters[lr].default   0.004")
    done = y.run("logs", "both", "validate", "-f")
    check("logs -f of a local run that has ended, ends", done.returncode == 0 and done.stdout.strip(), show(done) if done.returncode else "")
    y.kubectl("-n", NS, "delete", "tr", "both")


# --- looking -------------------------------------------------------------------------------------------


def test_get(y):
    expect("an empty namespace", y.run("get", "-n", NS), 0, f"no pipelines and no runs in namespace {NS}")
    y.kubectl("-n", NS, "apply", "-f", "-", stdin=PIPELINE)
    y.status("tp", "small", {"observedGeneration": 1, "currentRun": "get-2", "lastRun": {"name": "get-1", "phase": "Succeeded", "finishedAt": "2026-11-20T02:02:00Z"},
                             "conditions": [{"type": "Ready", "status": "True", "observedGeneration": 1}]})
    y.make_run("get-1", {"lr": "0.2"}, ended("Succeeded", steps(built(cache="not cached: config.args changed"), DONE, DONE)))
    y.make_run("get-2", status={"phase": "Running", "started": "2026-11-20T02:00:00Z", "step": "build", "progress": "0/3",
                                "message": "build works", "steps": steps(running(0.4))})
    done = y.run("get", "-n", NS)
    expect("pipelines and runs are listed", done, 0, "PIPELINE  READY", "small     True   get-2        get-1     Succeeded", "RUN    PIPELINE  PHASE",
           "get-2  small     Running    build  0/3", "build works")
    check("all namespaces name theirs", NS in y.run("get", "-A").stdout)
    listed = json.loads(y.run("get", "-n", NS, "-o", "json").stdout)
    CASES.equal("as JSON", sorted((r["name"], r["phase"]) for r in listed["runs"]), [("get-1", "Succeeded"), ("get-2", "Running")])
    expect("a pipeline by name", y.run("get", "small", "-n", NS), 0, "PIPELINE  READY", "get-1")
    expect("only one pipeline's", y.run("get", "-n", NS, "--pipeline", "other"), 0, "no pipelines and no runs of other")
    expect("a run's steps, values and the cache's word", y.run("get", "get-1", "-n", NS), 0, "build    Succeeded  1      1:30     no      auc 0.75",
           "cache of build: not cached: config.args changed", f"run get-1: Succeeded after 2:00, in namespace {NS}, store s3://ml-artifacts/small")
    shown = json.loads(y.run("get", "get-1", "-n", NS, "-o", "json").stdout)
    CASES.equal("with parameters, outputs and values for programs", (shown["parameters"], shown["steps"][0]["outputs"], shown["steps"][0]["values"]),
                ({"lr": "0.2"}, {"model": DIGEST}, {"auc": 0.75}))
    expect("progress of what runs", y.run("get", "get-2", "-n", NS), 0, "build    Running  1      -        no      40 %")
    expect("a run that is not there: the nearest", y.run("get", "get-3", "-n", NS), 66, 'no run "get-3"', "did you mean get-")
    y.make_run("get-4", status=ended("Failed", steps({"state": "Failed", "attempt": 3, "class": "memory", "reason": "OOMKilled",
                                                      "message": "the container build used more than its 64 MiB"}, "Stopped", "Stopped"),
                                     reason="StepFailed", message="step build failed"))
    expect("why a run failed and what to do", y.run("get", "get-4", "-n", NS), 0, "step build failed (memory, OOMKilled):",
           "used more than its 64 MiB", f"trainyard logs get-4 build -n {NS}", f"trainyard restart get-4 --from build -n {NS}")
    y.make_run("get-5", status={"phase": "Running", "steps": [{"name": "older", "state": "Running", "attempt": 1}, {"name": "gone", "state": "Waiting"}]})
    expect("a run whose pipeline has other steps by now", y.run("get", "get-5", "-n", NS), 0, "older  Running", "gone   Waiting")
    y.kubectl("-n", NS, "apply", "-f", "-", stdin=json.dumps({"apiVersion": "apps/v1", "kind": "ControllerRevision", "metadata": {"name": "small-0123456789"}, "revision": 1,
              "data": {"spec": {"store": {"url": "s3://ml-artifacts/then"}, "steps": [{"name": "older", "container": {"image": "x"}}, {"name": "gone", "container": {"image": "y"}}]}}}))
    y.status("tr", "get-5", {"revision": "small-0123456789"})
    expect("its revision says what they were", y.run("get", "get-5", "-n", NS), 0, "older  Running", "store s3://ml-artifacts/then")


def test_watch(y):
    expect("watching a run that has ended", y.run("watch", "get-1", "-n", NS), 0, "run get-1: Succeeded after 2:00")
    expect("its code is 1 when it failed", y.run("watch", "get-4", "-n", NS), 1, "step build failed (memory, OOMKilled)")
    expect("a run that is not there", y.run("watch", "get-9", "-n", NS), 66, "did you mean get-")
    y.make_run("watch-1")
    process = y.start("watch", "watch-1", "-n", NS, "--plain")
    lines = Lines(process.stderr)
    check("it begins", lines.wait("run watch-1"), lines.text())
    y.status("tr", "watch-1", {"phase": "Running", "started": "2026-11-20T02:00:00Z", "steps": steps(running())})
    check("a step starts", lines.wait("build: started"), lines.text())
    y.status("tr", "watch-1", {"phase": "Running", "steps": steps(built(), {"state": "AwaitingApproval", "message": "look at the report"})})
    check("a step ends", lines.wait("build: succeeded in 1:30: auc 0.75"), lines.text())
    check("a person is asked", lines.wait(f"trainyard approve watch-1 release -n {NS}"), lines.text())
    y.status("tr", "watch-1", ended("Succeeded", steps(built(), DONE, DONE)))
    CASES.equal("its end is the command's", (process.wait(30), "run watch-1: Succeeded after 2:00" in process.stdout.read()), (0, True))

    for phase, spec, code in (("Failed", None, 1), ("Stopped", {"stop": "Graceful"}, 130)):
        name = f"watch-{phase.lower()}"
        y.make_run(name, status={"phase": "Running", "steps": steps(running())})
        if spec:
            y.kubectl("-n", NS, "patch", "tr", name, "--type=merge", "-p", json.dumps({"spec": spec}))
        process = y.start("watch", name, "-n", NS, "--json")
        time.sleep(0.5)
        y.status("tr", name, ended(phase, steps({"state": phase, "attempt": 1, "message": "fell over"}, "Stopped", "Stopped")))
        code_found, document = process.wait(30), json.loads(process.stdout.read())
        CASES.equal(f"exit code and document of a run that ended as {phase}", (code_found, document["phase"]), (code, phase))

    y.make_run("watch-2", status={"phase": "Running", "steps": steps(running())})
    process = y.start("watch", "watch-2", "-n", NS, "--plain")
    lines = Lines(process.stderr)
    lines.wait("run watch-2")
    time.sleep(0.5)
    y.kubectl("-n", NS, "delete", "tr", "watch-2")
    CASES.equal("a run deleted meanwhile", (process.wait(30), lines.wait("was deleted while it was being watched")), (66, True))

    y.make_run("watch-3", status={"phase": "Running", "steps": steps(running(0.25))})
    expect("--timeout ends the looking", y.run("watch", "watch-3", "-n", NS, "--timeout", "1s"), 75, "the run goes on", "trainyard stop watch-3")
    process = y.start("watch", "watch-3", "-n", NS, "--plain")
    lines = Lines(process.stderr)
    lines.wait("run watch-3")
    process.send_signal(2)
    CASES.equal("Ctrl-C ends the looking, not the run", (process.wait(30), lines.wait("interrupted; the run goes on")), (130, True))
    frame = on_terminal(y, ["watch", "watch-3", "-n", NS, "--timeout", "2s"])
    check("a terminal gets the live view with bars", "watch-3  Running" in frame and "25 %" in frame and "\033[J" in frame, repr(frame[-400:]))


class Lines:
    """A stream's lines as they come."""

    def __init__(self, stream):
        self.lines = []
        self.thread = threading.Thread(target=self.read, args=(stream,), daemon=True)
        self.thread.start()

    def read(self, stream):
        for line in stream:
            self.lines.append(line)

    def text(self):
        return "".join(self.lines)

    def wait(self, part, seconds=20):
        end = time.monotonic() + seconds
        while time.monotonic() < end and part not in self.text():
            time.sleep(0.05)
        return part in self.text()


def on_terminal(y, args):
    """What the command draws on a terminal of 100 columns."""
    leader, follower = pty.openpty()
    process = y.start(*args, stderr=follower, env={"TERM": "xterm", "LC_ALL": "C.UTF-8"})
    os.close(follower)
    seen = b""
    while process.poll() is None or select.select([leader], [], [], 0)[0]:
        if select.select([leader], [], [], 0.2)[0]:
            try:
                part = os.read(leader, 65536)
            except OSError:
                break
            if not part:
                break
            seen += part
    os.close(leader)
    process.wait(30)
    return seen.decode(errors="replace")


# --- control -------------------------------------------------------------------------------------------


def test_control(y):
    y.make_run("ctl-1", status={"phase": "Running", "steps": steps(running())})
    expect("stop", y.run("stop", "ctl-1", "-n", NS), 0, "run ctl-1 is asked to stop")
    CASES.equal("is Graceful", y.object("tr", "ctl-1")["spec"]["stop"], "Graceful")
    expect("twice is once", y.run("stop", f"{NS}/ctl-1"), 0, "is being stopped already (Running)")
    expect("stop --now", y.run("stop", "ctl-1", "-n", NS, "--now"), 0, "is asked to stop now")
    CASES.equal("is Now", y.object("tr", "ctl-1")["spec"]["stop"], "Now")
    expect("which a later stop does not weaken", y.run("stop", "ctl-1", "-n", NS), 0, "is being stopped now already")
    y.make_run("ctl-2", status=ended("Succeeded", steps(built(), DONE, DONE)))
    expect("a run that has ended is left alone", y.run("stop", "ctl-2", "-n", NS), 0, "has ended already (Succeeded)")
    check("and its spec", "stop" not in y.object("tr", "ctl-2")["spec"])
    expect("a run that is not there", y.run("stop", "ctl-7", "-n", NS), 66, "did you mean ctl-")

    y.make_run("ctl-3", status={"phase": "Running", "steps": steps(running())})
    expect("suspend", y.run("suspend", "ctl-3", "-n", NS), 0, "is asked to pause")
    expect("suspended twice", y.run("suspend", "ctl-3", "-n", NS), 0, "is suspended already")
    CASES.equal("is in the spec", y.object("tr", "ctl-3")["spec"]["suspend"], True)
    expect("resume", y.run("resume", "ctl-3", "-n", NS), 0, "is asked to go on")
    CASES.equal("takes it out", y.object("tr", "ctl-3")["spec"]["suspend"], False)

    expect("restart from a step that is not there", y.run("restart", "ctl-1", "-n", NS, "--from", "bild"), 64, "did you mean build?")
    expect("restart without a step", y.run("restart", "ctl-1", "-n", NS), 64, "--from STEP is needed")
    expect("restart", y.run("restart", "ctl-1", "-n", NS, "--from", "build", "--from", "publish", "--from", "build"), 0, "run ctl-1 is asked to begin again")
    first = y.object("tr", "ctl-1")["spec"]
    CASES.equal("names its steps once, and takes the stop back", (first["restart"]["from"], first.get("stop")), (["build", "publish"], None))
    y.run("restart", "ctl-1", "-n", NS, "--from", "publish")
    check("the next restart has another id", y.object("tr", "ctl-1")["spec"]["restart"]["id"] != first["restart"]["id"])
    process = y.start("restart", "ctl-2", "-n", NS, "--from", "publish", "--watch", "--plain")
    lines = Lines(process.stderr)
    lines.wait("run ctl-2")
    check("restart --watch waits for its own end, not for the one before", process.poll() is None, lines.text())
    restart = y.object("tr", "ctl-2")["spec"]["restart"]["id"]
    y.status("tr", "ctl-2", {"observedRestart": restart, **ended("Succeeded", steps(built(), DONE, DONE))})
    CASES.equal("and ends with it", process.wait(30), 0)


def test_approve(y, users):
    waiting = {"phase": "Running", "steps": steps(built(), {"state": "AwaitingApproval", "message": "look at the report"})}
    y.make_run("app-1", status=waiting)
    expect("approve", y.run("approve", "app-1", "release", "-n", NS, "--comment", "checked"), 0, f"step release of run app-1 is approved by {users['admin']}\n")
    CASES.equal("is in the user's name", y.object("tr", "app-1")["spec"]["approvals"], [{"step": "release", "by": users["admin"], "comment": "checked", "restart": ""}])
    expect("twice is once", y.run("approve", "app-1", "release", "-n", NS), 0, "has approved step release of run app-1 already")
    expect("a step that is none", y.run("approve", "app-1", "build", "-n", NS), 64, 'no approval step "build"', "it has: release")
    expect("of a run that has ended", y.run("approve", "get-1", "release", "-n", NS), 64, "has ended (Succeeded)")
    expect("a comment that is too long", y.run("approve", "app-1", "release", "-n", NS, "-m", "x" * 1025), 64, "at most 1024 bytes")
    y.run("restart", "app-1", "-n", NS, "--from", "release")
    expect("a step that is done again is approved again", y.run("approve", "app-1", "release", "-n", NS), 0, "is approved by")
    spec = y.object("tr", "app-1")["spec"]
    CASES.equal("for that restart", [a["restart"] for a in spec["approvals"]], ["", spec["restart"]["id"]])
    y.make_run("app-2", status={"phase": "Running", "steps": steps(running())})
    expect("early", y.run("approve", "app-2", "release", "-n", NS), 0, "it counts once the run gets there")
    y.make_run("app-3", status=waiting)
    writers = [y.start("approve", "app-3", "release", "-n", NS), y.start("suspend", "app-3", "-n", NS), y.start("restart", "app-3", "-n", NS, "--from", "publish")]
    codes = [w.wait(60) for w in writers]
    spec = y.object("tr", "app-3")["spec"]
    CASES.equal("writers at once lose nothing", (codes, len(spec["approvals"]), spec["suspend"], spec["restart"]["from"]), ([0, 0, 0], 1, True, ["publish"]))
    if users.get("alice"):
        expect("another person's approval is in that name", y.run("approve", "app-1", "release", "-n", NS, kubeconfig=users["alice"]), 0, "approved by alice")
        CASES.equal("beside the first", [a["by"] for a in y.object("tr", "app-1")["spec"]["approvals"]], [users["admin"], users["admin"], "alice"])


def test_rights(y, users):
    if not users.get("bob"):
        CASES.skip("a user without rights", "the cluster's kubeconfig has only one user")
        return
    done = y.run("get", "-n", NS, kubeconfig=users["bob"])
    expect("a user without rights is told which one is missing", done, 78, "bob", "trainingpipelines", "lacks this right")
    expect("stop without the right", y.run("stop", "ctl-3", "-n", NS, kubeconfig=users["bob"]), 78, "bob")
    expect("a token that is not accepted", y.run("get", "-n", NS, kubeconfig=users["nobody"]), 78, "does not accept our credentials")
    y.kubectl("-n", NS, "create", "role", "looker", "--verb=get", "--resource=trainingruns.trainyard.dev")
    y.kubectl("-n", NS, "create", "rolebinding", "looker", "--role=looker", "--user=dora")
    expect("who may only get runs sees their steps without the pipeline", y.run("get", f"{NS}/get-1", kubeconfig=users["dora"]), 0, "build    Succeeded  1      1:30     no      auc 0.75")
    expect("but cannot watch, and is told what that takes", y.run("watch", f"{NS}/get-2", kubeconfig=users["dora"]), 78, "get, list and watch", "dora")
    expect("an approval that is not allowed names who was refused", y.run("approve", f"{NS}/app-2", "release", kubeconfig=users["dora"]), 78, "dora")


def test_unreachable(y):
    text = Path(y.kubeconfig).read_text()
    port = [line for line in text.splitlines() if "https://" in line][0].split("https://")[1].split('"')[0].split(",")[0].strip()
    config = y.work / "unreachable"
    config.write_text(text.replace(port, "127.0.0.1:1").replace("cert/", str(Path(y.kubeconfig).parent / "cert") + "/"))
    done = y.run("get", "-n", NS, kubeconfig=str(config), timeout=120)
    expect("a server that cannot be reached is named", done, 69, "127.0.0.1:1")
    done = y.run("watch", "get-1", "-n", NS, kubeconfig=str(config), timeout=120)
    expect("also by watch", done, 69, "127.0.0.1:1")


# --- logs ----------------------------------------------------------------------------------------------


def test_logs(y):
    run = y.object("tr", "get-1")
    expect("a step that is not there", y.run("logs", "get-1", "bild", "-n", NS), 66, "did you mean build?")
    expect("a step that runs, but whose pods are not there yet", y.run("logs", "get-2", "build", "-n", NS), 75, "not there yet", "--follow")
    expect("a step that never started", y.run("logs", "get-4", "release", "-n", NS), 66, "never started: it is Stopped")
    with tempfile.TemporaryDirectory(prefix="trainyard-cli-s3-") as folder:
        try:
            server = Versitygw(Path(folder) / "s3")
        except FileNotFoundError as e:
            CASES.skip("the kept log", str(e))
            return
        with server:
            server.make_bucket("ml-artifacts")
            environment = {**server.environment, "AWS_ENDPOINT_URL_S3": server.endpoint}
            spec = PIPELINE.replace("https://s3.example.internal", server.endpoint).replace("eu-west-1", "us-east-1")
            y.kubectl("-n", NS, "apply", "-f", "-", stdin=spec)
            done = y.run("logs", "get-1", "build", "-n", NS, env=environment)
            expect("neither pods nor a kept log", done, 66, "left no log: neither in a pod nor in the store")
            key = server.directory / "ml-artifacts" / "small" / "runs" / run["metadata"]["uid"] / "build" / "g0" / "logs"
            key.mkdir(parents=True)
            (key / "a1.jsonl").write_text('{"msg": "built"}\n')
            done = y.run("logs", "get-1", "build", "-n", NS, env=environment)
            CASES.equal("pods are gone: the kept log, and a word about it", (done.returncode, done.stdout, "reading the log kept in s3://ml-artifacts/small" in done.stderr),
                        (0, '{"msg": "built"}\n', True))
            expect("without the store's credentials", y.run("logs", "get-1", "build", "-n", NS), 78, "needs the store's credentials", "--secret NAME=DIR")
            secret = Path(folder) / "secret"
            secret.mkdir()
            for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
                (secret / name).write_text(server.environment[name])
            done = y.run("logs", "get-1", "build", "-n", NS, "--secret", f"s3={secret}")
            CASES.equal("or with the Secret as a directory", (done.returncode, done.stdout), (0, '{"msg": "built"}\n'))
            y.kubectl("-n", NS, "apply", "-f", "-", stdin=PIPELINE)
    y.apply({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "default", "namespace": NS}})
    y.apply({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "get-1-build-a1-x", "namespace": NS, "labels": {
        "trainyard.dev/run-uid": run["metadata"]["uid"], "trainyard.dev/step": "build", "trainyard.dev/attempt": "1"}},
        "spec": {"containers": [{"name": "step", "image": "x"}], "nodeSelector": {"no": "such"}}})
    expect("a pod that has not started says so", y.run("logs", "get-1", "build", "-n", NS), 75, "pod get-1-build-a1-x has not started: no node has taken it")
    y.kubectl("-n", NS, "delete", "pod", "get-1-build-a1-x", "--grace-period=0", "--force")


# --- submit --------------------------------------------------------------------------------------------


class Operator(threading.Thread):
    """Answers as the operator would: looks at each new generation and starts a run of it."""

    def __init__(self, y, ready=True):
        super().__init__(daemon=True)
        self.y, self.ready, self.done = y, ready, False

    def run(self):
        while not self.done:
            for p in json.loads(self.y.kubectl("-n", NS, "get", "tp", "-o", "json"))["items"]:
                name, generation, status = p["metadata"]["name"], p["metadata"]["generation"], p.get("status", {})
                if status.get("observedGeneration") == generation:
                    continue
                answer = {"observedGeneration": generation, "conditions": [{"type": "Ready", "status": "True" if self.ready else "False", "message": "spec.steps[0]: no"}]}
                self.y.status("tp", name, answer)
            time.sleep(0.2)

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *_):
        self.done = True
        self.join()


def test_submit(y):
    file = y.work / "pipeline.yaml"
    file.write_text(PIPELINE.replace("name: small", "name: sub"))
    expect("no operator answers", y.run("submit", file, "-n", NS, "--wait", "1s"), 75, "pipeline sub in namespace", "is created", "within 1 s the operator has not looked at it")
    expect("a file with errors goes nowhere", y.run("submit", "-", "-n", NS), 78)
    bad = y.work / "bad.yaml"
    bad.write_text(PIPELINE.replace("after: [build]", "after: [bild]"))
    expect("and says where they are", y.run("submit", bad, "-n", NS), 78, "bad.yaml:", "did you mean", "nothing was done")
    expect("a parameter that is not there", y.run("submit", file, "-n", NS, "--parameter", "lx=1"), 64, "did you mean \"lr\"?")
    expect("a file for another namespace", y.run("submit", write(y, "ns.yaml", PIPELINE.replace("{name: small}", "{name: small, namespace: elsewhere}")), "-n", NS), 64,
           "is for the namespace elsewhere")
    expect("a namespace that is not there", y.run("submit", file, "-n", "nowhere", "--wait", "1s"), 66, 'namespaces "nowhere" not found')
    expect("a pipeline that is not there", y.run("submit", "subb", "-n", NS), 66, "did you mean sub")

    with Operator(y):
        done = y.run("submit", file, "-n", NS, "--parameter", "lr=0.5", "--name", "sub-mine")
        expect("with parameters a run is created", done, 0, "is as it was", "also starts a run of its own")
        CASES.equal("its name alone is on standard output", done.stdout, "sub-mine\n")
        CASES.equal("it has the parameters", y.object("tr", "sub-mine")["spec"]["parameters"], [{"name": "lr", "value": "0.5"}])
        expect("a name that is taken", y.run("submit", file, "-n", NS, "--name", "sub-mine"), 64, "has a run sub-mine already")
        done = y.run("submit", f"{NS}/sub")
        check("a pipeline that is there is run by name", done.returncode == 0 and done.stdout.startswith("sub-"), show(done))
        two = [y.run("submit", "sub", "-n", NS).stdout for _ in range(2)]
        check("names are unique", two[0] != two[1] and all(two), str(two))
        run_file = write(y, "run.yaml", "apiVersion: trainyard.dev/v1alpha1\nkind: TrainingRun\nmetadata: {name: sub-file}\nspec: {pipeline: sub}\n")
        expect("a TrainingRun is created", y.run("submit", run_file, "-n", NS, "-p", "lr=0.7", "--scheduled-time", "2026-11-01T02:00:00Z"), 0, "sub-file\n")
        spec = y.object("tr", "sub-file")["spec"]
        CASES.equal("with what was added", (spec["parameters"], spec["scheduledTime"]), ([{"name": "lr", "value": "0.7"}], "2026-11-01T02:00:00Z"))
        expect("and not again", y.run("submit", run_file, "-n", NS), 64, "has a run sub-file already")

    generation = y.object("tp", "sub")["metadata"]["generation"]
    process = y.start("submit", str(file), "-n", NS)
    lines = Lines(process.stderr)
    lines.wait("is as it was")
    y.make_run("sub-1")
    y.kubectl("-n", NS, "patch", "tp", "sub", "--subresource=status", "--type=merge", "-p",
              json.dumps({"status": {"observedGeneration": generation, "lastHash": hash_of(y, file), "currentRun": "sub-1"}}))
    CASES.equal("a change that starts a run by itself is that run", (process.wait(40), process.stdout.read()), (0, "sub-1\n"))
    done = y.run("submit", file, "-n", NS)
    check("an unchanged file is run once more", done.returncode == 0 and done.stdout != "sub-1\n" and "as it was" in done.stderr, show(done))
    CASES.equal("server-side apply changes nothing", y.object("tp", "sub")["metadata"]["generation"], generation)

    y.kubectl("-n", NS, "apply", "--server-side", "--force-conflicts", "--field-manager=other-tool", "-f", "-", stdin=file.read_text().replace("example/build:1", "example/build:2"))
    done = y.run("submit", file, "-n", NS)
    expect("fields of another tool are left alone", done, 64, "was applied by another tool", "other-tool", "--force-conflicts")
    with Operator(y, ready=False):
        expect("a pipeline that the operator refuses", y.run("submit", file, "-n", NS, "--force-conflicts"), 78, "the operator says: spec.steps[0]: no")
    expect("and by name", y.run("submit", "sub", "-n", NS), 78, "the operator says: spec.steps[0]: no")


def write(y, name, text):
    path = y.work / name
    path.write_text(text)
    return path


def hash_of(y, file):
    """What the operator writes as status.lastHash: asked of the same code, through the plan's document."""
    return json.loads(y.run("plan", file, "--store", "unused", "-o", "json", kubeconfig=None).stdout)["hash"]


# --- compare -------------------------------------------------------------------------------------------


def test_compare(y):
    y.make_run("cmp-1", {"lr": "0.1"}, ended("Succeeded", steps(built(0.75), DONE, DONE)))
    y.make_run("cmp-2", {"lr": "0.3"}, ended("Failed", steps(built(0.8, LATER), DONE, {"state": "Failed", "attempt": 2, "message": "no room"}), message="step publish failed"))
    done = y.run("compare", "cmp-1", "cmp-2", "-n", NS)
    expect("two runs side by side", done, 0, "lr         0.1  0.3", "phase", "Succeeded", "Failed", "build.auc  0.75  0.8  +0.05", "differ")
    document = json.loads(y.run("compare", "cmp-1", "cmp-2", "-n", NS, "-o", "json").stdout)
    CASES.equal("as JSON", (document["parameters"], document["steps"][0]["values"][0]["b"], document["steps"][0]["outputs"][0]["equal"]),
                ([{"name": "lr", "a": 0.1, "b": 0.3, "delta": 0.3 - 0.1, "equal": False}], 0.8, False))
    expect("with one that is not there", y.run("compare", "cmp-1", "cmp-9", "-n", NS), 66, 'no run "cmp-9"')


LIVE = """apiVersion: trainyard.dev/v1alpha1
kind: TrainingPipeline
metadata: {name: live}
spec:
  store: {url: "s3://ml-artifacts/live", region: eu-west-1}
  parameters: [{name: who, type: string, default: all}]
  steps:
    - {name: ask, approval: {message: "first $(params.who)"}}
    - {name: then, after: [ask], approval: {message: second}}
"""


def test_with_operator(y):
    """The real operator; a pipeline of approvals needs no node."""
    binary, ns = yard.BIN / "trainyard-operator", "cli-live"
    if not binary.exists():
        CASES.skip("with the operator", f"{binary} is not built")
        return
    y.kubectl("create", "namespace", ns)
    file = write(y, "live.yaml", LIVE)
    with open(y.work / "operator.log", "wb") as log:
        operator = subprocess.Popen([str(binary), "--no-leader-election", "--address", "127.0.0.1", "--metrics-port", "0", "--progress-port", "0",
                                     "--own-namespace", ns, "--namespaces", ns], env={**y.environment, "KUBECONFIG": y.kubeconfig}, stdout=log, stderr=log)
        try:
            live(y, ns, file)
        finally:
            yard.end(operator)


def live(y, ns, file):
    expect("submit: the operator starts the run of a new pipeline", y.run("submit", file, "-n", ns), 0, "live-1\n", "is created")
    process = y.start("watch", f"{ns}/live-1", "--plain")
    lines = Lines(process.stderr)
    check("watch: a person is asked", lines.wait(f"approve live-1 ask -n {ns}"), lines.text())
    expect("approve", y.run("approve", f"{ns}/live-1", "ask", "-m", "fine"), 0, "is approved by")
    check("watch: the next one is asked for", lines.wait(f"approve live-1 then -n {ns}"), lines.text())
    y.run("approve", f"{ns}/live-1", "then")
    CASES.equal("watch ends with the run", (process.wait(30), "Succeeded" in process.stdout.read()), (0, True))
    check("get shows who approved", "approved by" in y.run("get", f"{ns}/live-1").stdout)
    done = y.run("submit", file, "-n", ns)
    check("an unchanged file is run again", done.returncode == 0 and done.stdout.startswith("live-") and done.stdout != "live-1\n", show(done))
    second = done.stdout.strip()
    y.run("suspend", f"{ns}/{second}")
    check("suspend pauses it", until(lambda: "Suspended" in y.run("get", f"{ns}/{second}").stdout))
    y.run("resume", f"{ns}/{second}")
    check("resume lets it go on", until(lambda: "Running" in y.run("get", f"{ns}/{second}").stdout))
    y.run("stop", f"{ns}/{second}")
    expect("a stopped run ends with 130", y.run("watch", f"{ns}/{second}"), 130, f"run {second} was stopped")
    process = y.start("restart", f"{ns}/{second}", "--from", "ask", "--watch", "--plain")
    lines = Lines(process.stderr)
    check("restart takes the stop back", lines.wait(f"approve {second} ask"), lines.text())
    y.run("approve", f"{ns}/{second}", "ask")
    lines.wait(f"approve {second} then")
    y.run("approve", f"{ns}/{second}", "then")
    CASES.equal("and ends with the run", process.wait(30), 0)
    y.run("restart", f"{ns}/live-1", "--from", "then")
    check("a restarted approval asks again", until(lambda: "AwaitingApproval" in y.run("get", f"{ns}/live-1").stdout))
    expect("and is answered by the same person", y.run("approve", f"{ns}/live-1", "then"), 0, "is approved by")
    expect("which ends the run", y.run("watch", f"{ns}/live-1", "--timeout", "30s"), 0, "Succeeded")
    file.write_text(LIVE.replace("second", "another"))
    expect("submit: a changed file starts one run", y.run("submit", file, "-n", ns), 0, "live-2\n", "is changed")
    file.write_text(LIVE.replace("s3://", "file:///"))
    expect("a store that a cluster cannot have is refused", y.run("submit", file, "-n", ns), 64, "store")
    CASES.equal("so many runs there are", len(json.loads(y.run("get", "-n", ns, "-o", "json").stdout)["runs"]), 3)


def until(condition, seconds=20):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if condition():
            return True
        time.sleep(0.2)
    return False


def restart_api(cluster):
    """A client that is connecting again may hold the server's port for a moment, as its own end."""
    server = cluster.components["kube-apiserver"]
    server.kill()
    for last in (False, False, False, False, True):
        server.start()
        try:
            cluster.wait_api()
            return
        except Exception:  # pylint: disable=broad-except
            if last:
                raise
        time.sleep(1)


def test_restarts(y, cluster):
    """Last, for it takes the API server away for a while."""
    y.make_run("cut-1", status={"phase": "Running", "steps": steps(running())})
    process = y.start("watch", "cut-1", "-n", NS, "--plain")
    lines = Lines(process.stderr)
    lines.wait("run cut-1")
    time.sleep(1)
    restart_api(cluster)
    y.status("tr", "cut-1", ended("Succeeded", steps(built(), DONE, DONE)))
    CASES.equal("watch lives through a restart of the API server", (process.wait(90), process.stdout.read().count("run cut-1: Succeeded")), (0, 1))


# --- all -----------------------------------------------------------------------------------------------


def test_all(y, users, cluster=None):
    y.kubectl("apply", "-f", str(ROOT / "crds"))
    check("the custom resources are served", until(lambda: y.run("get", "-A").returncode == 0, 30))
    y.kubectl("create", "namespace", NS)
    try:
        test_where(y)
        test_get(y)
        test_watch(y)
        test_control(y)
        test_approve(y, users)
        test_rights(y, users)
        test_logs(y)
        test_submit(y)
        test_compare(y)
        test_unreachable(y)
        test_local_first(y)
        if cluster:
            test_with_operator(y)
            test_restarts(y, cluster)
    finally:
        if not cluster:
            y.kubectl("delete", "namespace", NS, "--wait=false")


def who(y):
    return json.loads(y.kubectl("auth", "whoami", "-o", "json"))["status"]["userInfo"]["username"]


def on_own_cluster(work):
    with Cluster() as cluster:
        y = Yard(tools.path("kubectl"), cluster.kubeconfig, work)
        cluster.kubectl("create", "clusterrolebinding", "cli-alice", "--clusterrole=cluster-admin", "--user=alice")
        nobody = Path(work) / "nobody"
        nobody.write_text(Path(cluster.user_kubeconfig("carol")).read_text().replace(cluster.token("carol"), "unknown-token"))
        test_all(y, {"admin": who(y), "alice": str(cluster.user_kubeconfig("alice")), "bob": str(cluster.user_kubeconfig("bob")), "nobody": str(nobody), "dora": str(cluster.user_kubeconfig("dora", by="certificate"))}, cluster)


def main():
    kubeconfig = os.environ.get("TRAINYARD_TEST_KUBECONFIG")
    absent = tools.missing(tools.CONTROL_PLANE)
    with tempfile.TemporaryDirectory(prefix="trainyard-cluster-cli-") as work:
        if kubeconfig:
            y = Yard(os.environ.get("TRAINYARD_TEST_KUBECTL", "kubectl"), kubeconfig, work)
            test_all(y, {"admin": who(y)})
        elif absent:
            print(f"{', '.join(absent)} not built: run tests/tools/deps.sh cluster")
            return 77
        else:
            on_own_cluster(work)
    return CASES.finish()


sys.exit(main())
