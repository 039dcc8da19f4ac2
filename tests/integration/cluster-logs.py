#!/usr/bin/env python3
"""`trainyard submit`, `watch` and `logs` on a real node: what pods write reaches the terminal, while they run, afterwards, and when they are gone.

The operator works from outside of the cluster; the images are a shell and the program `artifact`, packed from this machine. Where the machine cannot run a
node, the script says why and skips.
"""
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests" / "harness"))
sys.path.insert(0, str(ROOT))
import yard  # noqa: E402
from tests.cluster import oci, tools  # noqa: E402
from tests.cluster.cluster import Cluster  # noqa: E402
from tests.cluster.host import node_blockers  # noqa: E402

CASES = yard.Cases()
NS = "logs"

PIPELINE = """apiVersion: trainyard.dev/v1alpha1
kind: TrainingPipeline
metadata: {{name: talk}}
spec:
  store: {{url: "s3://{bucket}/talk", endpoint: "{endpoint}", region: us-east-1, addressing: path, credentialsSecret: s3-credentials}}
  steps:
    - name: speak
      container:
        image: localhost/toolbox:1
        command: [/bin/sh, -c, 'i=0; while [ $i -lt 8 ]; do i=$((i + 1)); echo "line $i"; sleep 0.5; done']
    - name: pair
      after: [speak]
      workers: 2
      container: {{image: localhost/toolbox:1, command: [/bin/sh, -c, 'echo "I am $RANK of $WORLD_SIZE"']}}
    - name: fall
      after: [pair]
      retry: {{application: 0}}
      container: {{image: localhost/toolbox:1, command: [/bin/sh, -c, 'echo "about to fall"; exit 3']}}
"""


def trainyard(cluster, *args, inside=False, env=None, timeout=120):
    home = str(cluster.directory / "home")
    environment = {"HOME": home, "XDG_STATE_HOME": home, "LC_ALL": "C.UTF-8", "PATH": os.environ["PATH"], **(env or {})}
    command = [str(yard.BIN / "trainyard"), *args]
    if inside:
        return cluster.run_inside(command, env={**environment, "KUBECONFIG": str(cluster.inside_kubeconfig)}, check=False, timeout=timeout)
    return subprocess.run(command, env={**environment, "KUBECONFIG": str(cluster.kubeconfig)}, text=True, capture_output=True, timeout=timeout, stdin=subprocess.DEVNULL)


def show(done):
    return f"exit {done.returncode}\n{done.stdout}{done.stderr}"


def check(name, ok, detail=""):
    return CASES.check(name, bool(ok), "" if ok else detail)


def images(cluster, work):
    helper = oci.closure([yard.BIN / "artifact"])
    helper["/usr/bin/artifact"] = helper.pop("/bin/artifact")
    cluster.load_image(oci.write_image(work / "artifact.tar", "localhost/artifact:1", helper, ["/usr/bin/artifact"]))
    cluster.load_image(oci.toolbox(work / "toolbox.tar"))


