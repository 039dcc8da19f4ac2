#!/usr/bin/env python3
"""The main job, shown: raw click logs to a registered model, then everything that follows in daily life.

Generates click logs with a known ground truth, runs examples/click-ranker, runs it again (nothing to do), changes one training
parameter (only training and what follows works), promotes, has a worse candidate stopped by the gate, rolls back.
Prints what it does and writes <out>/summary.json. Exits non-zero when something shown does not hold.

usage: demo.py [--out build/demo] [--rows 1000000] [--s3]
"""
import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "harness"))
import yard  # noqa: E402

parser = argparse.ArgumentParser()
parser.add_argument("--out", default=str(yard.BUILD / "demo"))
parser.add_argument("--rows", type=int, default=1000000)
parser.add_argument("--s3", action="store_true", help="keep artifacts in an S3 server (versitygw) started for the demo")
options = parser.parse_args()

OUT = yard.fresh(options.out)
STORE = "s3://artifacts/demo" if options.s3 else f"file://{OUT}/store"
CASES = yard.Cases()


def heading(text):
    print(f"\n== {text}", flush=True)


def timed_run(name, params=None, extra=()):
    """One `trainyard run` shown live; (record, seconds, peak MiB)."""
    begin = time.monotonic()
    process = yard.start(yard.run_arguments(name, OUT / "clicks", STORE, OUT / "secrets", params, extra))
    watch = yard.Watch(process.pid)
    code = process.wait()
    seconds, peak = time.monotonic() - begin, watch.stop()
    CASES.equal(f"run {name} ends well", code, 0)
    return yard.get_run(name, STORE), seconds, peak


def steps_of(record):
    """name, state, cached (the planner's cache) or memoised (the stage's), working means it did the work."""
    return [{"name": s["name"], "state": s["state"], "cached": s["cached"]} for s in record["steps"]]


def worked(record):
    return [s["name"] for s in steps_of(record) if not s["cached"] and s["state"] == "Succeeded"]


def values(record, step):
    return next(s for s in record["steps"] if s["name"] == step).get("values", {})


def reports(record):
    return [r for s in record["steps"] for r in s.get("reports", [])]


def versions():
    return json.loads(yard.trainyard("models", "show", "click-ranker", "--store", STORE, "-o", "json").stdout)["versions"]


def show(*command):
    print("$ trainyard " + " ".join(map(str, command)), flush=True)
    print(yard.trainyard(*command, "--store", STORE).stdout, flush=True)


