#!/usr/bin/env python3
"""All end-to-end scenarios on one node: brings it up, loads the images, installs the operator by its chart, and takes all of it
down again. The scenarios are independent scripts; helm.py comes last, for it takes the operator away.

usage: run.py [SCENARIO…]      (names without .py; default: all)
"""
import os
import re
import subprocess
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
import scene  # noqa: E402

HERE = Path(__file__).resolve().parent
# Those of a group run beside each other: they wait for pods most of the time.
GROUPS = [["click-ranker"], ["container", "failures", "security", "gitops"], ["helm"]]


def play(names, cluster):
    running = []
    for name in names:
        log = open(cluster.logs / f"e2e-{name}.log", "w+", encoding="utf-8")  # pylint: disable=consider-using-with
        running.append((name, log, subprocess.Popen([sys.executable, HERE / f"{name}.py"], stdout=log, stderr=subprocess.STDOUT,
                                                    env={**os.environ, "E2E_CLUSTER": cluster.name, "PYTHONUNBUFFERED": "1"})))
    for name, log, process in running:
        code = process.wait()
        log.seek(0)
        text = log.read()
        log.close()
        print(f"--- {name}\n{text}", end="", flush=True)
        yield name, code, text


def main():
    wanted = sys.argv[1:]
    groups = [[n for n in group if not wanted or n in wanted] for group in GROUPS]
    if set(wanted) - {n for group in GROUPS for n in group}:
        sys.exit(f"e2e: no such scenario; there are {', '.join(n for g in GROUPS for n in g)}")
    found = scene.blockers()
    if found:
        print(f"skipped - end-to-end tests: {'; '.join(found)}\n0 passed, 0 failed, 1 skipped")
        return 77
    began, totals, bad = time.monotonic(), [0, 0, 0], []
    with scene.Cluster(node=True) as cluster:
        scene.prepared(cluster, scene.Cases())
        print(f"e2e: node, images and operator are there after {time.monotonic() - began:.0f} s", flush=True)
        for names in groups:
            for name, code, text in play(names, cluster) if names else ():
                counts = re.findall(r"^(\d+) passed, (\d+) failed, (\d+) skipped$", text, re.M)
                totals = [a + int(b) for a, b in zip(totals, counts[-1] if counts else (0, 1, 0))]
                if code not in (0, 77):
                    bad.append(name)
        cluster.keep_logs = bool(bad)
    print(f"e2e: {time.monotonic() - began:.0f} s" + (f"; failed: {', '.join(bad)}" if bad else ""))
    print(f"{totals[0]} passed, {totals[1]} failed, {totals[2]} skipped")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