def test_logs(cluster, file):
    done = trainyard(cluster, "submit", str(file), "-n", NS)
    if not check("submit", done.returncode == 0 and done.stdout == "talk-1\n", show(done)):
        return
    end = time.monotonic() + 60
    while time.monotonic() < end and "Running" not in trainyard(cluster, "get", f"{NS}/talk-1").stdout.split("pair")[0]:
        time.sleep(0.05)
    done = trainyard(cluster, "logs", f"{NS}/talk-1", "speak", "-f")
    CASES.equal("logs -f prints each line once, from the user's container, and ends with it", (done.returncode, done.stdout), (0, "".join(f"line {i}\n" for i in range(1, 9))))
    done = trainyard(cluster, "watch", f"{NS}/talk-1", "--plain", "--timeout", "90s")
    check("watch sees it fail, and why", done.returncode == 1 and "step fall failed (application" in done.stderr and f"trainyard logs talk-1 fall -n {NS}" in done.stderr, show(done))
    done = trainyard(cluster, "logs", f"{NS}/talk-1", "speak")
    CASES.equal("afterwards", (done.returncode, done.stdout), (0, "".join(f"line {i}\n" for i in range(1, 9))))
    done = trainyard(cluster, "logs", f"{NS}/talk-1", "pair")
    CASES.equal("workers are told apart", (done.returncode, done.stdout), (0, "[0] I am 0 of 2\n[1] I am 1 of 2\n"))
    done = trainyard(cluster, "logs", f"{NS}/talk-1", "pair", "--worker", "1", "-f")
    CASES.equal("or only one is heard", (done.returncode, done.stdout), (0, "I am 1 of 2\n"))
    done = trainyard(cluster, "logs", f"{NS}/talk-1", "fall", "--attempt", "1")
    CASES.equal("of an attempt that failed", (done.returncode, done.stdout), (0, "about to fall\n"))
    done = trainyard(cluster, "logs", f"{NS}/talk-1", "fall", "--attempt", "2")
    check("an attempt that was not", done.returncode == 66 and "had 1 attempt" in done.stderr, show(done))

    cluster.kubectl("-n", NS, "delete", "jobs", "--all", "--wait=true")
    cluster.kubectl("-n", NS, "wait", "--for=delete", "pods", "--all", "--timeout=60s", check=False)
    uid = json.loads(cluster.kubectl("-n", NS, "get", "tr", "talk-1", "-o", "json").stdout)["metadata"]["uid"]
    kept = cluster.s3.directory / cluster.s3.bucket / "talk" / "runs" / uid / "speak" / "g0" / "logs" / "a1.jsonl"
    done = trainyard(cluster, "logs", f"{NS}/talk-1", "speak", inside=True, env=cluster.s3.environment(tls=False))
    check("the pods are gone, and a user's container keeps no log in the store", done.returncode == 66 and "left no log" in done.stderr, show(done))
    kept.parent.mkdir(parents=True, exist_ok=True)
    kept.write_text("as a stage keeps it\n")
    done = trainyard(cluster, "logs", f"{NS}/talk-1", "speak", inside=True, env=cluster.s3.environment(tls=False))
    CASES.equal("where one was kept, it is read", (done.returncode, done.stdout), (0, "as a stage keeps it\n"))
    done = trainyard(cluster, "logs", f"{NS}/talk-1", "speak", inside=True)
    check("without the store's credentials it says what they are for", done.returncode != 0 and "needs the store's credentials" in done.stderr, show(done))


def on_node(cluster, work):
    cluster.kubectl("apply", "-f", str(ROOT / "crds"))
    end = time.monotonic() + 30
    while time.monotonic() < end and trainyard(cluster, "get", "-A").returncode != 0:
        time.sleep(0.2)
    cluster.make_namespace(NS)
    cluster.apply([cluster.s3.secret_manifest(NS)])
    images(cluster, work)
    file = work / "talk.yaml"
    file.write_text(PIPELINE.format(bucket=cluster.s3.bucket, endpoint=cluster.s3.endpoint))
    with open(work / "operator.log", "wb") as log:
        operator = subprocess.Popen([str(yard.BIN / "trainyard-operator"), "--kubeconfig", str(cluster.kubeconfig), "--no-leader-election", "--address", "127.0.0.1",
                                     "--metrics-port", "0", "--progress-port", "0", "--own-namespace", NS, "--image", "artifact=localhost/artifact:1"], stdout=log, stderr=log)
        try:
            test_logs(cluster, file)
        finally:
            yard.end(operator)
    if CASES.failed:
        print((work / "operator.log").read_text()[-4000:])
        print(cluster.kubectl("-n", NS, "get", "tr,jobs,pods", "-o", "wide", check=False).stdout)


def main():
    absent, blockers = tools.missing(tools.NODE), node_blockers()
    if absent:
        blockers.append(f"{', '.join(absent)} not built: run tests/tools/deps.sh cluster")
    if blockers:
        print("; ".join(blockers))
        return 77
    with tempfile.TemporaryDirectory(prefix="trainyard-cluster-logs-") as work, Cluster(node=True) as cluster:
        on_node(cluster, Path(work))
    return CASES.finish()


sys.exit(main())
