#!/usr/bin/env python3
"""The helper program of container steps: publish, fetch, checkpoint and restore, on file:// and on a real S3 server."""
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "harness"))
from versitygw import Versitygw  # noqa: E402
from yard import BIN, Cases  # noqa: E402

HELPER = BIN / "artifact"


class Pod:
    """One attempt of a container step: its directory, its environment, what the helper says."""

    def __init__(self, directory, store, step, attempt=1, restart=0, config=None, inputs=None, keys=None, rank=0):
        self.root = Path(tempfile.mkdtemp(dir=directory, prefix=f"{step}-"))
        (self.root / "config.json").write_text(json.dumps(config or {}))
        (self.root / "inputs.json").write_text(json.dumps(inputs or {}))
        self.result = self.root / "termination-log"
        self.environment = {"PATH": "/usr/bin:/bin", "TRAINYARD_RUN": "r", "TRAINYARD_RUN_UID": "uid-1", "TRAINYARD_STEP": step, "TRAINYARD_ATTEMPT": str(attempt),
                            "TRAINYARD_RESTART": str(restart), "TRAINYARD_STORE": store, "TRAINYARD_CONFIG": str(self.root / "config.json"), "RANK": str(rank),
                            "TRAINYARD_INPUTS": str(self.root / "inputs.json"), "TRAINYARD_RESULT": str(self.result), **(keys or {})}

    def start(self, command, *arguments):
        return subprocess.Popen([HELPER, command, "--root", str(self.root), *arguments], env=self.environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)

    def run(self, command, *arguments):
        self.result.unlink(missing_ok=True)
        process = self.start(command, *arguments)
        self.log = process.communicate(timeout=60)[0]
        return process.returncode

    def message(self):
        return json.loads(self.result.read_text()) if self.result.exists() else {}

    def write(self, name, text):
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    def read(self, name):
        path = self.root / name
        return path.read_text() if path.exists() else None


def reference(digest, step):
    return {"digest": digest, "run": "uid-1", "step": step}


def publish_and_fetch(cases, name, directory, store, keys):
    config = {"image": "x@sha256:0", "outputs": ["model", "plots"], "values": [{"name": "auc", "type": "number"}, {"name": "rows", "type": "integer"}, {"name": "kind"}]}
    first = Pod(directory, store, "make", config=config, keys=keys)
    cases.equal(f"{name}: fetch without inputs prepares the outputs' directories", (first.run("fetch"), (first.root / "out" / "model").is_dir()), (0, True))
    first.write("out/model/weights.bin", "w" * 1000)
    first.write("out/model/sub/more", "m")
    first.write("out/plots/p.svg", "<svg/>")
    first.write("out/values.json", json.dumps({"auc": 0.75, "rows": 12, "kind": "mlp"}))
    code = first.run("publish")
    message = first.message()
    cases.equal(f"{name}: publish: values", (code, message.get("values")), (0, {"auc": 0.75, "rows": 12, "kind": "mlp"}))
    cases.check(f"{name}: publish: a digest for each output", sorted(message.get("outputs", {})) == ["model", "plots"], first.log if code else "")

    second = Pod(directory, store, "make", attempt=2, config=config, keys=keys)
    second.write("out/model/weights.bin", "other")
    second.write("out/plots/p.svg", "other")
    second.write("out/values.json", json.dumps({"auc": 0.5, "rows": 1, "kind": "other"}))
    cases.equal(f"{name}: a second attempt adopts the first's result", (second.run("publish"), second.message()), (0, message))
    cases.equal(f"{name}: other ranks publish nothing", (Pod(directory, store, "make3", config=config, keys=keys, rank=1).run("publish")), 0)

    inputs = {"model": reference(message["outputs"]["model"], "make"), "all": [reference(message["outputs"]["model"], "make"), reference(message["outputs"]["plots"], "make")]}
    user = Pod(directory, store, "use", config={"image": "x", "outputs": ["copy"]}, inputs=inputs, keys=keys)
    cases.equal(f"{name}: fetch", (user.run("fetch"), user.read("in/model/weights.bin"), user.read("in/model/sub/more"), user.read("in/all/1/p.svg")),
                (0, "w" * 1000, "m", "<svg/>"))
    for file in ("weights.bin", "sub/more"):
        user.write(f"out/copy/{file}", user.read(f"in/model/{file}"))
    cases.equal(f"{name}: publish again", user.run("publish"), 0)

    wrong = Pod(directory, store, "use2", inputs={"model": reference("0" * 64, "make")}, keys=keys)
    code = wrong.run("fetch")
    error = wrong.message().get("error", {})
    cases.equal(f"{name}: an input that is not there: exit 66, artifact-missing", (code, error.get("reason")), (66, "artifact-missing"))
    return message


