#!/usr/bin/env python3
"""Validate + featurize beside Polars, DuckDB and pandas with scikit-learn, interleaved on one machine.

All read the same 30 daily Parquet partitions, make the same checks, write a snapshot, fit the same features on the same days and write
training rows in shuffled order. Outputs are compared before times count: numbers of rows, violations, distinct keys, every id's count, the scale. Ours also writes
a profile, a report with plots and a digest of every file, and sorts rows into a total order; the peers do not.

usage: bench.py [--rows 10000000] [--repetitions 5]
"""
import argparse
import json
import shutil
import subprocess
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
import measure  # noqa: E402

parser = argparse.ArgumentParser()
parser.add_argument("--rows", type=int, default=10000000)
parser.add_argument("--repetitions", type=int, default=5)
parser.add_argument("--threads", type=int, default=2)
parser.add_argument("--memory", default="8Gi")
options = parser.parse_args()
OUT = measure.BUILD / "bench" / "data"
PEERS = ["polars", "duckdb", "pandas"]
SOURCE = OUT / f"clicks-{options.rows}"


def configs():
    """The bodies of the example's first two steps."""
    plan = subprocess.run([measure.BUILD / "bin" / "trainyard", "plan", measure.ROOT / "examples/click-ranker/pipeline.yaml", "--param", f"source=file://{SOURCE}/", "--scheduled-time",
                           "2026-11-01T02:00:00Z", "-o", "json"], check=True, capture_output=True, text=True)
    for job in json.loads(plan.stdout)["jobs"]:
        if job["step"] in ("validate", "features"):
            (OUT / f"{job['step']}.json").write_text(json.dumps(job["config"]))


def ours():
    out = OUT / "ours"
    shutil.rmtree(out, ignore_errors=True)
    common = ["--threads", options.threads, "--memory", options.memory, "--scheduled-time", "2026-11-01T02:00:00Z", "--log-level", "warn"]
    a = measure.run([measure.BUILD / "bin/data-validate", "--config", OUT / "validate.json", "--output", out, *common])
    b = measure.run([measure.BUILD / "bin/featurize", "--config", OUT / "features.json", "--input", f"snapshot={out}/snapshot", "--output", out, *common])
    return {"seconds": a["seconds"] + b["seconds"], "cpu_seconds": a["cpu_seconds"] + b["cpu_seconds"], "peak_mib": max(a["peak_mib"], b["peak_mib"]),
            "validate_seconds": a["seconds"], "featurize_seconds": b["seconds"]}


def first_ids(spec):
    """The id of the first vocabulary entry of each categorical feature."""
    first = {}
    for f in spec["features"]:
        c = f.get("categorical")
        if c:
            first[f["name"]] = 1 + c["vocabulary"]["oovBuckets"] if "vocabulary" in c else 2
    return first


def our_outputs():
    import numpy as np
    from safetensors.numpy import load_file
    features = OUT / "ours" / "features"
    spec = json.loads((features / "feature-spec.json").read_text())
    first = first_ids(spec)
    names = [f["name"] for f in spec["features"] if "categorical" in f]
    counts = {n: {} for n in names}
    for shard in sorted((features / "train").glob("*.safetensors")):
        cat = load_file(shard)["cat"]
        for i, n in enumerate(names):
            for value, count in zip(*np.unique(cat[:, i], return_counts=True)):
                counts[n][int(value)] = counts[n].get(int(value), 0) + int(count)
    source = spec["source"]
    scale = next(f["numeric"]["scale"] for f in spec["features"] if f["name"] == "price")
    return {"train": int(source["trainRows"]), "validation": int(source["validationRows"]), "test": int(source["testRows"]), "sd": scale,
            "histogram": {n: sorted((k, v) for k, v in c.items() if k >= first[n]) for n, c in counts.items()}}, first


def differences(a, b, first):
    """What two outputs disagree in."""
    found = [f"{k}: {a[k]} and {b[k]}" for k in ("train", "validation", "test") if a[k] != b[k]]
    if abs(a["sd"] / b["sd"] - 1) > 1e-3:
        found.append(f"scale of price: {a['sd']} and {b['sd']}")
    for name, histogram in a["histogram"].items():
        if [list(x) for x in histogram] != [list(x) for x in b["histogram"][name] if x[0] >= first[name]]:
            found.append(f"ids of {name}")
    return found


def main():
    OUT.mkdir(parents=True, exist_ok=True)
    if not (SOURCE / "day=2026-10-31").exists():
        subprocess.run([measure.BUILD / "bin/click-ranker-generate", "--out", SOURCE, "--rows", str(options.rows)], check=True)
    configs()
    ours()
    reference, first = our_outputs()
    parameters = OUT / "parameters.json"
    parameters.write_text(json.dumps({"last": "2026-10-31T00:00:00", "previous": "2026-10-30T00:00:00", "validation_from": "2026-10-28T00:00:00", "test_from": "2026-10-30T00:00:00", "first": first}))
    peers = {p: [sys.executable, Path(__file__).with_name("peers.py"), p, SOURCE, OUT / p, parameters] for p in PEERS}
    runs = {"ours": [], **{p: [] for p in PEERS}}
    for repetition in range(options.repetitions):
        runs["ours"].append({**(busy := {"busy": measure.wait_until_quiet()}), **ours()})
        print(f"{repetition + 1}: ours {runs['ours'][-1]['seconds']:.2f} s (busy before {busy['busy']:.0%})", flush=True)
        for peer, command in peers.items():
            busy = measure.wait_until_quiet()
            r = measure.run(command)
            answer = json.loads(r.pop("output").splitlines()[-1])
            if repetition == 0:
                problems = differences(reference, answer["outputs"], first)
                print(f"{peer}: {'outputs agree' if not problems else 'outputs differ: ' + '; '.join(problems)}", flush=True)
                if problems:
                    return 1
            r.update(seconds=answer["seconds"], busy=busy)
            runs[peer].append(r)
            print(f"{repetition + 1}: {peer} {r['seconds']:.2f} s", flush=True)
    medians = {k: measure.summary(v)["median"] for k, v in runs.items()}
    fastest = min(PEERS, key=medians.get)
    versions = {p: __import__(p).__version__ for p in PEERS}
    versions["scikit-learn"] = __import__("sklearn").__version__
    measure.write("data", {
        "what": "validate + featurize", "rows": options.rows, "repetitions": options.repetitions, "threads": options.threads,
        "ours": {k: measure.summary(runs["ours"], k) for k in ("seconds", "cpu_seconds", "peak_mib", "validate_seconds", "featurize_seconds")},
        "peers": {p: {k: measure.summary(runs[p], k) for k in ("seconds", "cpu_seconds", "peak_mib")} for p in PEERS},
        "peer": fastest, "ratio": medians[fastest] / medians["ours"], "ratios": {p: medians[p] / medians["ours"] for p in PEERS}, "versions": versions,
        "busy_before": {k: max(r["busy"] for r in v) for k, v in runs.items()},
    })
    print(f"fastest peer {fastest}: ratio {medians[fastest] / medians['ours']:.2f}")
    return 0


sys.exit(main())
