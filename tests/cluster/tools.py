#!/usr/bin/env python3
"""Builds the programs of a real Kubernetes from their Go modules, once, into a cache outside the checkout.

usage: tests/cluster/tools.py [build] [NAME …]      builds what is missing (default: everything)
       tests/cluster/tools.py path NAME             prints where a program is
       tests/cluster/tools.py list                  names, versions, present or not

Everything is pinned below, and Go compares every module with its checksum database. A cache folder's name follows the pins of
what lies in it, so that a changed pin builds anew and two checkouts with different pins do not meet. A program is linked under
a temporary name and renamed, a lock keeps two builders apart, and what an interrupted build compiled stays in Go's own build cache.
KUBEBUILDER_ASSETS (a folder with kube-apiserver, etcd and kubectl) is taken first, as other projects do.
"""
import fcntl
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

KUBERNETES = "1.36.3"
_K8S_FLAGS = " ".join(f"-X k8s.io/component-base/version.{key}={value}" for key, value in (
    ("gitVersion", f"v{KUBERNETES}"), ("gitMajor", "1"), ("gitMinor", KUBERNETES.split(".")[1])))


class Source:
    """A Go module, its version, and the linker flags that tell its programs their version."""

    def __init__(self, module, version, flags=""):
        self.module, self.version, self.flags = module, version, flags


# Helm 3 takes the Kubernetes that it claims to render for from the linker, as its own Makefile gives it: its client-go's.
_HELM3_FLAGS = " ".join(f"-X helm.sh/helm/v3/{key}={value}" for key, value in (
    ("internal/version.version", "v3.22.0"), ("pkg/chartutil.k8sVersionMajor", "1"), ("pkg/chartutil.k8sVersionMinor", "37"),
    ("pkg/lint/rules.k8sVersionMajor", "1"), ("pkg/lint/rules.k8sVersionMinor", "37")))

SOURCES = {
    "kubernetes": Source("k8s.io/kubernetes", f"v{KUBERNETES}", _K8S_FLAGS),
    "etcd": Source("go.etcd.io/etcd/server/v3", "v3.7.0"),
    "containerd": Source("github.com/containerd/containerd/v2", "v2.4.2", "-X github.com/containerd/containerd/v2/version.Version=v2.4.2"),
    "coredns": Source("github.com/coredns/coredns", "v1.15.0"),
    "helm": Source("helm.sh/helm/v4", "v4.3.1", "-X helm.sh/helm/v4/internal/version.version=v4.3.1"),
    "kwok": Source("sigs.k8s.io/kwok", "v0.8.0", "-X sigs.k8s.io/kwok/pkg/consts.Version=v0.8.0"),
    "kubeconform": Source("github.com/yannh/kubeconform", "v0.8.0"),
    "helm3": Source("helm.sh/helm/v3", "v3.22.0", _HELM3_FLAGS),
}

# name: (source, package), in the order of building: a control plane is usable before the rest is there. These share a folder,
# whose name follows all their pins.
_TOGETHER = {
    "etcd": ("etcd", "go.etcd.io/etcd/server/v3"),
    "kube-apiserver": ("kubernetes", "k8s.io/kubernetes/cmd/kube-apiserver"),
    "kube-controller-manager": ("kubernetes", "k8s.io/kubernetes/cmd/kube-controller-manager"),
    "kubectl": ("kubernetes", "k8s.io/kubernetes/cmd/kubectl"),
    "kube-scheduler": ("kubernetes", "k8s.io/kubernetes/cmd/kube-scheduler"),
    "kubelet": ("kubernetes", "k8s.io/kubernetes/cmd/kubelet"),
    "containerd": ("containerd", "github.com/containerd/containerd/v2/cmd/containerd"),
    "containerd-shim-runc-v2": ("containerd", "github.com/containerd/containerd/v2/cmd/containerd-shim-runc-v2"),
    "ctr": ("containerd", "github.com/containerd/containerd/v2/cmd/ctr"),
    "kube-proxy": ("kubernetes", "k8s.io/kubernetes/cmd/kube-proxy"),
    "coredns": ("coredns", "github.com/coredns/coredns"),
    "helm": ("helm", "helm.sh/helm/v4/cmd/helm"),
    "kwok": ("kwok", "sigs.k8s.io/kwok/cmd/kwok"),
    "kubeconform": ("kubeconform", "github.com/yannh/kubeconform/cmd/kubeconform"),
}
# These have a folder each, whose name follows their own pin alone: one more here leaves what is built already where it is.
_APART = {
    "helm3": ("helm3", "helm.sh/helm/v3/cmd/helm"),
}
PROGRAMS = {**_TOGETHER, **_APART}
CONTROL_PLANE = ("kube-apiserver", "etcd", "kube-controller-manager", "kubectl", "kube-scheduler")
NODE = (*CONTROL_PLANE, "kubelet", "containerd", "containerd-shim-runc-v2", "ctr", "kube-proxy", "coredns")
ASSETS = ("kube-apiserver", "etcd", "kubectl")

CACHE = Path(os.environ.get("TRAINYARD_CACHE") or Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "trainyard")


def _key(programs):
    sources = {name: vars(SOURCES[name]) for name, _ in programs.values()}
    return hashlib.sha256(json.dumps([programs, sources], sort_keys=True).encode()).hexdigest()[:8]


DIRECTORY = CACHE / f"cluster-{KUBERNETES}-{_key(_TOGETHER)}"


