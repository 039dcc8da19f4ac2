#!/usr/bin/env python3
"""The parts of the documentation that are made from the programs, the schema and the headers.

Without --check: writes docs/reference/{cli,manifest,limits,operator,operator-metrics,chart-values}.md and build/man/*.1. With --check: writes nothing into the
tree; fails when a page differs from what would be written, when docs/reference/metrics.md and the code name different
values, when a man page does not render, or when a relative link of a page leads nowhere.

usage: docs.py [--check]
"""
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import chartvalues

ROOT = Path(__file__).resolve().parents[2]
BUILD = ROOT / os.environ.get("BUILD", "build")
BIN = BUILD / "bin"
REFERENCE = ROOT / "docs" / "reference"
STAGES = ["data-validate", "featurize", "train-ddp", "evaluate", "register"]


def output(*command):
    return subprocess.run([str(c) for c in command], check=True, capture_output=True, text=True).stdout


# --- cli.md ------------------------------------------------------------------------------------------


def demoted(text, levels):
    """Headings pushed down by so many levels; fenced blocks are left alone."""
    lines, fenced = [], False
    for line in text.splitlines():
        fenced ^= line.startswith("```")
        lines.append("#" * levels + line if line.startswith("#") and not fenced else line)
    return "\n".join(lines)


def options_of(text):
    return [line for line in text.splitlines() if line.startswith("| `")]


def cli_page():
    stages = {name: output(BIN / name, "--help-markdown") for name in STAGES}
    every = [o for o in options_of(stages[STAGES[0]]) if all(o in options_of(text) for text in stages.values())]
    head = ["| Option | Meaning |", "|---|---|"]
    page = ["# Commands", "", "Made from the programs by `make docs`; do not edit. Each page is also a man page: `man build/man/trainyard-run.1`.", "",
            "- [trainyard](#trainyard), the command", "- [Stage programs](#stage-programs), which it starts, and which run by hand too",
            "- [artifact](#artifact), the helper of container steps", "", demoted(output(BIN / "trainyard", "docs", "cli").strip(), 1), "",
            "## Stage programs", "",
            "Every stage takes what the [step contract](step-contract.md) gives it from the environment. By hand it needs `--config`, its `--input`s and `--output`.", "",
            *head, *every, ""]
    for name, text in stages.items():
        own = [o for o in options_of(text) if o not in every]
        prose = text[:text.index("| Option |")].strip()
        page += [demoted(prose, 2), "", *([*head, *own, ""] if own else [])]
    page += [demoted(output(BIN / "artifact", "--help-markdown").strip(), 1), ""]
    return re.sub(r"\n{3,}", "\n\n", "\n".join(page))


# --- operator.md -------------------------------------------------------------------------------------


def operator_page():
    text = output(BIN / "trainyard-operator", "--help-markdown").strip()
    head = ["# The operator's options", "", "Made from the program by `make docs`; do not edit. The chart sets what it needs from its values; `extraArgs` takes the rest.", ""]
    return "\n".join(head) + demoted(text, 1) + "\n"


# --- operator-metrics.md --------------------------------------------------------------------------------


def operator_metrics_page():
    """The charts' dashboards and rules may name no other."""
    table = output(BIN / "trainyard-operator", "--metrics-markdown")
    head = ["# The operator's metrics", "", "Made from the program by `make docs`; do not edit. They are served at `/metrics` of the operator's port `metrics`, in Prometheus' text format,",
            "beside `process_cpu_seconds_total` and `process_resident_memory_bytes`. What a training reports of itself is in [values and progress](metrics.md).", ""]
    return "\n".join(head) + "\n" + table


def check_charts():
    """Each metric that a rule or dashboard of the chart asks for is one of the operator's."""
    known = set(re.findall(r"^\| `(\w+)` \|", operator_metrics_page(), re.M))
    problems = []
    for path in sorted((ROOT / "charts").rglob("*")):
        if path.suffix in (".yaml", ".json", ".tpl"):
            names = set(re.findall(r"\btrainyard_[a-z_]*[a-z]\b", path.read_text()))
            problems += [f"{path.relative_to(ROOT)}: the operator has no metric {n}" for n in sorted(names)
                         if re.sub(r"_(bucket|sum|count)$", "", n) not in known]
    return problems


# --- chart-values.md -------------------------------------------------------------------------------------


def chart_values_page():
    chart = ROOT / "charts/trainyard"
    values = json.loads(output(BUILD / "tools/yaml-json", chart / "values.yaml"))
    try:
        return chartvalues.page(values, json.loads((chart / "values.schema.json").read_text()))
    except chartvalues.ValuesError as error:
        sys.exit("".join(f"docs: charts/trainyard/{line}\n" for line in str(error).splitlines()).rstrip())


# --- limits.md ----------------------------------------------------------------------------------------


def amount(name, expression):
    value = 1
    for factor in expression.split("*"):
        value *= int(factor)
    if name.endswith("_BYTES"):
        for unit, size in (("MiB", 2**20), ("KiB", 2**10)):
            if value % size == 0:
                return f"{value // size} {unit}"
        return f"{value:,} bytes"
    return f"{value:,}"


