"""What the end-to-end tests share: running the click-ranker pipeline with the built programs,
watching a process tree, counting cases.

Only the standard library. Every process started here is ended by pid; everything written lies
below the directory the caller names.
"""
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
BUILD = ROOT / os.environ.get("BUILD", "build")
BIN = BUILD / "bin"
PIPELINE = ROOT / "examples" / "click-ranker" / "pipeline.yaml"
SCHEDULED = "2026-11-01T02:00:00Z"


class Cases:
    """Counts cases and prints one line for each; finish() prints the sum and gives the exit code."""

    def __init__(self):
        self.passed = self.failed = self.skipped = 0

    def check(self, name, ok, detail=""):
        if ok:
            self.passed += 1
        else:
            self.failed += 1
        print(("ok - " if ok else "not ok - ") + name + (f": {detail}" if detail else ""), flush=True)
        return ok

    def equal(self, name, found, expected):
        return self.check(name, found == expected, "" if found == expected else f"expected {expected!r}, found {found!r}")

    def skip(self, name, reason):
        self.skipped += 1
        print(f"skipped - {name}: {reason}", flush=True)

    def finish(self):
        print(f"{self.passed} passed, {self.failed} failed, {self.skipped} skipped", flush=True)
        return 0 if self.failed == 0 and self.passed > 0 else 1


def children(pid):
    """All living descendants of pid, itself first."""
    by_parent = {}
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            try:
                stat = Path(f"/proc/{entry}/stat").read_text()
            except OSError:
                continue
            fields = stat[stat.rindex(")") + 2:].split()
            if fields[0] != "Z":
                by_parent.setdefault(int(fields[1]), []).append(int(entry))
    found, queue = [], [pid]
    while queue:
        p = queue.pop()
        found.append(p)
        queue.extend(by_parent.get(p, []))
    return found


def rss_mib(pids):
    total = 0
    for pid in pids:
        try:
            total += int(Path(f"/proc/{pid}/statm").read_text().split()[1])
        except (OSError, IndexError):
            pass
    return total * os.sysconf("SC_PAGE_SIZE") / 2**20


class Watch(threading.Thread):
    """Samples the summed resident memory of a process tree every 20 ms."""

    def __init__(self, pid):
        super().__init__(daemon=True)
        self.pid, self.peak, self.done = pid, 0.0, False
        self.start()

    def run(self):
        while not self.done:
            self.peak = max(self.peak, rss_mib(children(self.pid)))
            time.sleep(0.02)

    def stop(self):
        self.done = True
        self.join()
        return self.peak


def generate(directory, rows=1000000, accident="none", truth=None, extra=()):
    directory = Path(directory)
    directory.mkdir(parents=True, exist_ok=True)
    command = [BIN / "click-ranker-generate", "--out", directory, "--rows", str(rows), "--accident", accident, *extra]
    if truth:
        command += ["--truth", truth]
    subprocess.run([str(c) for c in command], check=True)
    return directory


def signing_key(directory):
    """A Secret directory with an Ed25519 key; made once."""
    directory = Path(directory)
    key = directory / "key.pem"
    if not key.exists():
        directory.mkdir(parents=True, exist_ok=True)
        subprocess.run(["openssl", "genpkey", "-algorithm", "ed25519", "-out", str(key)], check=True, stderr=subprocess.DEVNULL)
        subprocess.run(["openssl", "pkey", "-in", str(key), "-pubout", "-out", str(directory / "key.pub")], check=True)
    return directory


def trainyard(*args, env=None, check=True, timeout=900):
    """Runs the command; returns the finished process (stdout, stderr as text)."""
    process = subprocess.run([str(BIN / "trainyard"), *map(str, args)], env={**os.environ, **(env or {})}, text=True,
                             capture_output=True, timeout=timeout, stdin=subprocess.DEVNULL)
    if check and process.returncode != 0:
        sys.exit(f"trainyard {' '.join(map(str, args))}: exit {process.returncode}\n{process.stdout}{process.stderr}")
    return process


def run_arguments(name, source, store, secrets=None, params=None, extra=()):
    args = ["run", PIPELINE, "--name", name, "--store", store, "--scheduled-time", SCHEDULED, "--param", f"source=file://{source}/"]
    for key, value in (params or {}).items():
        args += ["--param", f"{key}={value}"]
    if secrets:
        args += ["--secret", f"model-signing={secrets}"]
    return [*args, *extra]


def start(args, env=None, **kwargs):
    return subprocess.Popen([str(BIN / "trainyard"), *map(str, args)], env={**os.environ, **(env or {})},
                            stdin=subprocess.DEVNULL, start_new_session=True, **kwargs)


def get_run(name, store, env=None):
    """The run's record as `trainyard get RUN -o json` prints it."""
    return json.loads(trainyard("get", name, "--store", store, "-o", "json", env=env).stdout)


def end(process, grace=20):
    """SIGTERM, then SIGKILL."""
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(grace)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def fresh(directory):
    directory = Path(directory)
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir(parents=True)
    return directory