def folder(name):
    """Where a program that is built here lies."""
    if name in _APART:
        return CACHE / f"{name}-{SOURCES[_APART[name][0]].version.removeprefix('v')}-{_key({name: _APART[name]})}"
    return DIRECTORY


class ToolError(Exception):
    pass


def say(text):
    print(f"cluster tools: {text}", file=sys.stderr, flush=True)


def find(name):
    """The program's path, or None when it has to be built first."""
    assets = os.environ.get("KUBEBUILDER_ASSETS")
    if assets and name in ASSETS and os.access(Path(assets) / name, os.X_OK):
        return Path(assets) / name
    path = folder(name) / name
    return path if os.access(path, os.X_OK) else None


def path(name):
    found = find(name)
    if not found:
        raise ToolError(f"{name} is not built yet: run tests/tools/deps.sh cluster (about 10 minutes on two cores, once)")
    return found


def missing(names):
    return [name for name in names if not find(name)]


def _go(arguments, cwd, timeout=3600):
    environment = {**os.environ, "CGO_ENABLED": "0", "GOFLAGS": "-trimpath", "GOWORK": "off"}
    done = subprocess.run(["go", *arguments], cwd=cwd, env=environment, text=True, capture_output=True, timeout=timeout, stdin=subprocess.DEVNULL)
    if done.returncode != 0:
        raise ToolError(f"go {' '.join(arguments[:3])} …: exit {done.returncode}\n{(done.stderr or done.stdout)[-2000:]}")
    return done.stdout


def _kubernetes_module(directory, source):
    """Kubernetes' own go.mod replaces its staging modules by folders; as modules they have the same minor and patch version."""
    unpacked = Path(json.loads(_go(["mod", "download", "-json", f"{source.module}@{source.version}"], directory))["Dir"])
    text = (unpacked / "go.mod").read_text()
    go_version = re.search(r"^go (\S+)$", text, re.M).group(1)
    staging = re.findall(r"^\s*(\S+) => \./staging/src/\S+$", text, re.M)
    staged = "v0." + source.version.split(".", 1)[1]
    (directory / "go.mod").write_text(
        f"module tools\n\ngo {go_version}\n\nrequire {source.module} {source.version}\n\nreplace (\n"
        + "".join(f"\t{module} => {module} {staged}\n" for module in staging) + ")\n")
    packages = [package for name, package in PROGRAMS.values() if name == "kubernetes"]
    (directory / "tools.go").write_text("//go:build tools\n\npackage tools\n\nimport (\n" + "".join(f'\t_ "{package}"\n' for package in packages) + ")\n")
    _go(["mod", "tidy", "-e"], directory)


def _plain_module(directory, source, packages):
    _go(["mod", "init", "tools"], directory)
    _go(["get", f"{source.module}@{source.version}", *(f"{package}@{source.version}" for package in packages)], directory)


def _build_source(name, programs):
    source = SOURCES[name]
    with tempfile.TemporaryDirectory(prefix=".build-", dir=DIRECTORY) as work:
        work = Path(work)
        say(f"resolving {source.module} {source.version}")
        if name == "kubernetes":
            _kubernetes_module(work, source)
        else:
            _plain_module(work, source, [PROGRAMS[program][1] for program in programs])
        for program in programs:
            started = time.monotonic()
            _go(["build", "-mod=mod", "-ldflags", f"-s -w {source.flags}".strip(), "-o", str(work / program), PROGRAMS[program][1]], work)
            built = folder(program) / program
            built.parent.mkdir(exist_ok=True)
            os.replace(work / program, built)
            say(f"built {program} {source.version} ({built.stat().st_size >> 20} MiB, {time.monotonic() - started:.0f} s)")


def build(names=None):
    """Builds what is missing of names. Programs of one source that follow one another share its resolved module."""
    names = list(names or PROGRAMS)
    unknown = [name for name in names if name not in PROGRAMS]
    if unknown:
        raise ToolError(f"no such tool: {', '.join(unknown)} (there are: {', '.join(PROGRAMS)})")
    if not missing(names):
        return
    if not shutil.which("go"):
        raise ToolError("building the cluster's tools needs Go 1.26 or newer: https://go.dev/dl")
    DIRECTORY.mkdir(parents=True, exist_ok=True)
    with open(DIRECTORY / ".lock", "w", encoding="utf-8") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say("another build is at work; waiting for it")
            fcntl.flock(lock, fcntl.LOCK_EX)
        for leftover in DIRECTORY.glob(".build-*"):
            shutil.rmtree(leftover, ignore_errors=True)
        todo = missing([name for name in PROGRAMS if name in names])
        if todo:
            say(f"building {', '.join(todo)} into {', '.join(str(f) for f in dict.fromkeys(map(folder, todo)))} (once; the first time takes minutes)")
        while todo:
            source = PROGRAMS[todo[0]][0]
            group = [name for name in todo if PROGRAMS[name][0] == source]
            _build_source(source, group)
            todo = [name for name in todo if name not in group]


def main(arguments):
    command = arguments[0] if arguments else "build"
    if command == "path" and len(arguments) == 2:
        print(path(arguments[1]))
    elif command == "list":
        for name, (source, _) in PROGRAMS.items():
            print(f"{name:26} {SOURCES[source].version:10} {find(name) or 'not built'}")
    elif command in ("-h", "--help", "path"):
        print(__doc__.strip())
        return 64 if command == "path" else 0
    else:
        build(arguments[1:] if command == "build" else arguments)
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except (ToolError, subprocess.TimeoutExpired) as error:
        print(f"cluster tools: {error}", file=sys.stderr)
        sys.exit(69)
