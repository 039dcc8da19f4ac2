#!/usr/bin/env python3
"""Training beside PyTorch CPU DDP: the example's DCN-v2 on the same shards, two workers with one thread each, the same starting weights.

Counts the time to an equal validation loss (the worse of the two final ones) and samples per second over the steps. The peer is the best of
eager and compiled; its compilation and both sides' start-up and loading are not counted. Interleaved; medians.

usage: bench.py [--rows 1000000] [--repetitions 5] [--epochs 2]
"""
import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
from datetime import datetime
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
import measure  # noqa: E402

parser = argparse.ArgumentParser()
parser.add_argument("--rows", type=int, default=1000000)
parser.add_argument("--repetitions", type=int, default=5)
parser.add_argument("--epochs", type=int, default=2)
parser.add_argument("--workers", type=int, default=2)
parser.add_argument("--every", type=int, default=50, help="steps between validations")
parser.add_argument("--modes", default="eager,compile")
options = parser.parse_args()
OUT = measure.BUILD / "bench" / "train"
BIN = measure.BUILD / "bin"
SOURCE = OUT / f"clicks-{options.rows}"
FEATURES = OUT / f"made-{options.rows}" / "features"
PORT = 21000 + os.getpid() % 20000


def step_configs():
    plan = subprocess.run([BIN / "trainyard", "plan", measure.ROOT / "examples/click-ranker/pipeline.yaml", "--param", f"source=file://{SOURCE}/", "--scheduled-time",
                           "2026-11-01T02:00:00Z", "-o", "json"], check=True, capture_output=True, text=True)
    return {job["step"]: job["config"] for job in json.loads(plan.stdout)["jobs"]}


def write(path, value):
    path.write_text(json.dumps(value))
    return path


def make_features(configs):
    """Click logs → snapshot → features, once."""
    if FEATURES.exists():
        return
    if not (SOURCE / "day=2026-10-31").exists():
        subprocess.run([BIN / "click-ranker-generate", "--out", SOURCE, "--rows", str(options.rows)], check=True)
    made = FEATURES.parent
    common = ["--threads", "2", "--memory", "4Gi", "--scheduled-time", "2026-11-01T02:00:00Z", "--log-level", "warn", "--output", made]
    for name, program, inputs in (("validate", "data-validate", []), ("features", "featurize", ["--input", f"snapshot={made}/snapshot"])):
        subprocess.run([BIN / program, "--config", write(OUT / f"{name}.json", configs[name]), *inputs, *common], check=True, stdout=subprocess.DEVNULL)


def ranks(command, log):
    """Starts the command once a rank; waits; all must end with 0."""
    global PORT
    PORT += 1
    processes = []
    for r in range(options.workers):
        env = {**os.environ, "RANK": str(r), "LOCAL_RANK": str(r), "WORLD_SIZE": str(options.workers), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(PORT),
               "TRAINYARD_RENDEZVOUS_KEY": "5" * 64, "OMP_NUM_THREADS": "1"}
        with open(f"{log}.{r}", "w") as f:
            processes.append(subprocess.Popen([str(c) for c in command], env=env, stdout=subprocess.DEVNULL, stderr=f))
    if any([p.wait() for p in processes]):
        raise RuntimeError(f"{command[0]} failed: see {log}.*")


def ours(config):
    out = OUT / "ours"
    shutil.rmtree(out, ignore_errors=True)
    ranks([BIN / "train-ddp", "--config", config, "--input", f"features={FEATURES}", "--output", out, "--memory", "4Gi"], OUT / "ours.log")
    lines = [json.loads(line) for line in open(f"{OUT / 'ours.log'}.0") if line.startswith("{")]
    at = {line["msg"]: datetime.fromisoformat(line["time"].replace("Z", "+00:00")) for line in lines}
    trained = next(line for line in lines if line["msg"] == "trained")
    curve = {p["step"]: p["logloss"] for p in json.load(open(out / "model" / "curves.json"))["validation"]}
    points = [{"step": int(line["step"]), "logloss": curve[int(line["step"])],
               "seconds": (datetime.fromisoformat(line["time"].replace("Z", "+00:00")) - at["training"]).total_seconds()} for line in lines if line["msg"] == "validated"]
    return {"points": points, "samples_per_second": float(trained["samples_per_second"]), "exchange_share": float(trained["exchange_share"])}


