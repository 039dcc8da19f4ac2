#!/usr/bin/env python3
"""The images' names and digests as values of the chart: `helm install -f build/images/digests.yaml`. The digest is that of the
image's manifest in its archive, which a registry keeps when the archive is copied as it is (skopeo, crane).

usage: images/digests.py PREFIX VERSION ARCHIVE… > FILE
"""
import json
import os
import sys
import tarfile


def digest_of(path):
    with tarfile.open(path) as archive:
        return json.load(archive.extractfile("index.json"))["manifests"][0]["digest"]


def main():
    prefix, version, *archives = sys.argv[1:]
    print("images:")
    for path in archives:
        name = os.path.basename(path).removesuffix(".tar")
        print(f'  {name}: {{repository: "{prefix}{name}", tag: "{version}", digest: "{digest_of(path)}"}}')


main()
