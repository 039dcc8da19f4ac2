"""A real Kubernetes for tests and for trying things out; see cluster.py."""
from .cluster import Cluster
from .host import ClusterError, node_blockers
from .proxy import Link

__all__ = ["Cluster", "ClusterError", "Link", "node_blockers"]