def peer(mode, config, initial):
    out = OUT / f"{mode}.json"
    ranks([sys.executable, Path(__file__).with_name("peer.py"), mode, FEATURES, config, initial, out, options.every], OUT / f"{mode}.log")
    return json.load(open(out))


def time_to(run, target):
    return next((p["seconds"] for p in run["points"] if p["logloss"] <= target), None)


def main():
    OUT.mkdir(parents=True, exist_ok=True)
    configs = step_configs()
    make_features(configs)
    body = configs["train"]
    body.update(epochs=options.epochs, validation={"every": f"{options.every} steps", "metrics": ["auc", "logloss"]})
    body.pop("earlyStopping", None)
    config = write(OUT / "train.json", body)
    # With learning rate 0 the model that comes out is the one that went in.
    still = json.loads(json.dumps(body))
    still["epochs"] = 1
    for part, name in (("dense", "adamw"), ("embeddings", "sparseAdam")):
        still["optimizers"][part][name].update(lr=0)
    initial = OUT / "initial"
    shutil.rmtree(initial, ignore_errors=True)
    subprocess.run([BIN / "train-ddp", "--config", write(OUT / "still.json", still), "--input", f"features={FEATURES}", "--output", initial, "--memory", "4Gi", "--log-level", "warn"],
                   check=True, stdout=subprocess.DEVNULL)
    modes = options.modes.split(",")
    runs = {"ours": [], **{m: [] for m in modes}}
    for repetition in range(options.repetitions):
        for name in runs:
            busy = measure.wait_until_quiet()
            r = ours(config) if name == "ours" else peer(name, config, initial / "model")
            r["busy"] = busy
            runs[name].append(r)
            print(f"{repetition + 1}: {name} {r['samples_per_second']:.0f} samples/s, {r['points'][-1]['seconds']:.2f} s to logloss {r['points'][-1]['logloss']:.5f} "
                  f"(busy before {busy:.0%})", flush=True)
    finals = {k: v[0]["points"][-1]["logloss"] for k, v in runs.items()}
    target = max(finals.values())
    if target - min(finals.values()) > 0.002:
        print(f"the networks do not reach the same loss: {finals}")
        return 1
    times = {k: statistics.median(time_to(r, target) for r in v) for k, v in runs.items()}
    rates = {k: statistics.median(r["samples_per_second"] for r in v) for k, v in runs.items()}
    best = min(modes, key=times.get)
    import torch
    measure.write("train", {
        "what": "time to equal validation log loss, DCN-v2", "rows": options.rows, "epochs": options.epochs, "workers": options.workers, "threads": 1,
        "batch": body["batch"]["global"], "repetitions": options.repetitions, "target_logloss": target, "final_logloss": finals,
        "ours": times["ours"], "peer": times[best], "peer_mode": best, "ratio": times[best] / times["ours"],
        "seconds": {k: {"median": times[k], "best": min(time_to(r, target) for r in v), "worst": max(time_to(r, target) for r in v)} for k, v in runs.items()},
        "samples_per_second": {k: {"median": rates[k], "best": max(r["samples_per_second"] for r in v), "worst": min(r["samples_per_second"] for r in v)} for k, v in runs.items()},
        "samples_ratio": rates["ours"] / max(rates[m] for m in modes), "versions": {"torch": torch.__version__, "python": sys.version.split()[0]},
        "busy_before": {k: max(r["busy"] for r in v) for k, v in runs.items()},
    })
    print(f"peer {best}: time ratio {times[best] / times['ours']:.2f}, samples ratio {rates['ours'] / max(rates[m] for m in modes):.2f}")
    return 0


sys.exit(main())
