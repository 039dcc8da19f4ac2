#!/usr/bin/env python3
"""Kill -9 at many moments of a pipeline, resume, compare.

A reference run records its digests and which failpoints (common/base/failpoint.h) each program passes. Then, KILLS times in a fresh
store: one process of the run (trainyard included) is killed, either at a drawn passage of a drawn failpoint or at a drawn time;
`trainyard run --resume` goes on where it has to. Each time the final digests must be the reference's, every published artifact must be
whole, the registry must hold exactly one version, and no process may be left. Needs a build with FAILPOINTS=1.

usage: chaos.py [--kills 50] [--seed 1] [--rows 100000] [--out DIR]
"""
import argparse
import collections
import hashlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "harness"))
import yard  # noqa: E402

parser = argparse.ArgumentParser()
parser.add_argument("--kills", type=int, default=50)
parser.add_argument("--seed", type=int, default=1)
parser.add_argument("--rows", type=int, default=100000)
parser.add_argument("--out", default=str(yard.BUILD / "chaos"))
options = parser.parse_args()
OUT = yard.fresh(options.out)
CASES = yard.Cases()
RANDOM = random.Random(options.seed)
NAMES = [line.split()[0] for line in (yard.ROOT / "tests/chaos/failpoints.txt").read_text().splitlines() if line.strip() and not line.startswith("#")]
# Checkpoints often enough that training can be killed inside one.
PIPELINE = OUT / "pipeline.yaml"


def arguments(name, store, extra=()):
    args = yard.run_arguments(name, OUT / "clicks", f"file://{store}", OUT / "secrets", {"minAuc": "0.5"}, extra)
    args[1] = PIPELINE
    return args


def digests(record):
    return {s["name"]: s.get("outputs") for s in record["steps"] if s["name"] != "register"}


def left_over(store):
    """Processes that still work on this store."""
    found = []
    for entry in os.listdir("/proc"):
        if entry.isdigit() and int(entry) != os.getpid():
            try:
                text = Path(f"/proc/{entry}/cmdline").read_bytes() + Path(f"/proc/{entry}/environ").read_bytes()
                state = Path(f"/proc/{entry}/stat").read_text().rpartition(")")[2].split()[0]
            except OSError:
                continue
            if str(store).encode() in text and state != "Z":
                found.append(int(entry))
    return found


def broken_artifacts(store):
    """What a committed result names must be there, whole."""
    problems = []
    for result in store.glob("runs/**/result.json"):
        document = json.loads(result.read_text())
        for name, digest in document.get("outputs", {}).items():
            folder = result.parent / document["folder"] / name
            manifest = folder / "manifest.json"
            if not manifest.exists() or hashlib.sha256(manifest.read_bytes()).hexdigest() != digest:
                problems.append(f"{manifest}: missing or altered")
                continue
            for f in json.loads(manifest.read_text())["files"]:
                path = store / "shared/sha256" / f["sha256"] if f.get("shared") else folder / f["name"]
                if not path.exists() or hashlib.sha256(path.read_bytes()).hexdigest() != f["sha256"]:
                    problems.append(f"{path}: missing or altered")
    return problems


def reference():
    store, log = OUT / "reference", OUT / "passages"
    begin = time.monotonic()
    process = yard.start(arguments("click-ranker", store), env={"TRAINYARD_FAILPOINT_LOG": str(log)}, stdout=subprocess.DEVNULL)
    code = process.wait()
    seconds = time.monotonic() - begin
    record = yard.get_run("click-ranker", f"file://{store}")
    passages = collections.Counter(log.read_text().split())
    return code, seconds, record, passages


def draw(passages, seconds, number):
    """Two kills of three at a failpoint (every name in turn, so that phases are covered), one at a time."""
    if number % 3 == 2:
        return None, RANDOM.uniform(0.02, seconds)
    names = [n for n in NAMES if passages[n]]
    name = names[draw.turn % len(names)]
    draw.turn += 1
    return f"{name}:{RANDOM.randint(1, passages[name])}", None


