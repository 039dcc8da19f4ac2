#!/usr/bin/env python3
"""Takes clusters down, with whatever a crash left of them.

usage: tests/cluster/down.py [NAME … | --all | --orphans]      (default: dev)

What a killed script left (--orphans) is removed in any case.
"""
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from cluster import record  # noqa: E402
from cluster.host import say  # noqa: E402


def main(arguments):
    if any(a in ("-h", "--help") for a in arguments):
        print(__doc__.strip())
        return
    record.remove_orphans(say)
    if arguments == ["--orphans"]:
        return
    found = record.records() if arguments == ["--all"] else [record.Record.load(name) for name in arguments or ["dev"]]
    for known, name in zip(found, arguments or ["dev"]):
        if known is None:
            say(f"there is no cluster {name}")
    for known in found:
        if known:
            record.remove(known)
            left = record.leftovers(known)
            if left:
                sys.exit(f"cluster {known.name}: these could not be removed: {'; '.join(left)}")
            say(f"{known.name} is gone")


if __name__ == "__main__":
    main(sys.argv[1:])
