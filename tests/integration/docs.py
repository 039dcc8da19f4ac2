#!/usr/bin/env python3
"""Runs the examples of the documentation: each page's marked blocks, in order, in a temporary folder of its own.

What a page may say in HTML comments, which readers do not see:
  <!-- run -->          the fenced block below is executed; it must end with 0
  <!-- run exit=65 -->  … with 65
  <!-- setup            the lines up to --> are executed, too
  <!-- file NAME -->    the fenced block below is written to that file
  <!-- needs s3 -->     the page gets an S3 server (versitygw) with the bucket ml-artifacts; without it the page is skipped

The folder holds examples/ and build/ as the checkout does; build/bin is on the PATH; what a block exports or where it
changes to holds for the following ones, as in one terminal. A block that fails ends its page.

usage: docs.py [PAGE…]      (default: all pages of docs/)
"""
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests" / "harness"))
import yard  # noqa: E402
from versitygw import Versitygw  # noqa: E402

CASES = yard.Cases()
TIMEOUT = 300
# What one terminal keeps from one command to the next; written also when the block fails or exits.
SHELL = 'trap \'{ export -p; declare -f; } >"$DOCS_STATE/env"; pwd >"$DOCS_STATE/cwd"\' EXIT\n[ -e "$DOCS_STATE/env" ] && . "$DOCS_STATE/env"\nset -e\n'


def blocks(text):
    """(line, expected exit code, commands) in the order of the page."""
    pattern = r"<!-- setup\n(?P<setup>.*?)-->|<!-- run(?: exit=(?P<exit>\d+))? -->\s*```sh\n(?P<sh>.*?)^```"
    pattern += r"|<!-- file (?P<file>[\w.-]+) -->\s*```\w+\n(?P<text>.*?)^```|(?P<stray><!-- (?:run|file))"
    for m in re.finditer(pattern, text, re.M | re.S):
        line = text.count("\n", 0, m.start()) + 1
        if m["stray"]:
            yield line, 0, None
        elif m["file"]:
            yield line, 0, f"cat > {m['file']} <<'END OF FILE'\n{m['text']}END OF FILE\n"
        else:
            yield line, int(m["exit"] or 0), m["setup"] or m["sh"]


def run_page(page, text, environment):
    name = os.path.relpath(page, ROOT)
    with tempfile.TemporaryDirectory(prefix="trainyard-docs-") as folder:
        work, state = Path(folder) / "work", Path(folder) / "state"
        work.mkdir()
        state.mkdir()
        (work / "examples").symlink_to(ROOT / "examples")
        (work / "build").symlink_to(yard.BUILD)
        environment = {**os.environ, **environment, "PATH": f"{yard.BIN}:{os.environ['PATH']}", "DOCS_STATE": str(state),
                       "XDG_STATE_HOME": str(state / "xdg"), "BASH_ENV": ""}
        environment.pop("TRAINYARD_STORE", None)
        for line, expected, commands in blocks(text):
            if commands is None:
                CASES.check(f"{name}:{line}", False, "the mark is not followed by a fenced block")
                continue
            cwd = (state / "cwd").read_text().strip() if (state / "cwd").exists() else str(work)
            try:
                done = subprocess.run(["bash", "-c", SHELL + commands], cwd=cwd, env=environment, stdin=subprocess.DEVNULL, text=True,
                                      stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=TIMEOUT)
                code, shown = done.returncode, done.stdout
            except subprocess.TimeoutExpired as e:
                code, shown = f"none within {TIMEOUT} s", (e.stdout or b"").decode(errors="replace")
            if os.environ.get("DOCS_SHOW"):
                print("".join(f"$ {c}\n" for c in commands.splitlines()) + shown, flush=True)
            if not CASES.equal(f"{name}:{line}", code, expected):
                print(f"--- the block\n{commands}--- what it said\n{shown[-4000:]}", flush=True)
                return


def main(pages):
    for page in pages:
        text = page.read_text()
        if "<!-- run" not in text:
            continue
        if "<!-- needs s3 -->" not in text:
            run_page(page, text, {})
            continue
        with tempfile.TemporaryDirectory(prefix="trainyard-docs-s3-") as folder:
            try:
                server = Versitygw(Path(folder) / "s3")
            except FileNotFoundError as e:
                CASES.skip(os.path.relpath(page, ROOT), str(e))
                continue
            with server:
                server.make_bucket("ml-artifacts")
                run_page(page, text, server.environment)


main([Path(p).resolve() for p in sys.argv[1:]] or sorted((ROOT / "docs").rglob("*.md")))
sys.exit(CASES.finish())
