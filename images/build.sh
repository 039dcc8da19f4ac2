#!/usr/bin/env bash
# Builds one image from its Containerfile and the layers below build/images/context, and writes it as an OCI archive. Storage
# is a folder of the build: nobody else's images are seen or touched. Files are
# dated 1970, so that equal content gives equal layers.
#
# usage: images/build.sh CONTAINERFILE DIR REPOSITORY VERSION: DIR/context → DIR/<name of the Containerfile>.tar
set -euo pipefail
cd "$(dirname "$0")/.."
file=$1 dir=$2 repository=$3 version=$4
stage=$(basename "$file" .Containerfile)

# shellcheck disable=SC1091 # a function of two lines
. images/buildah.sh "$dir"
revision=$(git rev-parse HEAD 2>/dev/null || echo unknown)
seconds=$(git log -1 --format=%ct 2>/dev/null || echo 0)
created=$(date -u -d "@$seconds" +%Y-%m-%dT%H:%M:%SZ)
name=$repository:$version
log=$dir/$stage.log
{
    buildah_here bud --isolation chroot --pull=never --layers --timestamp 0 --format oci --file "$file" \
        --build-arg VERSION="$version" --build-arg REVISION="$revision" --build-arg CREATED="$created" --tag "$name" "$dir/context" &&
        rm -f "$dir/$stage.tar" && buildah_here push "$name" "oci-archive:$dir/$stage.tar:$name"
} >"$log" 2>&1 || {
    cat "$log" >&2
    echo "images: $stage was not built" >&2
    exit 1
}
