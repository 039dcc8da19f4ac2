#!/usr/bin/env bash
# Can images be built here? If not: the reason on standard output, and exit 77. Installs Debian's buildah where it is missing.
set -u
cd "$(dirname "$0")/.." || exit 1
no() { echo "$*"; exit 77; }

[ "$(id -u)" = 0 ] || no "only root can build them (buildah with chroot isolation)"
command -v dpkg-query >/dev/null || no "this is no Debian system: the libraries come from Debian packages"
command -v buildah >/dev/null || tests/tools/deps.sh images >&2 || no "buildah is not installed, and installing it failed"
unshare --mount true 2>/dev/null || no "this machine does not allow mount namespaces"
