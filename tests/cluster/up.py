#!/usr/bin/env python3
"""Brings a cluster up and leaves it running; `tests/cluster/down.py` takes it down.

usage: tests/cluster/up.py [--name dev] [--control-plane] [--dir DIRECTORY] [--gpus N] [--kwok N] [--stay]

--control-plane  etcd, API server, controller-manager and scheduler on 127.0.0.1, without a node: needs no root
--stay           stays in the foreground and takes the cluster down at the end (Ctrl-C)
The last line of standard output is the kubeconfig's path.
"""
import argparse
import signal
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from cluster import Cluster, ClusterError, node_blockers  # noqa: E402
from cluster.host import say  # noqa: E402
from cluster.tools import ToolError  # noqa: E402


def main():
    parser = argparse.ArgumentParser(usage=__doc__)
    parser.add_argument("--name", default="dev")
    parser.add_argument("--control-plane", action="store_true")
    parser.add_argument("--dir")
    parser.add_argument("--gpus", type=int, default=0)
    parser.add_argument("--kwok", type=int, default=0)
    parser.add_argument("--stay", action="store_true")
    arguments = parser.parse_args()
    node = not arguments.control_plane
    blockers = node_blockers() if node else []
    if blockers:
        say("this machine cannot run a node, so this is a control plane only: " + "; ".join(blockers))
        node = False
    cluster = Cluster(name=arguments.name, directory=arguments.dir, node=node, scheduler=True, gpus=arguments.gpus,
                      kwok_nodes=arguments.kwok, detached=not arguments.stay)
    try:
        cluster.up()
    except (ClusterError, ToolError) as error:
        sys.exit(f"cluster: {error}")
    say(f"{'a node' if node else 'a control plane'} is up in {cluster.directory}; take it down with tests/cluster/down.py {cluster.name}")
    if cluster.s3:
        say(f"S3: {cluster.s3.describe()}")
    print(cluster.kubeconfig, flush=True)
    if arguments.stay:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, lambda *_: None)
        signal.pause()
        cluster.down()


if __name__ == "__main__":
    main()
