"""What the end-to-end scenarios share: a whole node with the images on it, the operator at work, namespaces that enforce Pod
Security "restricted", a bucket, and words for pipelines, runs and what became of them.

A scenario is a script with `scene.main(function)`: it works on the cluster named by E2E_CLUSTER (tests/e2e/run.py brings one up
for all of them), else on one of its own. E2E_KEEP=1 leaves its own running. E2E_OPERATOR=process starts
the operator as a process beside the node instead of installing the chart.
"""
import json
import os
import subprocess
import sys
import time
import traceback
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "tests"), str(ROOT / "tests" / "harness"), str(ROOT / "tests" / "e2e")]
from cluster import Cluster, ClusterError, node_blockers, tools  # noqa: E402
from yard import BIN, BUILD, Cases  # noqa: E402

IMAGES = BUILD / "images"
CHART = ROOT / "charts" / "trainyard"
SYSTEM = "trainyard-system"
RELEASE = "trainyard"
GROUP = "trainyard.dev/v1alpha1"
WORKER_USER = 1234
FINISHED = ("Succeeded", "Failed", "Stopped")


def blockers():
    """Why this machine cannot show any of it; empty when it can."""
    found = node_blockers()
    if not found:
        able = subprocess.run([ROOT / "images" / "able.sh"], capture_output=True, text=True, check=False)
        if able.returncode:
            found = [able.stdout.strip() or able.stderr.strip()]
    return found


