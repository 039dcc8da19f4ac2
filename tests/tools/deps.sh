#!/usr/bin/env bash
# Installs what the build and the tests need and this machine lacks: Debian packages (as root, or
# with sudo), DuckDB's library and header, and the tests' S3 server. Everything is pinned. Built or
# unpacked tools go to a cache outside the checkout ($TRAINYARD_CACHE), so a fresh clone finds them.
#
# usage: tests/tools/deps.sh [build|test|check|bench|images|cluster|cuda …]      (default: build test check)
set -euo pipefail

cache=${TRAINYARD_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/trainyard}
mkdir -p "$cache"
say() { printf 'deps: %s\n' "$*"; }
die() { printf 'deps: %s\n' "$*" >&2; exit 69; }

as_root() {
    if [ "$(id -u)" = 0 ]; then "$@"
    elif command -v sudo >/dev/null; then sudo "$@"
    else die "need root or sudo to run: $*"; fi
}

# name: why
debian_build="gcc:compiler g++:compiler-of-the-Gloo-shim make:build libc6-dev:C-library pkg-config:finds-libraries
libcurl4-openssl-dev:HTTP libcjson-dev:JSON libyaml-dev:YAML libssl-dev:digests-and-signatures
libgloo-dev:CPU-collectives libmicrohttpd-dev:small-HTTP-listener nodejs:for-npm npm:fetches-DuckDB golang-go:fetches-DuckDB's-header-and-builds-the-S3-server
ca-certificates:TLS unzip:unpacks python3:test-tools"
debian_test="libcmocka-dev:unit-tests curl:test-client procps:process-checks openssl:test-keys python3:test-tools iproute2:test-networks lua5.4:health-checks-for-Argo-CD"
debian_check="clang-14:fuzzing clang-format-14:format clang-tidy-14:static-checks libclang-rt-14-dev:libFuzzer cppcheck:static-checks shellcheck:shell-checks man-db:renders-man-pages"
debian_images="buildah:builds-container-images mmdebstrap:base-images"
debian_cluster="runc:runs-containers containernetworking-plugins:networks-of-pods conntrack:service-addresses iproute2:networks nftables:service-addresses util-linux:namespaces curl:test-client openssl:certificates gcc:the-pause-image libc6-dev:the-pause-image"
debian_cuda="python3-pip:fetches-wheels"

