#!/usr/bin/env python3
"""Things to do with a cluster that is up.

usage: tests/cluster/ctl.py [--name dev] COMMAND

  kubeconfig            prints the path (--inside: the one for programs in the node's network)
  load ARCHIVE…         OCI or Docker archives into the node
  inside PROGRAM …      runs a program of this machine in the node's network
  gpus N                the node offers N nvidia.com/gpu
  kubectl ARGUMENT …    the kubectl of the cluster's version
  env                   the AWS_* variables for the cluster's S3 server, to be read by `eval`
  restart COMPONENT     one of: etcd, kube-apiserver, kube-controller-manager, kube-scheduler, kubelet, containerd, …
  stop COMPONENT / start COMPONENT
"""
import os
import shlex
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from cluster import Cluster, ClusterError, tools  # noqa: E402


def main(arguments):
    name = "dev"
    if arguments[:1] == ["--name"]:
        name, arguments = arguments[1], arguments[2:]
    if not arguments or arguments[0] in ("-h", "--help"):
        print(__doc__.strip())
        return 0 if arguments else 64
    command, rest = arguments[0], arguments[1:]
    cluster = Cluster.attach(name)
    if command == "kubeconfig":
        print(cluster.inside_kubeconfig if rest == ["--inside"] else cluster.kubeconfig)
    elif command == "load" and rest:
        for archive in rest:
            print("\n".join(cluster.load_image(archive)))
    elif command == "inside" and rest:
        return cluster.popen_inside(rest, cwd=os.getcwd(), stdin=None).wait()
    elif command == "gpus" and len(rest) == 1:
        from cluster.node import set_gpus
        set_gpus(cluster, int(rest[0]))
    elif command == "kubectl":
        os.execv(tools.path("kubectl"), ["kubectl", "--kubeconfig", str(cluster.kubeconfig), *rest])
    elif command == "env" and cluster.s3:
        for key, value in cluster.s3.environment(inside=False).items():
            print(f"export {key}={shlex.quote(value)}")
    elif command in ("restart", "stop", "start") and len(rest) == 1:
        if rest[0] not in cluster.components:
            raise ClusterError(f"no component {rest[0]} (there are: {', '.join(sorted(cluster.components))})")
        getattr(cluster.components[rest[0]], command)()
    else:
        print(__doc__.strip(), file=sys.stderr)
        return 64
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except (ClusterError, tools.ToolError) as error:
        sys.exit(f"cluster: {error}")
