#!/usr/bin/env bash
# Builds the images and looks at what a cluster would get: sizes, configuration, contents; runs every stage as the image's own
# user, and real work in two of them, whose results must be those of the programs outside.
set -u
cd "$(dirname "$0")/../.." || exit 1
BUILD=${BUILD:-build}
why=$(images/able.sh) || { echo "${why:-buildah cannot be used}"; exit 77; }
images=$BUILD/images
dir=$(mktemp -d)
containers=()
make --no-print-directory images >"$dir/log" 2>&1 || { cat "$dir/log"; exit 1; }
make -s "$BUILD/obj/tests/harness/synthetic-features.c.o" >/dev/null || exit 1
# shellcheck source=images/buildah.sh
. images/buildah.sh "$images"
cleanup() {
    for c in "${containers[@]}"; do buildah_here rm "$c" >/dev/null 2>&1; done
    rm -rf "$dir"
}
trap cleanup EXIT
# shellcheck source=tests/harness/check.sh
. tests/harness/check.sh

version=$("$BUILD/bin/trainyard" --version | grep -oE '[0-9]+\.[0-9]+\.[0-9]+')
run() { buildah_here run --isolation chroot --volume "$dir/data:/data" "$container" -- "$@"; }

configured() { # what a container runtime reads from the archive
    python3 - "$images/$1.tar" "$1" "$version" <<'PY'
import json, sys, tarfile
path, stage, version = sys.argv[1:]
with tarfile.open(path) as archive:
    read = lambda digest: json.load(archive.extractfile("blobs/" + digest.replace(":", "/")))
    manifest = read(json.load(archive.extractfile("index.json"))["manifests"][0]["digest"])
    config = read(manifest["config"]["digest"])["config"]
print(json.dumps(config, indent=1))
labels = config["Labels"]
assert config["User"] == "65532", config["User"]
program = "trainyard-operator" if stage == "operator" else stage
assert config["Entrypoint"] == ["/usr/bin/" + program], config["Entrypoint"]
assert not config.get("Cmd"), config["Cmd"]
assert labels["org.opencontainers.image.title"] == "trainyard-" + stage
assert labels["org.opencontainers.image.version"] == version, (labels, version)
assert len(labels["org.opencontainers.image.revision"]) in (7, 40), labels
assert labels["dev.trainyard.sbom"] == f"/usr/share/sbom/{stage}.spdx.json", labels
PY
}