apt_updated=
install_debian() {
    local entry pkg why missing=()
    for entry in $1; do
        pkg=${entry%%:*} why=${entry#*:}
        case $pkg in # another source of the same tool serves as well
            golang-go) command -v go >/dev/null && continue ;;
            nodejs) command -v node >/dev/null && continue ;;
            npm) command -v npm >/dev/null && continue ;;
            python3) command -v python3 >/dev/null && continue ;;
            python3-pip) python3 -m pip --version >/dev/null 2>&1 && continue ;;
        esac
        if ! dpkg-query -W -f '${Status}' "$pkg" 2>/dev/null | grep -q 'install ok installed'; then
            say "missing Debian package $pkg (${why//-/ })"
            missing+=("$pkg")
        fi
    done
    [ ${#missing[@]} = 0 ] && return 0
    command -v apt-get >/dev/null || die "this is no Debian system: install by hand: ${missing[*]}"
    if [ -z "$apt_updated" ]; then as_root apt-get update -qq; apt_updated=1; fi
    as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
}

duckdb_version=1.5.6
install_duckdb() {
    local dir="$cache/duckdb-$duckdb_version" tmp
    [ -n "${DUCKDB_DIR:-}" ] && [ -e "$DUCKDB_DIR/duckdb.h" ] && return 0
    [ -e "$dir/libduckdb.so" ] && [ -e "$dir/duckdb.h" ] && return 0
    say "fetching DuckDB $duckdb_version (the table engine) into the cache"
    local arch; case $(uname -m) in x86_64) arch=x64 ;; aarch64) arch=arm64 ;; *) die "no DuckDB for $(uname -m)" ;; esac
    tmp=$(mktemp -d "$cache/duckdb.XXXXXX")
    (
        cd "$tmp"
        npm pack --silent "@duckdb/node-bindings-linux-$arch@$duckdb_version-r.1" >/dev/null
        tar xzf ./*.tgz
        printf 'module header\ngo 1.21\n' >go.mod
        go mod download -json github.com/duckdb/duckdb-go-bindings@v0.10506.0 >header.json
        header=$(sed -n 's/.*"Dir": "\(.*\)".*/\1/p' header.json)
        mkdir out
        cp package/libduckdb.so out/
        cp "$header/include/duckdb.h" "$header/LICENSE" out/
        chmod u+w out/*
    ) || { rm -rf "$tmp"; die "could not fetch DuckDB: is the npm registry and the Go module proxy reachable? (or set DUCKDB_DIR)"; }
    rm -rf "$dir"
    mv "$tmp/out" "$dir"
    rm -rf "$tmp"
}

versitygw_version=1.8.0
install_versitygw() {
    local dir="$cache/versitygw-$versitygw_version"
    [ -x "$dir/versitygw" ] && return 0
    say "building versitygw $versitygw_version (the tests' S3 server) into the cache"
    mkdir -p "$dir"
    GOBIN="$dir" GOFLAGS=-trimpath CGO_ENABLED=0 go install "github.com/versity/versitygw/cmd/versitygw@v$versitygw_version" ||
        die "could not build versitygw: it needs Go and the Go module proxy"
}

# Kubernetes, containerd and what else a test cluster is made of: tests/cluster/tools.py has the pins. Without root the control
# plane alone can run, which needs no packages.
install_cluster() {
    if [ "$(id -u)" = 0 ] || command -v sudo >/dev/null; then install_debian "$debian_cluster"
    else say "not root and no sudo: without packages for a node, only a control plane will run"; fi
    install_versitygw
    python3 "$(dirname "$0")/../cluster/tools.py" build || die "could not build the cluster's tools"
}

bench_python() {
    local dir="$cache/bench-venv-1"
    [ -e "$dir/.complete" ] && return 0
    say "installing the benchmarks' peers (torch, polars, pandas, scikit-learn, duckdb, boto3) into the cache"
    python3 -m venv "$dir"
    "$dir/bin/pip" -q install -r "$(dirname "$0")/../bench/requirements.txt"
    touch "$dir/.complete"
}

# NVIDIA's compiler and what it needs to compile and link, without the libraries of a GPU program: these wheels unpack to
# nvidia/cu13, which is a toolkit's folder. The release is that of the driver which is expected on GPU nodes, or older.
cuda_version=13.0
cuda_wheels=(nvidia-cuda-nvcc==13.0.88 nvidia-cuda-crt==13.0.88 nvidia-cuda-cccl==13.0.85 nvidia-cuda-runtime==13.0.96 nvidia-nvvm==13.0.88)
install_cuda() {
    local dir="$cache/cuda-$cuda_version" tmp
    [ -x "$dir/nvidia/cu13/bin/nvcc" ] && return 0
    say "fetching NVIDIA's CUDA $cuda_version compiler (105 MB of PyPI wheels, to build the CUDA module) into the cache"
    say "  ${cuda_wheels[*]}"
    tmp=$(mktemp -d "$cache/cuda.XXXXXX")
    python3 -m pip install --quiet --root-user-action=ignore --no-deps --no-compile --target "$tmp" "${cuda_wheels[@]}" ||
        { rm -rf "$tmp"; die "could not fetch CUDA's wheels: is the Python package index reachable? (or set CUDA_HOME to a toolkit)"; }
    chmod 755 "$tmp"
    rm -rf "$dir"
    mv "$tmp" "$dir"
}

[ $# = 0 ] && set -- build test check
for what; do
    case $what in
        build) install_debian "$debian_build"; install_duckdb ;;
        test) install_debian "$debian_test"; install_versitygw ;;
        check) install_debian "$debian_check" ;;
        bench) bench_python ;;
        images) install_debian "$debian_images" ;;
        cluster) install_cluster ;;
        cuda) install_debian "$debian_cuda"; install_cuda ;;
        *) die "unknown group '$what' (build, test, check, bench, images, cluster, cuda)" ;;
    esac
done
say "everything is there ($*)"
