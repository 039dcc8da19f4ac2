#!/usr/bin/env python3
"""The health checks for Argo CD in docs/how-to/gitops.md, run by a real Lua on statuses as the operator writes them."""
import re
import shutil
import subprocess
import sys
from pathlib import Path

TESTS = Path(__file__).resolve().parents[1]
ROOT = TESTS.parent
sys.path.insert(0, str(TESTS / "harness"))
from yard import Cases  # noqa: E402

cases = Cases()
PAGE = (ROOT / "docs/how-to/gitops.md").read_text()


def lua_value(value):
    if value is None:
        return "nil"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (int, float)):
        return str(value)
    if isinstance(value, str):
        return '"' + value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n") + '"'
    if isinstance(value, list):
        return "{" + ", ".join(map(lua_value, value)) + "}"
    return "{" + ", ".join(f'["{k}"] = {lua_value(v)}' for k, v in value.items()) + "}"


def script_of(kind):
    block = re.search(rf"^  resource\.customizations\.health\.trainyard\.dev_{kind}: \|\n((?:    .*\n)+)", PAGE, re.M)
    return "".join(line[4:] + "\n" for line in block[1].splitlines())


def health(lua, kind, generation, status):
    program = f"obj = {lua_value({'metadata': {'generation': generation}, 'status': status})}\nlocal function check()\n{script_of(kind)}end\nlocal hs = check()\nprint(hs.status) print(hs.message)\n"
    done = subprocess.run([lua, "-"], input=program, text=True, capture_output=True, timeout=20, check=False)
    return done.stdout.splitlines() if done.returncode == 0 else [done.stderr]


def ready(status, generation, message):
    return {"observedGeneration": generation, "conditions": [{"type": "Ready", "status": status, "observedGeneration": generation, "reason": "Valid", "message": message}]}


def finished(phase, holds, message=None):
    others = [{"type": t, "status": "False", "reason": phase} for t in ("Complete", "Failed")]
    return {"phase": phase, **({"message": message} if message else {}), "conditions": [*others, {"type": "Finished", "status": holds, "reason": phase if holds == "True" else "NotFinished"}]}


def main():
    lua = next((found for name in ("lua5.4", "lua5.3", "lua5.1", "lua") if (found := shutil.which(name))), None)
    if not lua:
        print("no lua (Debian package lua5.4)")
        sys.exit(77)
    failing = {**ready("True", 1, "valid"), "lastRun": {"name": "p-1", "phase": "Failed"}}
    for what, kind, generation, status, expected in (
            ("a pipeline that nobody has looked at", "TrainingPipeline", 1, None, ["Progressing", "waiting for the operator"]),
            ("a valid pipeline", "TrainingPipeline", 1, ready("True", 1, "valid"), ["Healthy", "valid"]),
            ("a valid pipeline whose run failed", "TrainingPipeline", 1, failing, ["Healthy", "valid"]),
            ("an invalid pipeline", "TrainingPipeline", 2, ready("False", 2, "spec.steps[0]: no such step"), ["Degraded", "spec.steps[0]: no such step"]),
            ("a pipeline whose newest spec has not been looked at", "TrainingPipeline", 3, ready("False", 2, "old"), ["Progressing", "waiting for the operator"]),
            ("a run that nobody has looked at", "TrainingRun", 1, None, ["Progressing", "waiting for the operator"]),
            ("a running run", "TrainingRun", 1, finished("Running", "False"), ["Progressing", "Running"]),
            ("a suspended run", "TrainingRun", 1, finished("Suspended", "False"), ["Suspended", "Suspended"]),
            ("a succeeded run", "TrainingRun", 1, finished("Succeeded", "True"), ["Healthy", "Succeeded"]),
            ("a failed run", "TrainingRun", 1, finished("Failed", "True", 'step "train" failed'), ["Degraded", 'step "train" failed']),
            ("a stopped run", "TrainingRun", 1, finished("Stopped", "True"), ["Degraded", "Stopped"])):
        cases.equal(what, health(lua, kind, generation, status), expected)


main()
sys.exit(cases.finish())