draw.turn = 0


def experiment(number, passages, seconds, expected):
    store, count = yard.fresh(OUT / "store"), OUT / "count"
    failpoint, moment = draw(passages, seconds, number)
    env = {}
    if failpoint:
        count.write_text("")
        env = {"TRAINYARD_FAILPOINT": failpoint, "TRAINYARD_FAILPOINT_COUNT": str(count)}
    process = yard.start(arguments("click-ranker", store), env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    victim = ""
    if moment is not None:
        time.sleep(moment)
        tree = yard.children(process.pid) if process.poll() is None else []
        if tree:
            pid = RANDOM.choice(tree)
            try:
                victim = Path(f"/proc/{pid}/comm").read_text().strip()
                os.kill(pid, signal.SIGKILL)
            except OSError:
                victim = ""
    code = process.wait(300)
    killed = bool(victim) or (failpoint is not None and count.stat().st_size >= int(failpoint.split(":")[1]))
    resumed = 0
    while code != 0 and resumed < 3:
        resumed += 1
        code = yard.trainyard(*arguments("click-ranker", store, extra=["--resume"]), check=False, timeout=300).returncode
    name = f"kill {number + 1}: {failpoint or f'{victim or chr(63)} after {moment:.2f} s'}" + (f", resumed {resumed}x" if resumed else ", retried by the run")
    problems = []
    if code != 0:
        problems.append(f"exit {code}")
    else:
        found = digests(yard.get_run("click-ranker", f"file://{store}"))
        problems += [f"{step}: {found.get(step)} instead of {d}" for step, d in expected.items() if found.get(step) != d]
    problems += broken_artifacts(store)
    versions = sorted(p.name for p in (store / "models/click-ranker/versions").glob("*"))
    if versions != ["1.json"]:
        problems.append(f"versions {versions} instead of 1.json")
    orphans = left_over(store)
    if orphans:
        time.sleep(1)
        orphans = left_over(store)
    if orphans:
        problems.append(f"processes left: {orphans}")
    CASES.check(name, not problems, "; ".join(problems)[:2000])
    if problems:
        shutil.copytree(store, OUT / f"failed-{number + 1}", symlinks=True, dirs_exist_ok=True)
    return failpoint.split(":")[0] if failpoint and killed else None, killed


def main():
    text = yard.PIPELINE.read_text()
    changed = text.replace("checkpoint: {everySeconds: 1200, keep: 3}", "checkpoint: {everySteps: 5, keep: 3}")
    assert changed != text
    PIPELINE.write_text(changed)
    yard.signing_key(OUT / "secrets")
    yard.generate(OUT / "clicks", options.rows)
    code, seconds, record, passages = reference()
    if not CASES.equal("the reference run succeeds", code, 0):
        return
    CASES.equal("its artifacts are whole", broken_artifacts(OUT / "reference"), [])
    expected = digests(record)
    print(f"reference: {seconds:.1f} s, {sum(passages.values())} passages through {len(passages)} failpoints; seed {options.seed}", flush=True)
    covered, landed = collections.Counter(), 0
    for number in range(options.kills):
        phase, killed = experiment(number, passages, seconds, expected)
        landed += killed
        if phase:
            covered[phase] += 1
    print(f"{landed} of {options.kills} kills hit a living process")
    print("phases covered: " + ", ".join(f"{n} {covered[n]}" for n in NAMES if covered[n]))
    print("phases not drawn: " + (", ".join(n for n in NAMES if passages[n] and not covered[n]) or "none"))
    print("phases this pipeline does not pass: " + (", ".join(n for n in NAMES if not passages[n]) or "none"))
    CASES.check("most kills hit a living process", landed >= 0.7 * options.kills, f"{landed} of {options.kills}")


try:
    main()
except (subprocess.SubprocessError, KeyError, OSError, ValueError) as e:
    CASES.check(f"chaos runs to its end (seed {options.seed})", False, f"{type(e).__name__}: {e}")
sys.exit(CASES.finish())
