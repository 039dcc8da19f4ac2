#!/usr/bin/env python3
"""Every accident of production through the pipeline: the right stage refuses, with the right exit code and a message that
names column, rule, expected and found; the registry stays as it was. One line each.

usage: accidents.py [--out build/accidents] [--rows 100000]
"""
import argparse
import json
import subprocess
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "harness"))
import yard  # noqa: E402

parser = argparse.ArgumentParser()
parser.add_argument("--out", default=str(yard.BUILD / "accidents"))
parser.add_argument("--rows", type=int, default=100000)
options = parser.parse_args()
OUT = yard.fresh(options.out)
CASES = yard.Cases()

# accident: exit code of data-validate, words its message must hold (column, rule, expected, found)
ACCIDENTS = {
    "missing-column": (65, ["price", "column", "missing"]),
    "type-change": (65, ["price", "type", "double"]),
    "volume": (65, ["volume", "rows", "0.2"]),
    "shifted-prices": (65, ["price", "psi", "0.2"]),
    "nulls": (65, ["price", "null", "0.02"]),
    "duplicates": (65, ["session_id", "item_id", "unique"]),
    "stale": (65, ["time", "36h"]),
    "leaked-label": (65, ["dwell_ms", "0.95"]),
    "changing": (75, ["changed"]),
}


def registry():
    """Every object of the registry with its content."""
    return {str(p.relative_to(OUT)): p.read_bytes() for p in sorted((OUT / "store" / "models").rglob("*.json"))}


def run(name):
    store = f"file://{OUT}/store"
    process = yard.trainyard(*yard.run_arguments(name, OUT / "clicks", store, OUT / "secrets", {"minAuc": "0.5"}), check=False)
    return process.returncode, yard.get_run(name, store)


def main():
    yard.signing_key(OUT / "secrets")
    yard.generate(OUT / "clicks", options.rows)
    code, record = run("healthy")
    if not CASES.check("the healthy logs train and register a model", code == 0 and (OUT / "store/models/click-ranker/versions/1.json").exists(), f"exit {code}"):
        print(json.dumps(record.get("steps"), indent=1)[:4000])
        return
    before = registry()
    for accident, (exit_code, words) in ACCIDENTS.items():
        changer = None
        if accident == "changing":
            yard.generate(OUT / "clicks", options.rows, extra=["--only-newest"])
            changer = subprocess.Popen([str(yard.BIN / "click-ranker-generate"), "--out", str(OUT / "clicks"), "--rows", str(options.rows),
                                        "--only-newest", "--accident", "changing"])
            time.sleep(1)
        else:
            yard.generate(OUT / "clicks", options.rows, accident, extra=["--only-newest"])
        try:
            code, record = run(f"accident-{accident}")
        finally:
            if changer:
                yard.end(changer)
        step = record["steps"][0]
        message = step.get("message", "")
        ok = code == 1 and step["state"] == "Failed" and step.get("exitCode") == exit_code and all(w in message for w in words)
        missing = [w for w in words if w not in message]
        CASES.check(accident, ok, f"{step['name']} exit {step.get('exitCode')} (expected {exit_code}): {message}" + (f" [lacks {missing}]" if missing else ""))
        CASES.check(f"{accident} leaves the registry untouched", registry() == before)
    yard.generate(OUT / "clicks", options.rows, extra=["--only-newest"])
    code, record = run("repaired")
    CASES.check("the repaired logs pass again", code == 0, f"exit {code}")


try:
    main()
except (subprocess.SubprocessError, KeyError, OSError, ValueError) as e:
    CASES.check("the accidents run to their end", False, f"{type(e).__name__}: {e}")
sys.exit(CASES.finish())
