#!/usr/bin/env python3
"""The whole pipeline once on little data, with whatever build BUILD names: what the sanitizer runs use.

usage: once.py [--rows 20000] [--out DIR]
"""
import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "harness"))
import yard  # noqa: E402

parser = argparse.ArgumentParser()
parser.add_argument("--rows", type=int, default=20000)
parser.add_argument("--out", default=str(yard.BUILD / "once"))
options = parser.parse_args()
OUT = yard.fresh(options.out)
CASES = yard.Cases()

yard.signing_key(OUT / "secrets")
yard.generate(OUT / "clicks", options.rows)
for name, cached in (("first", False), ("second", True)):
    process = yard.trainyard(*yard.run_arguments(name, OUT / "clicks", f"file://{OUT}/store", OUT / "secrets", params={"minAuc": "0.5"}), check=False, timeout=1800)
    if not CASES.equal(f"the {name} run succeeds", process.returncode, 0):
        print(process.stdout[-3000:], process.stderr[-6000:])
        for log in sorted(OUT.rglob("*.log")):
            text = log.read_text(errors="replace")
            if "Sanitizer" in text or "runtime error" in text:
                print(f"--- {log}\n{text[-5000:]}")
        break
    record = yard.get_run(name, f"file://{OUT}/store")
    for step in record["steps"]:
        CASES.check(f"{name}: {step['name']} is {step['state']}", step["state"] in ("Succeeded", "Cached", "Skipped"))
# What a sanitizer had to say may not have ended a process (a leak in one that was told to stop, say).
found = [str(log) for log in OUT.rglob("*.log") if any(word in log.read_text(errors="replace") for word in ("Sanitizer", "runtime error:"))]
CASES.equal("no log holds a sanitizer's report", found, [])
sys.exit(CASES.finish())