def limits_page():
    page = ["# Limits", "",
            "Made from `common/base/limits.h` by `make docs`; do not edit. Every buffer, list and document has a maximum. Beyond it comes an error that names it;",
            "nothing is cut silently. Raising one means building again.", "", "| name | maximum | of what |", "|---|---|---|"]
    header = (ROOT / "common/base/limits.h").read_text()
    found = re.findall(r"^    LIMIT_(\w+) = ([\d *]+), +/\* (.+?) \*/$", header, re.M)
    if len(found) != header.count("LIMIT_"):
        sys.exit(f"docs: common/base/limits.h: {header.count('LIMIT_')} limits, but {len(found)} lines of the form LIMIT_NAME = number, /* what */")
    page += [f"| `{name}` | {amount(name, value)} | {what} |" for name, value, what in found]
    return "\n".join(page) + "\n"


# --- metrics.md: written by hand, compared with what the code emits --------------------------------------


def emitted(pattern, *folders):
    names = set()
    for folder in folders:
        for path in (ROOT / folder).glob("*.c"):
            names.update(re.findall(pattern, path.read_text()))
    return names


def check_metrics():
    """Each value or metric in the code is a row of the page and the other way round; <metric> names are built, so not found by name."""
    stages = [f"stages/{s}" for s in STAGES]
    values = emitted(r'stage_value_\w+\([^,]+, "([a-z0-9_]+)"', *stages)
    metrics = emitted(r'json_add_\w+\(m, "([a-z0-9_]+)"', "stages/train-ddp")
    text = (REFERENCE / "metrics.md").read_text()
    problems = []
    for title, code in (("## Values", values), ("## Progress", metrics)):
        section = text[text.index(title):]
        section = section[:section.find("\n## ", 1)] if "\n## " in section[1:] else section
        page = set(re.findall(r"^\| (?:[\w-]+ \| )?`([a-z0-9_]+)` \|", section, re.M))
        problems += [f"docs/reference/metrics.md, {title[3:]}: the code emits {n}, the page does not have it" for n in sorted(code - page)]
        problems += [f"docs/reference/metrics.md, {title[3:]}: the page has {n}, the code does not emit it" for n in sorted(page - code)]
    return problems


# --- links -------------------------------------------------------------------------------------------------


def anchors(text):
    """The anchors of headings as forges make them."""
    found = set()
    for heading in re.findall(r"^#+ (.+)$", re.sub(r"^```.*?^```", "", text, flags=re.M | re.S), re.M):
        plain = re.sub(r"[`\\*]|\[([^]]*)\]\([^)]*\)", lambda m: m.group(1) or "", heading).lower()
        found.add(re.sub(r"[^\w\- ]", "", plain).strip().replace(" ", "-"))
    return found


def check_links():
    problems = []
    for page in [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]:
        text = re.sub(r"^```.*?^```", "", page.read_text(), flags=re.M | re.S)
        for target in re.findall(r"\]\(([^)\s]+)\)", text):
            if re.match(r"[a-z]+:", target):
                continue
            path, _, anchor = target.partition("#")
            file = (page.parent / path).resolve() if path else page
            where = f"{page.relative_to(ROOT)}: link to {target}"
            if not file.exists():
                problems.append(f"{where}: there is no such file")
            elif anchor and file.suffix == ".md" and anchor not in anchors(file.read_text()):
                problems.append(f"{where}: {file.name} has no heading of that name")
    return problems


# --- man pages --------------------------------------------------------------------------------------------


def write_man(folder):
    folder.mkdir(parents=True, exist_ok=True)
    subprocess.run([str(BIN / "trainyard"), "docs", "man", str(folder)], check=True)
    for name in [*STAGES, "artifact", "trainyard-operator"]:
        (folder / f"{name}.1").write_text(output(BIN / name, "--help-man"))
    for command in ("fetch", "publish", "checkpoint"):
        (folder / f"artifact-{command}.1").write_text(output(BIN / "artifact", command, "--help-man"))


def check_man(folder):
    if not shutil.which("man"):
        return []
    problems = []
    for page in sorted(folder.glob("*.1")):
        shown = subprocess.run(["man", "--warnings", "-E", "UTF-8", "-l", str(page)], capture_output=True, text=True,
                               env={**os.environ, "LC_ALL": "C.UTF-8", "MANWIDTH": "100"})
        if shown.returncode != 0 or shown.stderr.strip() or "SYNOPSIS" not in shown.stdout:
            problems.append(f"{page.name} does not render cleanly: exit {shown.returncode} {shown.stderr.strip()}")
    return problems


def main(check):
    pages = {"cli.md": cli_page(), "manifest.md": output(BIN / "trainyard", "docs", "manifest"), "operator-metrics.md": operator_metrics_page(), "limits.md": limits_page(), "operator.md": operator_page(),
             "chart-values.md": chart_values_page()}
    if not check:
        REFERENCE.mkdir(parents=True, exist_ok=True)
        for name, text in pages.items():
            (REFERENCE / name).write_text(text)
        write_man(BUILD / "man")
        print(f"docs: {', '.join(pages)} in docs/reference; man pages in {os.path.relpath(BUILD / 'man', ROOT)}")
        return 0
    problems = []
    for name, text in pages.items():
        path = REFERENCE / name
        if not path.exists() or path.read_text() != text:
            problems.append(f"docs/reference/{name} is stale: run make docs")
    with tempfile.TemporaryDirectory() as folder:
        write_man(Path(folder))
        problems += check_man(Path(folder))
    problems += check_metrics() + check_charts() + check_links()
    print("\n".join(problems) if problems else "docs: pages are fresh, names agree, links lead somewhere")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main("--check" in sys.argv[1:]))
