#!/usr/bin/env python3
"""What a node pulls for each image: compressed layers and configuration of OCI archives, in MB (10^6 bytes).

usage: images/sizes.py ARCHIVE…
"""
import json
import os
import sys
import tarfile


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
        return
    users = {}
    for found, _ in images.values():
        for digest, _ in found:
            users[digest] = users.get(digest, 0) + 1
    print(f"{'image':<15} {'MB':>7}  of which own   layers")
    for name, (found, config) in images.items():
        own = sum(size for digest, size in found if users[digest] == 1)
        total = sum(size for _, size in found) + config
        print(f"{name:<15} {total / 1e6:7.2f} {own / 1e6:14.2f}   {' + '.join(f'{size / 1e6:.2f}' for _, size in found)}")
    together = sum({digest: size for found, _ in images.values() for digest, size in found}.values())
    print(f"{'all on one node':<15} {together / 1e6:7.2f}")


main()
