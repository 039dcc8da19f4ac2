"""The node: containerd, kubelet, kube-proxy and the cluster's DNS, in the cluster's namespaces."""
import json
import subprocess
import sys

from . import oci, tools
from .cluster import ready
from .host import CNI_PLUGINS, NODE_ADDRESS, ClusterError, wait_until

POD_RANGE = "10.202.0.0/16"
DNS_ADDRESS = "10.96.0.10"
NAME = "node-1"
_PAUSE = """
#include <signal.h>
#include <unistd.h>
static void end(int signal) { (void)signal; _exit(0); }
int main(void) { signal(SIGTERM, end); signal(SIGINT, end); signal(SIGCHLD, SIG_IGN); for (;;) pause(); }
"""


class Node:
    def __init__(self, cluster):
        self.cluster, self.directory = cluster, cluster.directory

    def start(self):
        self._write_settings()
        d, cluster = self.directory, self.cluster
        cluster.component("containerd", [tools.path("containerd"), "--config", d / "containerd.toml"],
                          env={"PATH": f"{tools.path('containerd-shim-runc-v2').parent}:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"})
        pause = self._pause_image()
        wait_until((d / "containerd.sock").exists, 20, "containerd's socket")

        def loaded():
            ended = cluster.components["containerd"].ended()
            if ended:
                raise ClusterError(ended)
            try:
                return cluster.load_image(pause) is not None
            except ClusterError as error:
                raise OSError(str(error)) from error  # not ready yet
        wait_until(loaded, 20, "loading the pause image", step=0.2)
        cluster.component("kubelet", [
            tools.path("kubelet"), f"--kubeconfig={cluster.inside_kubeconfig}", f"--config={d / 'kubelet.json'}", f"--root-dir={d / 'kubelet'}",
            f"--cert-dir={d / 'kubelet-pki'}", f"--hostname-override={NAME}", f"--node-ip={NODE_ADDRESS}", "--v=1"])
        cluster.component("kube-proxy", [
            tools.path("kube-proxy"), f"--kubeconfig={cluster.inside_kubeconfig}", "--proxy-mode=nftables", f"--cluster-cidr={POD_RANGE}",
            f"--hostname-override={NAME}", "--conntrack-max-per-core=0", "--conntrack-min=0", "--bind-address=0.0.0.0",
            "--healthz-bind-address=127.0.0.1:10256", "--metrics-bind-address=127.0.0.1:10249"])
        cluster.component("coredns", [tools.path("coredns"), "-conf", d / "Corefile"])
        self._dns_service()

    def _write_settings(self):
        d = self.directory
        (d / "containerd.toml").write_text(f"""version = 3
root = "{d}/containerd"
state = "{d}/containerd-state"
[grpc]
  address = "{d}/containerd.sock"
[ttrpc]
  address = "{d}/containerd.ttrpc"
[plugins."io.containerd.cri.v1.runtime"]
  restrict_oom_score_adj = true
  netns_mounts_under_state_dir = true
  [plugins."io.containerd.cri.v1.runtime".containerd.runtimes.runc]
    runtime_type = "io.containerd.runc.v2"
    [plugins."io.containerd.cri.v1.runtime".containerd.runtimes.runc.options]
      BinaryName = "runc"
      SystemdCgroup = false
  [plugins."io.containerd.cri.v1.runtime".cni]
    bin_dirs = ["{CNI_PLUGINS}"]
    conf_dir = "{d}/cni"
[plugins."io.containerd.cri.v1.images".pinned_images]
  sandbox = "localhost/pause:1"
""")
        (d / "cni").mkdir()
        # Every pod has a link to the node of its own, so that all its packets are routed there: a service address leads back
        # to a pod of the same node without the bridge filter that not every kernel has.
        (d / "cni" / "10-pods.conflist").write_text(json.dumps({"cniVersion": "1.0.0", "name": "trainyard", "plugins": [
            {"type": "ptp", "mtu": 1500, "ipam": {"type": "host-local", "ranges": [[{"subnet": POD_RANGE}]], "routes": [{"dst": "0.0.0.0/0"}]}}]}))
        (d / "kubelet.json").write_text(json.dumps({
            "apiVersion": "kubelet.config.k8s.io/v1beta1", "kind": "KubeletConfiguration", "failCgroupV1": False, "cgroupDriver": "cgroupfs",
            "cgroupRoot": self.cluster.record.data["cgroup"], "enforceNodeAllocatable": [], "failSwapOn": False,
            "containerRuntimeEndpoint": f"unix://{d}/containerd.sock", "address": NODE_ADDRESS, "healthzBindAddress": "127.0.0.1",
            "authentication": {"anonymous": {"enabled": True}, "webhook": {"enabled": False}}, "authorization": {"mode": "AlwaysAllow"},
            "clusterDNS": [DNS_ADDRESS], "clusterDomain": "cluster.local", "resolvConf": str(d / "upstream.conf"), "registerNode": True,
            "evictionHard": {"memory.available": "50Mi", "nodefs.available": "1%", "imagefs.available": "1%"},
            "imageMinimumGCAge": "24h", "imageGCHighThresholdPercent": 100, "imageGCLowThresholdPercent": 99,
            "maxPods": 250, "nodeStatusUpdateFrequency": "5s", "nodeStatusReportFrequency": "10s", "nodeLeaseDurationSeconds": 16, "volumeStatsAggPeriod": "0s",
            "syncFrequency": "10s", "serializeImagePulls": False, "registryPullQPS": 0, "eventRecordQPS": 0,
            "kubeAPIQPS": 200, "kubeAPIBurst": 400}))
        (d / "upstream.conf").write_text("")
        (d / "Corefile").write_text(f""".:53 {{
    bind {NODE_ADDRESS}
    errors
    hosts {{
        {NODE_ADDRESS} s3.trainyard.test
        fallthrough
    }}
    kubernetes cluster.local in-addr.arpa {{
        kubeconfig {self.cluster.inside_kubeconfig}
        pods insecure
        ttl 1
    }}
}}
""")

    def _pause_image(self):
        source, program = self.directory / "pause.c", self.directory / "pause"
        source.write_text(_PAUSE)
        done = subprocess.run(["gcc", "-static", "-Os", "-s", "-o", program, source], text=True, capture_output=True, check=False)
        if done.returncode != 0:
            raise ClusterError(f"the pause program does not compile: {done.stderr}")
        return oci.write_image(self.directory / "pause.tar", "localhost/pause:1", {"/pause": program}, ["/pause"], user="65535:65535")

    def _dns_service(self):
        ports = [{"name": "dns", "port": 53, "protocol": "UDP"}, {"name": "dns-tcp", "port": 53, "protocol": "TCP"}]
        self.cluster.api.post("/api/v1/namespaces/kube-system/services", {
            "apiVersion": "v1", "kind": "Service", "metadata": {"name": "kube-dns", "namespace": "kube-system"},
            "spec": {"clusterIP": DNS_ADDRESS, "ports": ports}})
        self.cluster.api.post("/apis/discovery.k8s.io/v1/namespaces/kube-system/endpointslices", {
            "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4", "ports": ports,
            "metadata": {"name": "kube-dns-node", "namespace": "kube-system", "labels": {"kubernetes.io/service-name": "kube-dns"}},
            "endpoints": [{"addresses": [NODE_ADDRESS], "conditions": {"ready": True}}]})

    def wait_ready(self):
        cluster = self.cluster

        def node_ready():
            for component in ("kubelet", "containerd", "kube-proxy", "coredns"):
                ended = cluster.components[component].ended()
                if ended:
                    raise ClusterError(ended)
            return ready(cluster.api.get(f"/api/v1/nodes/{NAME}"))
        wait_until(node_ready, 60, f"the node being ready (log: {cluster.logs / 'kubelet.log'})", step=0.1)
        if cluster.gpus:
            set_gpus(cluster, cluster.gpus)
        probe = [sys.executable, "-c", "import socket; socket.getaddrinfo('kubernetes.default.svc.cluster.local', 443)"]
        wait_until(lambda: cluster.run_inside(probe, check=False).returncode == 0, 30, "names being resolved by the cluster's DNS", step=0.2)


def set_gpus(cluster, count):
    """As an administrator advertises a resource that no device plugin knows."""
    cluster.api.request("PATCH", f"/api/v1/nodes/{NAME}/status",
                        [{"op": "add", "path": "/status/capacity/nvidia.com~1gpu", "value": str(count)}], "application/json-patch+json")
    wait_until(lambda: cluster.api.get(f"/api/v1/nodes/{NAME}")["status"]["allocatable"].get("nvidia.com/gpu") == str(count), 60,
               "the node offering its GPUs", step=0.2)