def wrong_outputs(cases, name, directory, store, keys):
    def attempt(config, files):
        pod = Pod(directory, store, f"bad{len(os.listdir(directory))}", config={"image": "x", **config}, keys=keys)
        for path, text in files.items():
            pod.write(path, text)
        code = pod.run("publish")
        return code, pod.message().get("error", {})
    table = (
        ("a declared output that is missing", {"outputs": ["model"]}, {}, 65, 'declares the output \\"model\\"'),
        ("a declared value that is missing", {"values": [{"name": "auc", "type": "number"}]}, {}, 65, 'declares the value \\"auc\\"'),
        ("a value of another type", {"values": [{"name": "auc", "type": "number"}]}, {"out/values.json": '{"auc": "high"}'}, 65, "not of the declared type number"),
        ("an integer that is none", {"values": [{"name": "n", "type": "integer"}]}, {"out/values.json": '{"n": 1.5}'}, 65, "not of the declared type integer"),
        ("a value that is not declared", {}, {"out/values.json": '{"auc": 1}'}, 65, "is not declared"),
        ("values that are no JSON", {"values": [{"name": "a"}]}, {"out/values.json": "{"}, 65, ""),
        ("values that are too large for a message", {"values": [{"name": "a"}]}, {"out/values.json": json.dumps({"a": "x" * 3000})}, 65, ""),
    )
    for what, config, files, expected, text in table:
        code, error = attempt(config, files)
        ok = code == expected and text in json.dumps(error) and error.get("class") == "user"
        cases.check(f"{name}: {what}: exit {expected}", ok, "" if ok else f"exit {code}, {error}")


def eventually(condition, seconds=10):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if condition():
            return True
        time.sleep(0.05)
    return False


def checkpoints(cases, name, directory, store, keys):
    config = {"image": "x", "checkpoint": True, "outputs": []}

    def kept(pod):
        again = Pod(directory, store, "train", attempt=99, config=config, keys=keys)
        again.run("fetch")
        return again.read("checkpoint/state")

    pod = Pod(directory, store, "train", config=config, keys=keys)
    cases.equal(f"{name}: fetch without a checkpoint", (pod.run("fetch"), pod.read("checkpoint/state")), (0, None))
    pod.environment["TRAINYARD_PROGRESS_URL"] = f"file://{pod.root}/progress.json"
    sidecar = pod.start("checkpoint", "--every", "200ms", "--keep", "2", "--settle", "2s")
    pod.write("checkpoint/state", "step 1")
    cases.check(f"{name}: the directory is uploaded while the step runs", eventually(lambda: kept(pod) == "step 1"))
    cases.equal(f"{name}: the program's files stay its own", (pod.read("checkpoint/state"), oct((pod.root / "checkpoint/state").stat().st_mode & 0o222)), ("step 1", "0o200"))
    pod.write("checkpoint/state", "step 2")
    cases.check(f"{name}: again when it has changed", eventually(lambda: kept(pod) == "step 2"))
    for i in range(3, 6):
        pod.write("checkpoint/state", f"step {i}")
        eventually(lambda i=i: kept(pod) == f"step {i}")
    pod.write("checkpoint/state", "last")
    sidecar.send_signal(signal.SIGTERM)
    time.sleep(1)
    pod.write("checkpoint/state", "written after SIGTERM")
    log = sidecar.communicate(timeout=30)[0]
    cases.equal(f"{name}: what the program writes when it is told to end is uploaded", (sidecar.returncode, kept(pod)), (0, "written after SIGTERM"))
    uploads = log.count("checkpoint uploaded")
    cases.check(f"{name}: nothing is uploaded without a change", uploads in (6, 7), log if uploads not in (6, 7) else "")
    cases.equal(f"{name}: the planner hears how far it came", json.loads((pod.root / "progress.json").read_text()), {"metrics": {"checkpoint_step": uploads}})
    ended = Pod(directory, store, "train-once", config=config, keys=keys)
    ended.write("checkpoint/state", "at the end")
    cases.equal(f"{name}: publish", ended.run("publish"), 0)
    sidecar = ended.start("checkpoint", "--settle", "60s")
    eventually(lambda: (ended.root / ".published").exists())
    began = time.monotonic()
    time.sleep(0.5)
    sidecar.send_signal(signal.SIGTERM)
    sidecar.communicate(timeout=30)
    cases.check(f"{name}: when publish has ended, nothing is waited for", sidecar.returncode == 0 and time.monotonic() - began < 20)

    second = Pod(directory, store, "train", attempt=2, config=config, keys=keys)
    cases.equal(f"{name}: the next attempt goes on from it", (second.run("fetch"), second.read("checkpoint/state")), (0, "written after SIGTERM"))
    restarted = Pod(directory, store, "train", attempt=1, restart=1, config=config, keys=keys)
    cases.equal(f"{name}: a restart with equal work goes on from it", (restarted.run("fetch"), restarted.read("checkpoint/state")), (0, "written after SIGTERM"))
    other = Pod(directory, store, "train", attempt=1, restart=2, config={**config, "args": ["--lr", "1"]}, keys=keys)
    cases.equal(f"{name}: a restart with other work does not", (other.run("fetch"), other.read("checkpoint/state")), (0, None))
    return config


