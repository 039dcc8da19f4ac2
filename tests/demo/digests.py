#!/usr/bin/env python3
"""Equal in, equal out: the same pipeline gives the same artifact digests in repetitions, with 1, 2 and 5 engine threads, on
an s3:// store served by versitygw, and from a clone in another folder.

usage: digests.py [--repetitions 3] [--rows 100000] [--out build/digests] [--no-clone]
"""
import argparse
import os
import re
import subprocess
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "harness"))
import yard  # noqa: E402
from versitygw import Versitygw  # noqa: E402

parser = argparse.ArgumentParser()
parser.add_argument("--repetitions", type=int, default=3)
parser.add_argument("--rows", type=int, default=100000)
parser.add_argument("--out", default=str(yard.BUILD / "digests"))
parser.add_argument("--no-clone", action="store_true", help="leave out the build in another folder")
options = parser.parse_args()
OUT = yard.fresh(options.out)
CASES = yard.Cases()


def run(name, store, pipeline=yard.PIPELINE, env=None):
    args = yard.run_arguments("click-ranker", OUT / "clicks", store, OUT / "secrets", {"minAuc": "0.5"})
    args[1] = pipeline
    process = yard.trainyard(*args, check=False, env=env)
    if not CASES.check(f"{name} succeeds", process.returncode == 0, "" if process.returncode == 0 else process.stderr[-1500:]):
        return None
    record = yard.get_run("click-ranker", store, env)
    return {s["name"]: s["outputs"] for s in record["steps"] if s["name"] != "register"}


def compare(name, found, expected):
    if found is None:
        return
    different = [f"{step}: expected {d}, found {found.get(step)}" for step, d in expected.items() if found.get(step) != d]
    CASES.check(f"{name} gives equal digests", not different, "; ".join(different))


def with_threads(n):
    """The pipeline with n engine threads in the steps that use DuckDB; training keeps its own."""
    text = yard.PIPELINE.read_text()
    path = OUT / f"threads-{n}.yaml"
    path.write_text(re.sub(r'resources: \{cpu: "[0-9]+", memory: 700Mi\}', f'resources: {{cpu: "{n}", memory: 700Mi}}', text))
    return path


def main():
    yard.signing_key(OUT / "secrets")
    yard.generate(OUT / "clicks", options.rows)
    expected = run("the first run", f"file://{OUT}/store-0")
    if expected is None:
        return
    CASES.check("every step has an output", all(expected.values()), str(expected))
    for i in range(1, options.repetitions):
        compare(f"repetition {i}", run(f"repetition {i}", f"file://{OUT}/store-{i}"), expected)
    for n in (1, 2, 5):
        compare(f"{n} engine threads", run(f"{n} engine threads", f"file://{OUT}/store-t{n}", with_threads(n)), expected)
    try:
        server = Versitygw(OUT / "s3")
    except FileNotFoundError as e:
        CASES.skip("an s3:// store", str(e))
        server = None
    if server:
        with server:
            server.make_bucket("artifacts")
            env = {**server.environment, "XDG_STATE_HOME": str(OUT / "state")}
            compare("an s3:// store", run("an s3:// store", "s3://artifacts/demo", env=env), expected)
    if not options.no_clone:
        clone = OUT / "another" / "folder"
        subprocess.run(["git", "clone", "-q", str(yard.ROOT), str(clone)], check=True)
        subprocess.run(["make", "-s", "-C", str(clone), "-j2", "programs"], check=True, stdout=subprocess.DEVNULL,
                       env={k: v for k, v in os.environ.items() if k not in ("BUILD", "MAKEFLAGS", "MFLAGS")})
        yard.BIN = clone / "build" / "bin"
        compare("a clone in another folder", run("a clone in another folder", f"file://{OUT}/store-clone", clone / "examples/click-ranker/pipeline.yaml"), expected)


try:
    main()
except (subprocess.SubprocessError, KeyError, OSError, ValueError) as e:
    CASES.check("the comparison runs to its end", False, f"{type(e).__name__}: {e}")
sys.exit(CASES.finish())