class Scene:
    def __init__(self, cluster, cases):
        self.cluster, self.cases, self.namespaces = cluster, cases, []
        self.values = self._digests()

    # --- the whole, once a cluster -----------------------------------------------------------------------

    @staticmethod
    def _digests():
        """Stage → image by digest, from build/images/digests.yaml (one flow mapping a line)."""
        found = {}
        for line in (IMAGES / "digests.yaml").read_text().splitlines()[1:]:
            name, fields = line.strip().split(": ", 1)
            words = fields.strip("{}").replace('"', "").split(", ")
            value = dict(word.split(": ", 1) for word in words)
            found[name] = f"{value['repository']}@{value['digest']}"
        return found

    def load_images(self):
        for archive in [*(IMAGES / f"{name}.tar" for name in self.values), IMAGES / "test" / "worker.tar"]:
            self.cluster.load_image(archive)

    @property
    def worker_image(self):
        import tarfile
        with tarfile.open(IMAGES / "test" / "worker.tar") as archive:
            return "localhost/worker@" + json.load(archive.extractfile("index.json"))["manifests"][0]["digest"]

    def helm(self, *arguments, check=True):
        command = [str(tools.path("helm")), *map(str, arguments)]
        home = self.cluster.directory / "helm"
        done = subprocess.run(command, text=True, capture_output=True, check=False, timeout=300, stdin=subprocess.DEVNULL, env={
            **os.environ, "KUBECONFIG": str(self.cluster.directory / "kubeconfig"), "HELM_CACHE_HOME": str(home), "HELM_CONFIG_HOME": str(home),
            "HELM_DATA_HOME": str(home)})
        if check and done.returncode:
            raise ClusterError(f"helm {' '.join(map(str, arguments))}: exit {done.returncode}\n{done.stdout}{done.stderr}".rstrip())
        return done

    def helm_values(self):
        return ["--namespace", SYSTEM, "--values", IMAGES / "digests.yaml"]

    def install(self):
        """The operator, as people install it: two pods by the chart."""
        self.helm("upgrade", "--install", RELEASE, CHART, "--create-namespace", *self.helm_values(), "--wait", "--timeout", "120s")

    def install_process(self):
        """The operator that was built here, as a process of the node's network: to try it without making images of it."""
        self.cluster.kubectl("apply", "-f", ROOT / "crds")
        self.cluster.make_namespace(SYSTEM, pod_security=None)
        address = self.cluster.address
        images = [word for name, image in self.values.items() if name != "operator" for word in ("--image", f"{name}={image}")]
        self.cluster.component("operator", [
            BIN / "trainyard-operator", "--kubeconfig", self.cluster.inside_kubeconfig, "--own-namespace", SYSTEM, "--pod-address", address,
            "--progress-url", f"http://{address}:8081", "--log-format", "json", *images])

    # --- a namespace -------------------------------------------------------------------------------------

    def namespace(self, name):
        """Enforces "restricted"; has the store's credentials and its CA, and a key for signatures."""
        self.cluster.make_namespace(name)
        self.namespaces.append(name)
        s3 = self.cluster.s3
        key = subprocess.run(["openssl", "genpkey", "-algorithm", "ed25519"], capture_output=True, text=True, check=True).stdout
        self.cluster.apply([s3.secret_manifest(name), s3.authority_manifest(name), {
            "apiVersion": "v1", "kind": "Secret", "metadata": {"name": "model-signing", "namespace": name}, "stringData": {"key.pem": key}}])
        return name

    def store(self, prefix):
        """Over TLS, with the test's own authority, as a company's S3 server has."""
        return {"url": f"s3://{self.cluster.s3.bucket}/{prefix}", "endpoint": self.cluster.s3.tls_endpoint, "region": "us-east-1", "addressing": "path",
                "credentialsSecret": "s3-credentials", "caBundle": {"configMap": "s3-authority", "key": "ca.pem"}}

    # --- objects -----------------------------------------------------------------------------------------

    def pipeline(self, namespace, name, steps, **spec):
        return {"apiVersion": GROUP, "kind": "TrainingPipeline", "metadata": {"name": name, "namespace": namespace},
                "spec": {"store": self.store(f"{namespace}/{name}"), **spec, "steps": steps}}

    def box(self, name, *words, container=None, **step):
        """A container step with the tests' own image; words are what it does (tests/e2e/images/worker.c)."""
        return {"name": name, "resources": {"cpu": "50m", "memory": "32Mi"}, **step,
                "container": {"image": self.worker_image, "runAsUser": WORKER_USER, "args": [str(w) for w in words], **(container or {})}}

    def path(self, namespace, plural, name=""):
        group = {"pods": "api/v1", "jobs": "apis/batch/v1", "events": "api/v1", "configmaps": "api/v1"}.get(plural, f"apis/{GROUP}")
        return f"/{group}/namespaces/{namespace}/{plural}" + (f"/{name}" if name else "")

    def get(self, namespace, plural, name):
        return self.cluster.api.find(self.path(namespace, plural, name))

    def list(self, namespace, plural, selector=""):
        from urllib.parse import quote
        return self.cluster.api.get(self.path(namespace, plural) + (f"?labelSelector={quote(selector)}" if selector else ""))["items"]

    def merge(self, namespace, plural, name, body):
        return self.cluster.api.merge(self.path(namespace, plural, name), body)

    def runs(self, namespace, pipeline):
        return sorted((r for r in self.list(namespace, "trainingruns") if r["spec"]["pipeline"] == pipeline),
                      key=lambda r: (r["metadata"]["creationTimestamp"], r["metadata"]["name"]))

    def pods(self, namespace, run, step):
        return self.list(namespace, "pods", f"trainyard.dev/run={run},trainyard.dev/step={step}")

    def jobs(self, namespace, run):
        return self.list(namespace, "jobs", f"trainyard.dev/run={run}")

    # --- waiting -----------------------------------------------------------------------------------------

    def until(self, what, seconds, condition):
        """The first true value of condition(); after so many seconds an error that says what was waited for."""
        end = time.monotonic() + seconds
        while True:
            value = condition()
            if value:
                return value
            if time.monotonic() > end:
                raise TimeoutError(f"{what}: not within {seconds} s")
            time.sleep(0.2)

    def first_run(self, namespace, pipeline, seconds=30):
        found = self.until(f"a run of {namespace}/{pipeline}", seconds, lambda: self.runs(namespace, pipeline))
        return found[0]["metadata"]["name"]

    def finished(self, namespace, run, seconds):
        """The run once it has ended."""
        def ended():
            found = self.get(namespace, "trainingruns", run)
            return found if found and found.get("status", {}).get("phase") in FINISHED else None
        return self.until(f"the end of run {namespace}/{run}", seconds, ended)

    def start(self, namespace, name, steps, **spec):
        """Applies a pipeline; the name of the run that it starts."""
        self.cluster.apply(self.pipeline(namespace, name, steps, **spec))
        return self.first_run(namespace, name)

    # --- reading -----------------------------------------------------------------------------------------

    @staticmethod
    def step(run, name):
        return next((s for s in run.get("status", {}).get("steps", []) if s["name"] == name), {})

    @staticmethod
    def item(run, name):
        """What the status says of the step's (only) item: state, attempt, class, reason, message …"""
        step = Scene.step(run, name)
        return {**step, **(step["items"][0] if step.get("items") else {})}

    @staticmethod
    def condition(run, kind):
        return next((c for c in run.get("status", {}).get("conditions", []) if c["type"] == kind), {})

    def brief(self, run):
        status = run.get("status", {})
        steps = [{k: v for k, v in {**s, **(s["items"][0] if s.get("items") else {})}.items()
                  if k in ("name", "state", "attempt", "class", "reason", "message")} for s in status.get("steps", [])]
        return json.dumps({"phase": status.get("phase"), "message": status.get("message"), "steps": steps})[:3000]

    def operator_log(self, lines=40):
        if "operator" in self.cluster.components:
            return "\n".join(self.cluster.components["operator"].log.read_text(errors="replace").splitlines()[-lines:])
        done = self.cluster.kubectl("logs", "-n", SYSTEM, "-l", "app.kubernetes.io/name=trainyard", f"--tail={lines}", "--prefix", check=False)
        return done.stdout + done.stderr

    def show(self):
        """For a person who looks at a failure."""
        for namespace in self.namespaces:
            for what in ("trainingruns", "pods"):
                print(self.cluster.kubectl("get", what, "-n", namespace, "-o", "wide", check=False).stdout)
        print(self.operator_log())

    # --- cases -------------------------------------------------------------------------------------------

    def case(self, name, function, *arguments):
        """One part of a scenario; what it raises is a failed case, and the next part goes on."""
        began = time.monotonic()
        try:
            function(self, *arguments)
        except Exception as error:  # pylint: disable=broad-except
            self.cases.check(name, False, f"{type(error).__name__}: {error}")
            traceback.print_exc(limit=4, file=sys.stdout)
        print(f"      ({name}: {time.monotonic() - began:.1f} s)", flush=True)

    def leave(self):
        for namespace in self.namespaces:
            self.cluster.kubectl("delete", "namespace", namespace, "--wait=false", check=False)