def damaged_checkpoint(cases, directory, store_directory, store, config):
    base = store_directory / "runs/uid-1/train/g0/checkpoints"
    names = sorted(p.name for p in base.iterdir() if (p / "manifest.json").exists())
    cases.equal("only as many checkpoints as asked for are kept", len(names), 2)
    newest = base / names[-1] / "state"
    newest.chmod(0o644)
    newest.write_text("torn")
    before = (base / names[-2] / "state").read_text()
    pod = Pod(directory, store, "train", attempt=3, config=config)
    cases.equal("a damaged checkpoint is passed over for the one before", (pod.run("fetch"), pod.read("checkpoint/state")), (0, before))


def main():
    cases = Cases()
    with tempfile.TemporaryDirectory(prefix="artifact-helper-") as temporary:
        directory = Path(temporary)
        local = f"file://{directory}/store"
        first = publish_and_fetch(cases, "file", directory, local, None)
        wrong_outputs(cases, "file", directory, local, None)
        config = checkpoints(cases, "file", directory, local, None)
        damaged_checkpoint(cases, directory, directory / "store", local, config)
        pod = Pod(directory, local, "x")
        del pod.environment["TRAINYARD_RUN_UID"]
        cases.equal("outside a pod: exit 64", pod.run("fetch"), 64)
        try:
            gateway = Versitygw(directory / "gateway")
        except FileNotFoundError as missing:
            cases.skip("the same on S3", str(missing))
            return cases.finish()
        with gateway:
            gateway.make_bucket("bucket")
            store = directory / "store.json"
            store.write_text(json.dumps({"url": "s3://bucket/artifacts", "endpoint": gateway.endpoint, "credentialsSecret": "s3"}))
            secret = directory / "secrets" / "s3"
            secret.mkdir(parents=True)
            (secret / "AWS_ACCESS_KEY_ID").write_text(gateway.access)
            (secret / "AWS_SECRET_ACCESS_KEY").write_text(gateway.secret)
            keys = {"TRAINYARD_SECRETS": str(secret.parent)}
            second = publish_and_fetch(cases, "s3", directory, str(store), keys)
            cases.equal("equal files have equal digests on both stores", second["outputs"], first["outputs"])
            wrong_outputs(cases, "s3", directory, str(store), keys)
            checkpoints(cases, "s3", directory, str(store), keys)
    return cases.finish()


if __name__ == "__main__":
    sys.exit(main())
