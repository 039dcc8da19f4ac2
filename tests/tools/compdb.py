#!/usr/bin/env python3
"""Writes compile_commands.json from what make would run for everything that is built."""
import json
import os
import re
import subprocess

root = os.getcwd()
commands = subprocess.run(
    ["make", "--no-print-directory", "-nB", "V=1", "all", "unit-tests"],
    check=True, capture_output=True, text=True,
).stdout
entries = []
for line in commands.splitlines():
    match = re.search(r"\s-c (\S+\.(?:c|cc)) -o \S+$", line)
    if match:
        entries.append({"directory": root, "file": match.group(1), "command": line.strip().replace(" -MMD -MP", "")})
entries.sort(key=lambda entry: entry["file"])
with open("compile_commands.json", "w", encoding="utf-8") as out:
    json.dump(entries, out, indent=1)
    out.write("\n")
print(f"compile_commands.json: {len(entries)} files")