def prepared(cluster, cases):
    """Images on the node, operator at work."""
    scene = Scene(cluster, cases)
    scene.load_images()
    if os.environ.get("E2E_OPERATOR") == "process":
        scene.install_process()
    else:
        scene.install()
    return scene


def main(scenario):
    cases = Cases()
    found = blockers()
    if found:
        cases.skip(Path(sys.argv[0]).stem, "; ".join(found))
        cases.finish()
        return 77
    name = os.environ.get("E2E_CLUSTER")
    if name:
        return _play(scenario, Scene(Cluster.attach(name), cases))
    keep = bool(os.environ.get("E2E_KEEP"))
    cluster = Cluster(node=True, detached=keep, **({"name": "e2e"} if keep else {}))
    if keep:
        cluster.up()
        print(f"E2E_CLUSTER={cluster.name}", flush=True)
        return _play(scenario, prepared(cluster, cases))
    with cluster:
        return _play(scenario, prepared(cluster, cases))


def _play(scenario, scene):
    try:
        scenario(scene)
    except Exception:  # pylint: disable=broad-except
        traceback.print_exc(file=sys.stdout)
        scene.cases.check("the scenario went through", False)
    if scene.cases.failed:
        scene.show()
    if not os.environ.get("E2E_KEEP"):
        scene.leave()
    return scene.cases.finish()


__all__ = ["BIN", "BUILD", "CHART", "GROUP", "ROOT", "SYSTEM", "Scene", "main", "prepared", "blockers"]