def main():
    heading(f"Generating {options.rows} rows of click logs (31 days)")
    begin = time.monotonic()
    yard.signing_key(OUT / "secrets")
    yard.generate(OUT / "clicks", options.rows, truth=OUT / "truth.json")
    generation = time.monotonic() - begin
    truth = json.loads((OUT / "truth.json").read_text())
    print(f"generated in {generation:.1f} s", flush=True)

    heading("First run: validate, featurize, train on two workers, compare, register")
    first, seconds, peak = timed_run("click-ranker-1")
    ours, linear = values(first, "evaluate"), values(first, "evaluate-logistic")
    registered = values(first, "register")
    summary = {
        "rows": options.rows,
        "version": registered.get("version"),
        "auc": ours["auc"], "auc_logistic": linear["auc"], "auc_best": truth["auc_best"], "auc_random": truth["auc_random"],
        "ndcg10": ours["ndcg_at_10"], "ndcg10_logistic": linear["ndcg_at_10"], "ndcg10_best": truth["ndcg10_best"],
        "ndcg10_random": truth["ndcg10_random"],
        "generation_seconds": round(generation, 2), "run_seconds": round(seconds, 2),
        "wall_seconds": round(generation + seconds, 2), "peak_rss_mib": round(peak, 1), "steps": steps_of(first),
    }
    print("\n              random  logistic     model      best")
    print("AUC          {auc_random:7.4f}   {auc_logistic:7.4f}   {auc:7.4f}   {auc_best:7.4f}".format(**summary))
    print("NDCG@10      {ndcg10_random:7.4f}   {ndcg10_logistic:7.4f}   {ndcg10:7.4f}   {ndcg10_best:7.4f}\n".format(**summary))
    CASES.equal("version 1 is registered", summary["version"], 1)
    if options.rows >= 1000000:  # smaller logs cannot teach the interactions
        CASES.check("best - model is at most 0.01 in AUC", truth["auc_best"] - ours["auc"] <= 0.01, f"{truth['auc_best'] - ours['auc']:.4f}")
        CASES.check("model - logistic is at least 0.05 in AUC", ours["auc"] - linear["auc"] >= 0.05, f"{ours['auc'] - linear['auc']:.4f}")
    for path in reports(first):
        print(f"report: {path}")
        CASES.check("the report is there", not path.startswith("/") or os.path.getsize(path) > 0, os.path.basename(path))

    heading("The same again: nothing is left to do")
    again, seconds, _ = timed_run("click-ranker-2")
    CASES.equal("no step worked again", worked(again), [])
    CASES.equal("the version is the same", values(again, "register").get("version"), 1)
    summary["again"] = {"wall_seconds": round(seconds, 3), "steps": steps_of(again)}
    print(f"the second run took {seconds:.2f} s")

    heading("One training parameter changed: only training and what follows works")
    changed, seconds, _ = timed_run("click-ranker-3", {"lr": "0.0041"})
    CASES.equal("only train, evaluate and register work", worked(changed), ["train", "evaluate", "register"])
    CASES.equal("it became version 2", values(changed, "register").get("version"), 2)
    summary["changed"] = {"wall_seconds": round(seconds, 3), "steps": steps_of(changed)}

    heading("Version 1 goes to production; a worse candidate is stopped by the gate")
    show("models", "promote", "click-ranker", "1", "production", "--why", "first good model")
    worse, _, _ = timed_run("click-ranker-4", {"lr": "0.000005", "minAuc": "0.5", "epochs": "1"})
    gate_passed = values(worse, "evaluate").get("gate_passed")
    CASES.equal("the gate is closed", gate_passed, False)
    CASES.equal("register is skipped", next(s["state"] for s in worse["steps"] if s["name"] == "register"), "Skipped")
    CASES.equal("no third version", [v["version"] for v in versions()], [2, 1])
    summary["gate_stopped_worse"] = gate_passed is False and len(versions()) == 2

    heading("Version 2 to production, and back")
    show("models", "promote", "click-ranker", "2", "production", "--why", "trained on a new rate")
    show("models", "rollback", "click-ranker", "production", "--why", "clicks fell after the release")
    show("models", "history", "click-ranker", "production")
    history = json.loads(yard.trainyard("models", "history", "click-ranker", "production", "--store", STORE, "-o", "json").stdout)
    CASES.equal("the alias went 1, 2, 1", [h["to"] for h in history], [1, 2, 1])
    show("models", "list")
    show("models", "verify", "click-ranker", "1", "--public-key", OUT / "secrets" / "key.pub")

    (OUT / "summary.json").write_text(json.dumps(summary, indent=2) + "\n")
    print(f"summary: {OUT / 'summary.json'}")
    print(f"generation and first run {summary['wall_seconds']:.1f} s, peak memory {summary['peak_rss_mib']:.0f} MiB, second run {summary['again']['wall_seconds']:.2f} s")


def with_store():
    if not options.s3:
        return main()
    from versitygw import Versitygw
    with Versitygw(OUT / "s3") as server:
        server.make_bucket("artifacts")
        os.environ.update(server.environment, XDG_STATE_HOME=str(OUT / "state"))
        print(f"artifacts go to {STORE} at {server.endpoint}", flush=True)
        return main()


try:
    with_store()
except (subprocess.SubprocessError, KeyError, OSError, ValueError) as e:
    CASES.check("the demo runs to its end", False, f"{type(e).__name__}: {e}")
sys.exit(CASES.finish())
