#!/usr/bin/env python3
"""What a node pulls for each image: compressed layers and configuration of OCI archives, in MB (10^6 bytes). An image above
its bound: exit 1.

usage: images/sizes.py ARCHIVE…
"""
import json
import os
import sys
import tarfile

BOUNDS = {"operator": 12, "artifact": 12, "evaluate": 55}  # MB
OTHERS = 45


def blob(archive, digest):
    return json.load(archive.extractfile("blobs/" + digest.replace(":", "/")))


def layers(path):
    """The image's compressed layers as (digest, bytes), and the bytes of its configuration."""
    with tarfile.open(path) as archive:
        index = json.load(archive.extractfile("index.json"))
        manifest = blob(archive, index["manifests"][0]["digest"])
    return [(layer["digest"], layer["size"]) for layer in manifest["layers"]], manifest["config"]["size"]


def main():
    images = {os.path.basename(path).removesuffix(".tar"): layers(path) for path in sys.argv[1:]}
    if not images:
        return 0
    users = {}
    for found, _ in images.values():
        for digest, _ in found:
            users[digest] = users.get(digest, 0) + 1
    above = []
    print(f"{'image':<15} {'MB':>7} {'at most':>8}  of which own   layers")
    for name, (found, config) in images.items():
        own = sum(size for digest, size in found if users[digest] == 1)
        total = sum(size for _, size in found) + config
        bound = BOUNDS.get(name, OTHERS)
        if total >= bound * 1e6:
            above.append(f"{name}: {total / 1e6:.2f} MB, expected less than {bound}")
        print(f"{name:<15} {total / 1e6:7.2f} {bound:8} {own / 1e6:14.2f}   {' + '.join(f'{size / 1e6:.2f}' for _, size in found)}")
    together = sum({digest: size for found, _ in images.values() for digest, size in found}.values())
    print(f"{'all on one node':<15} {together / 1e6:7.2f}")
    for line in above:
        print("image-sizes: " + line, file=sys.stderr)
    return 1 if above else 0


sys.exit(main())
