#!/usr/bin/env python3
"""What an image is made of, as SPDX 2.3 JSON: our program, the Debian packages of whose files it has some, and libraries that
are no Debian package. Read from the layers' own records (images/rootfs.sh), so it says what is there and not what was meant.

usage: images/sbom.py IMAGE VERSION CREATED LAYER-DIR… > FILE
"""
import glob
import hashlib
import json
import os
import platform
import sys

NOT_DEBIAN = {"libduckdb.so": ("duckdb", "MIT", os.environ.get("DUCKDB_VERSION", ""))}


def sha256(path):
    with open(path, "rb") as file:
        return hashlib.sha256(file.read()).hexdigest()


def fields(path):
    """The single-line fields of a Debian package record."""
    with open(path, encoding="utf-8") as file:
        return dict(line.rstrip("\n").split(": ", 1) for line in file if line[:1] not in " \n" and ": " in line)


def spdx_id(text):
    return "SPDXRef-" + "".join(c if c.isalnum() or c in ".-" else "-" for c in text)


def package(name, version, license_name, **more):
    return {"SPDXID": spdx_id("Package-" + name), "name": name, "versionInfo": version, "downloadLocation": "NOASSERTION",
            "filesAnalyzed": False, "licenseConcluded": "NOASSERTION", "licenseDeclared": license_name,
            "copyrightText": "NOASSERTION", **more}


def purl(text):
    return [{"referenceCategory": "PACKAGE-MANAGER", "referenceType": "purl", "referenceLocator": text}]


def debian(layer, record, release):
    f = fields(record)
    name, version = f["Package"], f["Version"]
    source = f.get("Source", name).split(" ")[0]
    locator = f"pkg:deb/debian/{name}@{version.replace('+', '%2B')}?arch={f['Architecture']}&distro=debian-{release}"
    more = {"supplier": "Organization: Debian", "externalRefs": purl(locator), "sourceInfo": f"built from the source package {source}"}
    copyright_file = f"{layer}/usr/share/doc/{name}/copyright"
    if os.path.exists(copyright_file):
        more["licenseComments"] = f"in the image: /usr/share/doc/{name}/copyright"
    if "Homepage" in f:
        more["homepage"] = f["Homepage"]
    return package(name, version, "NOASSERTION", **more)


def main():
    image, version, created, *layers = sys.argv[1:]
    release = next(line.split("=")[1].strip().strip('"') for layer in layers if os.path.exists(f"{layer}/etc/os-release")
                   for line in open(f"{layer}/etc/os-release", encoding="utf-8") if line.startswith("VERSION_ID="))
    packages = []
    for layer in layers:
        for record in sorted(glob.glob(f"{layer}/var/lib/dpkg/status.d/*")):
            packages.append(debian(layer, record, release))
        for path in sorted(glob.glob(f"{layer}/usr/bin/*")):
            packages.append(package(os.path.basename(path), version, "Apache-2.0", supplier="Organization: Trainyard",
                                    checksums=[{"algorithm": "SHA256", "checksumValue": sha256(path)}]))
        for path in sorted(glob.glob(f"{layer}/usr/lib/*.so")):
            name, license_name, its_version = NOT_DEBIAN[os.path.basename(path)]
            packages.append(package(name, its_version or "NOASSERTION", license_name,
                                    checksums=[{"algorithm": "SHA256", "checksumValue": sha256(path)}],
                                    externalRefs=purl(f"pkg:github/duckdb/duckdb@v{its_version}") if its_version else []))
    whole = package("trainyard-" + image, version, "Apache-2.0", supplier="Organization: Trainyard",
                    primaryPackagePurpose="CONTAINER")
    whole["SPDXID"] = spdx_id("Image-" + image)  # the operator's program is called as its image
    content = hashlib.sha256(json.dumps(packages, sort_keys=True).encode()).hexdigest()
    json.dump({
        "spdxVersion": "SPDX-2.3", "dataLicense": "CC0-1.0", "SPDXID": "SPDXRef-DOCUMENT", "name": "trainyard-" + image,
        "documentNamespace": f"https://trainyard.dev/spdx/{image}-{version}-{platform.machine()}-{content[:32]}",
        "creationInfo": {"created": created, "creators": ["Tool: images-sbom.py", "Organization: Trainyard"]},
        "packages": [whole] + packages,
        "relationships": [{"spdxElementId": "SPDXRef-DOCUMENT", "relationshipType": "DESCRIBES", "relatedSpdxElement": whole["SPDXID"]}] +
                         [{"spdxElementId": whole["SPDXID"], "relationshipType": "CONTAINS", "relatedSpdxElement": p["SPDXID"]}
                          for p in packages],
    }, sys.stdout, indent=1)
    print()


main()
