#!/usr/bin/env python3
"""Checks the layers (docs/architecture.md) against the Makefile's table.

Every #include "…" in common, operator, stages and examples names a header from the root, in a layer which
the including layer may stand on. operator and stages never include each other. The planner's library
(the argument) uses no symbol that reads a clock, randomness, the environment, or does input and output.

usage: lint-includes.py LIBPIPELINE.A
"""
import re
import subprocess
import sys

# What a pure function has no use for; full match against the undefined symbols of libpipeline.a.
FORBIDDEN = re.compile(
    r"time|clock_\w+|gettimeofday|timespec_get|nanosleep|usleep|sleep|ftime"
    r"|rand\w*|srand\w*|drand48|lrand48|getrandom|getentropy|arc4random\w*|random\w*"
    r"|(secure_)?getenv|setenv|putenv|environ"
    r"|f?open(at)?(64)?|creat(64)?|close|p?(read|write)v?(64)?|f?(read|write)|fdopen|tmpfile(64)?|stat(64|x)?|[fl]stat(64)?"
    r"|f?printf|vf?printf|dprintf|puts?|fputs?|putchar|fputc|f?getc|fgets|getline|stdin|stdout|stderr|perror"
    r"|unlink(at)?|rename(at)?|mkdir(at)?|opendir|readdir(64)?|link(at)?|mmap(64)?"
    r"|socket|connect|accept4?|bind|listen|send(to|msg)?|recv(from|msg)?|getaddrinfo|curl_\w+"
    r"|fork|exec\w+|posix_spawnp?|system|popen|kill|raise|signal|sigaction|pthread_create"
    r"|fs_\w+|log_\w+|clock_system|sha256_file|json_parse_file|failpoint|cli_\w+|yaml_parser_set_input_file"
)
# Arithmetic on times, without a clock.
PURE = {"clock_format_rfc3339", "clock_parse_rfc3339", "clock_days_from_civil", "clock_civil_from_days", "clock_parse_duration"}


def layers():
    """name → (folder, set of layers it may include)"""
    text = subprocess.run(["make", "--no-print-directory", "-s", "print-layers"], check=True, capture_output=True, text=True).stdout
    table = {}
    for line in text.splitlines():
        name, folder, needs, _ = line.split("|")
        table[name] = (folder, set(needs.split()))
    return table


def layer_of(path, table):
    best = None
    for name, (folder, _) in table.items():
        if path.startswith(folder + "/") and (best is None or len(folder) > len(table[best][0])):
            best = name
    return best


def check_includes(table):
    problems = []
    files = subprocess.run(
        ["git", "ls-files", "common", "operator", "stages", "examples"], check=True, capture_output=True, text=True
    ).stdout.split()
    sources = [f for f in files if re.search(r"\.(c|h|cc|cu)$", f)]
    known = set(files)
    for path in sources:
        mine = layer_of(path, table)
        if mine is None and not path.startswith("examples/"):
            problems.append(f"{path}: belongs to no layer of the Makefile (DIR_…)")
            continue
        with open(path, encoding="utf-8") as text:
            for number, line in enumerate(text, 1):
                match = re.match(r'\s*#\s*include\s+"([^"]+)"', line)
                if not match:
                    continue
                name = match.group(1)
                where = f"{path}:{number}"
                theirs = layer_of(name, table)
                if theirs is None:
                    # Generated headers have no folder of a layer; they hold data only.
                    if not name.startswith(("generated/", "examples/")):
                        problems.append(f'{where}: "{name}" is in no layer: include from the root, as "common/base/err.h"')
                    continue
                if name not in known:
                    problems.append(f'{where}: "{name}" does not exist in the repository')
                if mine and theirs not in table[mine][1]:
                    allowed = " ".join(sorted(table[mine][1]))
                    problems.append(f'{where}: layer {mine} may not include "{name}" of layer {theirs} (allowed: {allowed})')
                pair = {path.split("/")[0], name.split("/")[0]}
                if pair == {"operator", "stages"}:
                    problems.append(f'{where}: operator and stages never include each other: "{name}"')
    return len(sources), problems


def check_purity(library):
    symbols = subprocess.run(["nm", "-A", library], check=True, capture_output=True, text=True).stdout
    problems, used = [], 0
    for line in symbols.splitlines():
        match = re.match(r".*:([^:]+):\s+U (\S+)$", line)
        if match:
            used += 1
            name = match.group(2).split("@")[0]
            if FORBIDDEN.fullmatch(name) and name not in PURE:
                problems.append(f"{library}({match.group(1)}): uses {name}: the planner has no clock, randomness, environment, input or output")
    if not used:
        problems.append(f"{library}: no symbols found; is it built?")
    return problems


def main():
    table = layers()
    n, problems = check_includes(table)
    problems += check_purity(sys.argv[1])
    for problem in problems:
        print(problem)
    print(f"{n} sources of {len(table)} layers, {len(problems)} problems")
    return 1 if problems else 0


sys.exit(main())