# Stripped; no path of this machine; every shared library recorded by its Debian package (but DuckDB, which is none).
clean_inside() {
    local root program=$1 file bad=0
    root=$(buildah_here mount "$container")
    if readelf -SW "$root/usr/bin/$program" "$root"/usr/lib/*.so* 2>/dev/null | grep -E ' \.(symtab|debug_)'; then bad=1; fi
    for file in "$PWD" "$HOME/" "${TRAINYARD_CACHE:-$HOME/.cache/trainyard}"; do
        if grep -aF "$file" "$root/usr/bin/$program" | strings | grep -F "$file"; then bad=1; fi
    done
    find "$root" -perm /6000 -printf 'set-user-id: %p\n' | grep . && bad=1
    for file in "$root"/var/lib/dpkg/status.d/*; do
        dpkg -L "$(sed -n 's/^Package: //p' "$file"):$(sed -n 's/^Architecture: //p' "$file")"
    done | sed 's|^/lib|/usr/lib|' | sort -u >"$dir/recorded"
    (cd "$root" && find usr/lib usr/lib64 -type f -name '*.so*' ! -name libduckdb.so -printf '/%p\n') | sort >"$dir/libraries"
    [ -s "$dir/libraries" ] || { echo "no library in the image"; return 1; }
    # a library is in the image under its soname, in the package under its full name
    while read -r file; do
        grep -qF "$file" "$dir/recorded" || { echo "no package record for $file"; bad=1; }
    done <"$dir/libraries"
    for file in /etc/ssl/certs/ca-certificates.crt /usr/share/doc/libc6/copyright /usr/share/doc/trainyard/copyright; do
        [ -s "$root$file" ] || { echo "$file is missing"; bad=1; }
    done
    return $bad
}

# The image's own list of packages is the one beside the archive, and names each recorded package and the program as it is.
listed() { # listed STAGE PROGRAM
    local root
    root=$(buildah_here mount "$container")
    cmp "$root/usr/share/sbom/$1.spdx.json" "$images/$1.spdx.json" || return 1
    python3 - "$root" "$1" "$2" "$version" <<'PY'
import glob, hashlib, json, os, sys
root, stage, program, version = sys.argv[1:]
found = json.load(open(f"{root}/usr/share/sbom/{stage}.spdx.json"))
packages = {p["name"]: p for p in found["packages"]}
ids = [p["SPDXID"] for p in found["packages"]]
assert len(set(ids)) == len(ids), "an id stands twice"
assert found["spdxVersion"] == "SPDX-2.3" and found["relationships"][0]["relatedSpdxElement"] == ids[0]
records = {os.path.basename(p) for p in glob.glob(root + "/var/lib/dpkg/status.d/*")}
assert records and records <= set(packages), records - set(packages)
for name in records:
    assert packages[name]["externalRefs"][0]["referenceLocator"].startswith(f"pkg:deb/debian/{name}@"), packages[name]
mine = [p for p in found["packages"] if p["name"] == program and "checksums" in p][0]
assert mine["versionInfo"] == version
with open(f"{root}/usr/bin/{program}", "rb") as file:
    assert mine["checksums"][0]["checksumValue"] == hashlib.sha256(file.read()).hexdigest()
if os.path.exists(root + "/usr/lib/libduckdb.so"):
    assert packages["duckdb"]["versionInfo"] and packages["duckdb"]["licenseDeclared"] == "MIT"
print(len(packages), "packages")
PY
}

# Values for the chart: each image by the digest of its manifest.
digests_named() {
    python3 - "$images" "$version" "${stages[@]}" <<'PY'
import hashlib, json, sys, tarfile
import yaml
images, version, *stages = sys.argv[1:]
values = yaml.safe_load(open(images + "/digests.yaml"))["images"]
assert sorted(values) == sorted(stages), (sorted(values), sorted(stages))
for stage, image in values.items():
    with tarfile.open(f"{images}/{stage}.tar") as archive:
        digest = image["digest"]
        text = archive.extractfile("blobs/" + digest.replace(":", "/")).read()
    assert digest == "sha256:" + hashlib.sha256(text).hexdigest()
    assert "layers" in json.loads(text), "not a manifest"
    assert image["repository"].endswith("trainyard-" + stage) and image["tag"] == version, image
PY
}

bound_holds() { # image-sizes refuses an image above its bound: one whose bound is the smallest, grown by 12 MB of noise
    python3 - "$images/artifact.tar" "$dir/artifact.tar" <<'PY'
import io, json, sys, tarfile
source, target = sys.argv[1:]
with tarfile.open(source) as old, tarfile.open(target, "w") as new:
    index = json.load(old.extractfile("index.json"))
    manifest = "blobs/" + index["manifests"][0]["digest"].replace(":", "/")
    for member in old:
        data = old.extractfile(member) if member.isfile() else None
        if member.name == manifest:
            grown = json.load(data)
            grown["layers"][-1]["size"] += 12_000_000
            text = json.dumps(grown).encode()
            member.size, data = len(text), io.BytesIO(text)
        new.addfile(member, data)
PY
    images/sizes.py "$dir/artifact.tar" && { echo "a grown image passed"; return 1; }
    images/sizes.py "$dir/artifact.tar" 2>&1 | grep 'artifact: .*expected less than 12'
}

starts() {
    run "/usr/bin/$1" --version | tee "$dir/out" && grep -qF "$version" "$dir/out" && run "/usr/bin/$1" --help | grep -i "usage"
}

mkdir -p "$dir/data"
stages=(artifact data-validate featurize train-ddp evaluate register)
if [ -e operator/controller/main.c ]; then stages+=(operator); fi
check "compressed sizes are within their bounds" make --no-print-directory image-sizes
check "an image above its bound is refused" bound_holds
check "digests.yaml names every image by its manifest's digest" digests_named
for stage in "${stages[@]}"; do
    case $stage in operator) program=trainyard-operator ;; *) program=$stage ;; esac
    check "$stage: user, entry point and labels" configured "$stage"
    container=$(buildah_here from --pull-never "localhost/trainyard-$stage:$version") || { failed=$((failed + 1)); continue; }
    containers+=("$container")
    check "$stage: stripped, without paths of this machine, libraries recorded" clean_inside "$program"
    check "$stage: its list of packages is whole" listed "$stage" "$program"
    check "$stage: starts as the image's user" starts "$program"
    declare "of_${stage//-/_}=$container"
done

# --- real work inside, compared with the same outside ---
same() { # same PROGRAM OUTPUT [OPTION…]: runs in $container and here with /data/PROGRAM.json, compares the output's manifest
    local program=$1 output=$2 owner
    shift 2
    run "/usr/bin/$program" --config "/data/$program.json" "$@" --output "/data/inside/$program" || return 1
    sed "s|/data/|$dir/data/|g" "$dir/data/$program.json" >"$dir/$program.json"
    "$BUILD/bin/$program" --config "$dir/$program.json" "${@//\/data/$dir/data}" --output "$dir/outside/$program" || return 1
    owner=$(stat -c %u "$dir/data/inside/$program/$output/manifest.json")
    [ "$owner" = 65532 ] || { echo "written by user $owner, expected 65532"; return 1; }
    cmp "$dir/data/inside/$program/$output/manifest.json" "$dir/outside/$program/$output/manifest.json"
}
install -d -o 65532 -g 65532 "$dir/data/inside"
chmod 755 "$dir"
gcc -o "$dir/synth" "$BUILD/obj/tests/harness/synthetic-features.c.o" "$BUILD/lib/libtensor.a" "$BUILD/lib/libbase.a" -lcjson -lcrypto -lm -lpthread || exit 1
"$dir/synth" "$dir/data/features" 3000 500 1000 5 || exit 1
cat >"$dir/data/train-ddp.json" <<'JSON'
{"seed": 3, "threads": 1, "epochs": 1, "batch": {"global": 512}, "embeddings": {"default": 8}, "network": {"logistic": {}}, "loss": {"bce": {}},
 "optimizers": {"dense": {"adamw": {"lr": 0.003}}, "embeddings": {"sparseAdam": {"lr": 0.003}}},
 "schedule": {"warmupSteps": 2}, "validation": {"every": "1 epoch", "metrics": ["auc"]},
 "checkpoint": {"everySteps": 1000, "keep": 1}, "collective": {"timeoutSeconds": 3}}
JSON
container=${of_train_ddp:-}
check "train-ddp trains the same model inside" same train-ddp model --input features=/data/features

mkdir -p "$dir/data/table/day=2026-01-01"
{ echo id,y; for i in $(seq 200); do echo "$i,$((i % 3 == 0))"; done; } >"$dir/data/table/day=2026-01-01/part.csv"
cat >"$dir/data/data-validate.json" <<'JSON'
{"source": {"uri": "/data/table/", "window": 1},
 "columns": [{"name": "id", "type": "int64", "nullable": false}, {"name": "y", "type": "int32", "nullable": false}]}
JSON
container=${of_data_validate:-}
check "data-validate takes the same snapshot inside" same data-validate snapshot

check_sum
