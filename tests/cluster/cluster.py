"""A real Kubernetes for tests.

    with Cluster() as cluster:                     # etcd, API server, controller-manager on 127.0.0.1; no root needed
        cluster.kubectl("get", "namespaces")

    with Cluster(node=True, gpus=2) as cluster:    # the whole node in a network namespace of its own; needs root
        cluster.load_image("build/images/evaluate.tar")
        cluster.run_inside(["curl", "-s", …])      # a program of this machine, in the node's network

Everything lies in cluster.directory; logs/ there holds one file a server, and stays (with its path printed) when the block
ends by an exception or keep_logs was set. Servers are cluster.components["kube-apiserver"], "etcd", …: see host.Component.
"""
import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

from . import kwok
from . import record as records
from . import tools
from .api import Api
from .host import NODE_ADDRESS, ClusterError, Component, Host, node_blockers, say, wait_until
from .pki import Authority, make_key_pair
from .proxy import Link

SERVICE_RANGE, SERVICE_ADDRESS = "10.96.0.0/16", "10.96.0.1"
PLAIN_USERS = ("alice", "bob", "carol")


def free_ports(count):
    """Below the range from which the kernel takes ports of clients: a server that restarts must not find its port taken by a
    client that reconnects."""
    lowest = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    upper = lowest if lowest > 12000 else 65000
    sockets = []
    while len(sockets) < count:
        try:
            sockets.append(socket.create_server(("127.0.0.1", upper - 1 - secrets.randbelow(10000))))
        except OSError:
            pass
    ports = [s.getsockname()[1] for s in sockets]
    for s in sockets:
        s.close()
    return ports


class Cluster:
    """node: the whole node, not the control plane alone. scheduler: without a node, a scheduler too. s3: an S3 server
    (cluster.s3), plain and over TLS. gpus: that many nvidia.com/gpu on the node. kwok_nodes: fake nodes (scheduler included).
    kwok_result: the termination message that pods on fake nodes leave.
    fast_jobs: a controller-manager with the limits lifted that cap a default one near three Jobs a second.
    node_grace: seconds without a sign of life until the node counts as not ready (Kubernetes' own default is 50).
    audit: who wrote which TrainingPipeline, TrainingRun, Job or Lease, with the objects of the first two, is in logs/audit.log;
    or the rules of an audit policy. detached: outlives the script; take it down with Cluster.attach(name).down()."""

    def __init__(self, name=None, directory=None, node=False, scheduler=False, s3=None, gpus=0, kwok_nodes=0, kwok_result="", fast_jobs=False,
                 node_grace=None, audit=False, detached=False):
        self.node_grace, self.audit, self.kwok_result = node_grace, audit, kwok_result
        self.name = name or f"t{os.getpid()}-{secrets.token_hex(2)}"
        self.node, self.gpus, self.kwok_nodes, self.fast_jobs = node, gpus, kwok_nodes, fast_jobs
        self.with_scheduler = node or scheduler or kwok_nodes > 0
        self.with_s3 = node if s3 is None else s3
        self.keep_logs = False
        self.s3 = None
        self._detached, self._asked_directory = detached, directory
        self._lock = threading.Lock()
        self._handlers = {}
        self.components = {}

    # --- up and down -----------------------------------------------------------------------------------

    def up(self):
        records.remove_orphans(say)
        if Record := records.Record.load(self.name):
            raise ClusterError(f"cluster {self.name} exists already in {Record.directory}: take it down first (tests/cluster/down.py {self.name})")
        if self.node:
            blockers = node_blockers()
            if blockers:
                raise ClusterError("this machine cannot run a node: " + "; ".join(blockers))
        tools.build([*(tools.NODE if self.node else tools.CONTROL_PLANE), *(["kwok"] if self.kwok_nodes else [])])
        try:
            self._create()
            self._start_control_plane()
            if self.node:
                from .node import Node
                self.machine = Node(self)
                self.machine.start()
            if self.with_s3:
                from .s3 import S3
                self.s3 = S3(self).start()
            if self.node:
                self.machine.wait_ready()
            if self.kwok_nodes:
                self.add_fake_nodes(self.kwok_nodes)
        except BaseException:
            self.keep_logs = True
            self.down()
            raise
        return self

    def _create(self):
        record = records.Record(self.name, {"mark": secrets.token_hex(8), "owner": records.process_of(os.getpid()), "detached": self._detached,
                                            "made_directory": False, "mode": "node" if self.node else "control-plane", "gpus": self.gpus})
        if self.node:
            record.data["cgroup"] = f"/trainyard-{record.data['mark']}"
        if self._asked_directory:
            directory = Path(self._asked_directory).resolve()
            if directory.exists() and any(directory.iterdir()):
                raise ClusterError(f"{directory} is not empty: a cluster takes its directory away with it")
        else:
            directory = Path(tempfile.gettempdir()).resolve() / f"trainyard-{self.name}"
            if directory.exists():
                shutil.rmtree(directory)  # logs of an earlier cluster of this name
        if len(str(directory)) > 60:
            raise ClusterError(f"{directory}: a path of at most 60 characters is needed, for the sockets below it")
        record.data["directory"], record.data["made_directory"] = str(directory), True
        record.save()
        (directory / "logs").mkdir(parents=True)
        directory.chmod(0o755)
        self._use(record)
        if self.node:
            self.host.make_cgroup()
            self.host.enter_namespaces()

    def _use(self, record):
        self.record, self.directory, self.logs = record, record.directory, record.directory / "logs"
        self.host = Host(record)
        self.authority = Authority(self.directory / "pki")
        self.address = NODE_ADDRESS if self.node else "127.0.0.1"
        self.kubeconfig, self.inside_kubeconfig = self.directory / "kubeconfig", self.directory / "kubeconfig-inside"

    @classmethod
    def attach(cls, name):
        """A running cluster of another script, by its name."""
        record = records.Record.load(name)
        if not record:
            known = ", ".join(r.name for r in records.records()) or "none"
            raise ClusterError(f"there is no cluster {name} (known here: {known})")
        cluster = cls(name=name, node=record.data["mode"] == "node", gpus=record.data.get("gpus", 0), detached=True)
        cluster._use(record)
        if record.data.get("holder"):
            cluster.host.holder = record.data["holder"][0]
        for component, words in record.data.get("commands", {}).items():
            cluster.components[component] = Component(cluster.host, component, words["command"], words["env"], words["inside"])
        cluster.api_port, cluster.inside_port = record.data.get("api_port"), record.data.get("inside_port")
        if record.data.get("s3"):
            from .s3 import S3
            cluster.s3 = S3(cluster).attach()
        return cluster

    def component(self, name, command, env=None, inside=True, start=True):
        made = Component(self.host, name, command, env, inside)
        self.components[name] = made
        commands = {**self.record.data.get("commands", {}), name: {"command": made.command, "env": made.env, "inside": inside}}
        self.record.save(commands=commands)
        return made.start() if start else made

    def down(self):
        """Idempotent. Says where the logs are when they are kept."""
        record = getattr(self, "record", None)
        if record and record.path.exists():
            records.remove(record, keep_logs=self.keep_logs)
            if self.keep_logs:
                say(f"logs are in {self.logs}")

    def leftovers(self):
        return records.leftovers(self.record)

    def __enter__(self):
        def ended(number, _):
            raise SystemExit(128 + number)
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGTERM, signal.SIGHUP):
                self._handlers[number] = signal.signal(number, ended)
        return self.up()

    def __exit__(self, kind, *_):
        if kind is not None and not (kind is SystemExit and sys.exc_info()[1].code in (0, None)):
            self.keep_logs = True
        previous = signal.signal(signal.SIGINT, signal.SIG_IGN) if threading.current_thread() is threading.main_thread() else None
        try:
            self.down()
        finally:
            for number, handler in self._handlers.items():
                signal.signal(number, handler)
            if previous is not None:
                signal.signal(signal.SIGINT, previous)

    # --- the control plane -----------------------------------------------------------------------------

    def _start_control_plane(self):
        d, pki = self.directory, self.authority.create().directory
        etcd, peer, secure, manager, scheduler = (2379, 2380, 6443, 10257, 10259) if self.node else free_ports(5)
        self.inside_port = secure
        self.authority.issue("apiserver", "kube-apiserver", addresses=sorted({"127.0.0.1", self.address, SERVICE_ADDRESS}),
                             names=["localhost", "kubernetes", "kubernetes.default", "kubernetes.default.svc", "kubernetes.default.svc.cluster.local"])
        self.authority.issue("admin", "admin", ["system:masters"])
        make_key_pair(pki / "service-accounts.key", pki / "service-accounts.pub")
        tokens = {name: secrets.token_hex(16) for name in ("admin", *PLAIN_USERS)}
        lines = [f'{token},{name},{name},"{"system:masters" if name == "admin" else ""}"' for name, token in tokens.items()]
        (pki / "tokens.csv").write_text("\n".join(lines) + "\n")
        (pki / "tokens.csv").chmod(0o600)
        self.etcd_url = f"http://127.0.0.1:{etcd}"
        self.record.save(etcd_url=self.etcd_url)

        self.component("etcd", [
            tools.path("etcd"), "--data-dir", d / "etcd", "--unsafe-no-fsync", "--logger=zap", "--log-level=warn",
            "--listen-client-urls", self.etcd_url, "--advertise-client-urls", self.etcd_url,
            "--listen-peer-urls", f"http://127.0.0.1:{peer}", "--initial-advertise-peer-urls", f"http://127.0.0.1:{peer}",
            "--initial-cluster", f"default=http://127.0.0.1:{peer}"])
        self.component("kube-apiserver", [
            tools.path("kube-apiserver"), f"--etcd-servers={self.etcd_url}", f"--secure-port={secure}",
            f"--bind-address={'0.0.0.0' if self.node else '127.0.0.1'}", f"--advertise-address={self.address}",
            f"--cert-dir={d / 'apiserver'}", f"--tls-cert-file={pki / 'apiserver.crt'}", f"--tls-private-key-file={pki / 'apiserver.key'}",
            f"--client-ca-file={pki / 'ca.crt'}", f"--token-auth-file={pki / 'tokens.csv'}", "--authorization-mode=RBAC",
            "--service-account-issuer=https://kubernetes.default.svc", f"--service-account-key-file={pki / 'service-accounts.pub'}",
            f"--service-account-signing-key-file={pki / 'service-accounts.key'}", f"--service-cluster-ip-range={SERVICE_RANGE}",
            "--allow-privileged", "--kubelet-preferred-address-types=InternalIP", "--endpoint-reconciler-type=lease"
            if self.node else "--endpoint-reconciler-type=none", *self._audit_policy()])
        if self.node:
            self._forward({"api": f"{self.address}:{secure}"})
        else:
            self.api_port = secure
        self.record.save(api_port=self.api_port, inside_port=self.inside_port)
        self._kubeconfig("admin", certificate=True, path=self.kubeconfig)
        self._kubeconfig("admin", certificate=True, inside=True, path=self.inside_kubeconfig)
        self.wait_api()
        limits = ["--concurrent-job-syncs=50", "--kube-api-qps=500", "--kube-api-burst=1000"] if self.fast_jobs else []
        if self.node_grace:
            limits += [f"--node-monitor-grace-period={self.node_grace}s", "--node-monitor-period=1s"]
        self.component("kube-controller-manager", [
            tools.path("kube-controller-manager"), f"--kubeconfig={self.inside_kubeconfig}", f"--root-ca-file={pki / 'ca.crt'}",
            f"--service-account-private-key-file={pki / 'service-accounts.key'}", "--leader-elect=false", "--bind-address=127.0.0.1",
            f"--secure-port={manager}", f"--cert-dir={d / 'manager'}", *limits])
        if self.with_scheduler:
            self.component("kube-scheduler", [
                tools.path("kube-scheduler"), f"--kubeconfig={self.inside_kubeconfig}", "--leader-elect=false", "--bind-address=127.0.0.1",
                f"--secure-port={scheduler}", f"--cert-dir={d / 'scheduler'}", *(limits[1:3] if self.fast_jobs else [])])
        wait_until(lambda: self.api.find("/api/v1/namespaces/default/serviceaccounts/default"), 30, "the default service account")

    def _audit_policy(self):
        if not self.audit:
            return []
        writes = ["create", "update", "patch", "delete", "deletecollection"]
        rules = self.audit if isinstance(self.audit, list) else [
            {"level": "RequestResponse", "verbs": writes, "resources": [{"group": "trainyard.dev"}]},
            {"level": "Request", "verbs": writes, "resources": [{"group": "batch", "resources": ["jobs"]}]},
            {"level": "Metadata", "verbs": writes, "resources": [{"group": "coordination.k8s.io", "resources": ["leases"]}]}, {"level": "None"}]
        path = self.directory / "audit-policy.json"
        path.write_text(json.dumps({"apiVersion": "audit.k8s.io/v1", "kind": "Policy", "omitStages": ["RequestReceived"], "rules": rules}))
        return [f"--audit-policy-file={path}", f"--audit-log-path={self.logs / 'audit.log'}"]

    def audited(self):
        """The audit's events, oldest first."""
        return [json.loads(line) for line in (self.logs / "audit.log").read_text().splitlines()]

    def _forward(self, targets):
        """Ports of this machine's 127.0.0.1 that lead into the node's network; {name: target} → self.forwarded[name]."""
        control = self.directory / "forward.sock"
        self.component("forward", [sys.executable, Path(__file__).with_name("proxy.py"), "--control", control, "--enter",
                                   f"/proc/{self.host.holder}/ns/net", *(f"{name}=127.0.0.1:0={target}" for name, target in
                                                                         {**targets, "s3": f"{self.address}:7070", "s3tls": f"{self.address}:7443"}.items())],
                       inside=False)
        wait_until(control.exists, 10, "the forwarder into the node's network", step=0.02)
        self.forwarded = wait_until(lambda: Link(control).ports(), 10, "the forwarder's ports", step=0.02)
        self.api_port = self.forwarded["api"]
        self.record.save(forwarded=self.forwarded)

    def wait_api(self, timeout=60):
        """Until the API server says that it is ready."""
        def ready():
            ended = self.components["kube-apiserver"].ended() or self.components["etcd"].ended()
            if ended:
                raise ClusterError(ended)
            return self.api.get("/readyz") == "ok"
        wait_until(ready, timeout, f"the API server (log: {self.logs / 'kube-apiserver.log'})", step=0.1)

    # --- who asks --------------------------------------------------------------------------------------

    def _kubeconfig(self, user, certificate=False, inside=False, server=None, token=None, namespace="default", path=None):
        """Writes a kubeconfig file and gives its path."""
        port = self.inside_port if inside else self.api_port
        server = server or f"https://{self.address if inside else '127.0.0.1'}:{port}"
        pki = self.authority.directory
        if certificate:
            who = {"client-certificate": str(pki / f"{user}.crt"), "client-key": str(pki / f"{user}.key")}
        else:
            who = {"token": token or self.token(user)}
        config = {"apiVersion": "v1", "kind": "Config", "current-context": self.name, "preferences": {},
                  "clusters": [{"name": self.name, "cluster": {"server": server, "certificate-authority": str(pki / "ca.crt")}}],
                  "users": [{"name": user, "user": who}],
                  "contexts": [{"name": self.name, "context": {"cluster": self.name, "user": user, "namespace": namespace}}]}
        path = path or self.directory / f"kubeconfig-{user.replace(':', '-')}-{secrets.token_hex(3)}"
        path.write_text(json.dumps(config, indent=1))
        path.chmod(0o600)
        return path

    def token(self, user):
        for line in (self.authority.directory / "tokens.csv").read_text().splitlines():
            fields = line.split(",")
            if fields[1] == user:
                return fields[0]
        raise ClusterError(f"no user {user} with a token (there are: admin, {', '.join(PLAIN_USERS)})")

    def user_kubeconfig(self, name, groups=(), by="token", inside=False, server=None, namespace="default"):
        """by: "token" (admin, alice, bob, carol: the last three may do nothing until a RoleBinding says so) or "certificate"
        (any name and groups). server: another URL, say a proxy's."""
        if by == "certificate" and not (self.authority.directory / f"{name}.crt").exists():
            self.authority.issue(name, name, groups)
        return self._kubeconfig(name, certificate=by == "certificate", inside=inside, server=server, namespace=namespace)

    def service_account_kubeconfig(self, namespace, account, inside=False, server=None):
        """With a token as the API server gives it to pods of that account; valid for an hour."""
        token = self.api.post(f"/api/v1/namespaces/{namespace}/serviceaccounts/{account}/token",
                              {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {"expirationSeconds": 3600}})["status"]["token"]
        return self._kubeconfig(f"{namespace}:{account}", inside=inside, server=server, token=token, namespace=namespace)

    @property
    def api(self):
        pki = self.authority.directory
        return Api("127.0.0.1", self.api_port, pki / "ca.crt", certificate=(pki / "admin.crt", pki / "admin.key"))

    def kubectl(self, *arguments, stdin=None, check=True, kubeconfig=None, timeout=120):
        """stdin: text, or objects that are given as JSON. Returns the finished process, stdout and stderr as text."""
        if stdin is not None and not isinstance(stdin, str):
            stdin = json.dumps({"apiVersion": "v1", "kind": "List", "items": stdin} if isinstance(stdin, list) else stdin)
        command = [str(tools.path("kubectl")), "--kubeconfig", str(kubeconfig or self.kubeconfig),
                   "--cache-dir", str(self.directory / "kubectl-cache"), *map(str, arguments)]
        done = subprocess.run(command, text=True, capture_output=True, timeout=timeout, check=False,
                              **({"input": stdin} if stdin is not None else {"stdin": subprocess.DEVNULL}))
        if check and done.returncode != 0:
            raise ClusterError(f"kubectl {' '.join(map(str, arguments))}: exit {done.returncode}\n{done.stdout}{done.stderr}".rstrip())
        return done

    def apply(self, manifests, *arguments):
        """manifests: a path, text, an object or a list of objects."""
        if isinstance(manifests, Path):
            return self.kubectl("apply", "-f", manifests, *arguments)
        return self.kubectl("apply", "-f", "-", *arguments, stdin=manifests)

    def install_crds(self, folder):
        """Applies the CRDs of a folder and waits until they are served. (kubectl wait gives up on one that has no conditions yet.)"""
        names = self.kubectl("apply", "-f", folder, "-o", "name").stdout.split()

        def served(name):
            crd = self.api.get(f"/apis/apiextensions.k8s.io/v1/customresourcedefinitions/{name.rsplit('/', 1)[1]}")
            return any(c["type"] == "Established" and c["status"] == "True" for c in crd.get("status", {}).get("conditions") or [])
        wait_until(lambda: all(served(name) for name in names), 30, "the CRDs being served", step=0.1)

    def make_namespace(self, name, pod_security="restricted"):
        self.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {
            "name": name, "labels": {"pod-security.kubernetes.io/enforce": pod_security} if pod_security else {}}})
        wait_until(lambda: self.api.find(f"/api/v1/namespaces/{name}/serviceaccounts/default"), 30, f"the service account of namespace {name}")
        return name

    # --- in the node's network -------------------------------------------------------------------------

    def popen_inside(self, command, env=None, **options):
        """A program of this machine in the node's network (without a node: on this machine). Ends with the cluster."""
        return self.host.popen(command, env=env, **options)

    def run_inside(self, command, env=None, check=True, timeout=120, stdin=None, cwd=None):
        process = self.host.popen(command, env=env, cwd=cwd, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                                  **({"stdin": subprocess.PIPE} if stdin is not None else {}))
        try:
            out, err = process.communicate(stdin, timeout=timeout)
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()
            raise
        if check and process.returncode != 0:
            raise ClusterError(f"{' '.join(map(str, command))}: exit {process.returncode}\n{out}{err}".rstrip())
        return subprocess.CompletedProcess(command, process.returncode, out, err)

    def link(self, name="link", target=None):
        """A proxy in the cluster's network between one process and the API server (or target, HOST:PORT): give the process
        user_kubeconfig(…, server=link.server), then link.cut(), hold(), reset(), heal()."""
        control = self.directory / f"{name}.sock"
        self.component(name, [sys.executable, Path(__file__).with_name("proxy.py"), "--control", control,
                              f"{name}=127.0.0.1:0={target or f'{self.address}:{self.inside_port}'}"])
        wait_until(control.exists, 10, f"the proxy {name}", step=0.02)
        link = Link(control)
        link.port = wait_until(lambda: link.ports(), 10, f"the ports of proxy {name}", step=0.02)[name]
        link.server = f"https://127.0.0.1:{link.port}"
        return link

    def isolate_pod(self, address):
        """Packets between a pod's address and the API server vanish (in both directions) until rejoin_pods()."""
        if not self.node:
            raise ClusterError("only a node has pods to isolate")
        rules = "".join(f"  ip {way} {address} tcp {port} {{ 443, {self.inside_port} }} drop\n" for way, port in (("saddr", "dport"), ("daddr", "sport")))
        chains = "".join(f" chain {hook} {{ type filter hook {hook} priority -300; policy accept;\n{rules} }}\n" for hook in ("prerouting", "output"))
        self.run_inside(["nft", "-f", "-"], stdin=f"add table inet trainyard\ndelete table inet trainyard\ntable inet trainyard {{\n{chains}}}\n")

    def rejoin_pods(self):
        self.run_inside(["nft", "-f", "-"], stdin="add table inet trainyard\ndelete table inet trainyard\n")

    # --- disturbances ----------------------------------------------------------------------------------

    def restart_api(self, kill=False):
        server = self.components["kube-apiserver"]
        if kill:
            server.kill()
        else:
            server.stop(grace=5)
        for tries in range(5):
            server.start()
            try:
                self.wait_api()
                return
            except ClusterError as error:
                # Another cluster that looks for a free port may hold this one for a moment.
                if "address already in use" not in str(error) or tries == 4:
                    raise
                time.sleep(0.5)

    def compact_etcd(self):
        """Forgets all of etcd's history before now: an API server started after this answers 410 to watches from before."""
        url = self.record.data["etcd_url"]
        answer = json.loads(self.run_inside(["curl", "-sS", "-X", "POST", f"{url}/v3/kv/range", "-d", '{"key":"AA=="}']).stdout)
        revision = answer["header"]["revision"]
        answer = json.loads(self.run_inside(["curl", "-sS", "-X", "POST", f"{url}/v3/kv/compaction", "-d",
                                             json.dumps({"revision": revision, "physical": True})]).stdout)
        if "header" not in answer:
            raise ClusterError(f"etcd does not compact: {answer}")
        return int(revision)

    # --- images and nodes ------------------------------------------------------------------------------

    def _ctr(self, *arguments, timeout=300):
        return self.run_inside([tools.path("ctr"), "--address", self.directory / "containerd.sock", "-n", "k8s.io", *arguments], timeout=timeout).stdout

    def load_image(self, archive, name=None):
        """An OCI or Docker archive into the node's containerd: {name: digest}. name: what it is called instead of the name
        that the archive says. It can be referred to by REPOSITORY@DIGEST as well, as the chart does."""
        if not self.node:
            raise ClusterError("a control plane alone runs no images")
        done = self._ctr("images", "import", "--local", "--all-platforms", Path(archive).resolve())
        loaded = [line.split()[1] for line in done.splitlines() if line.startswith("unpacking ")]
        if name and loaded:
            self._ctr("images", "tag", "--force", loaded[0], name)
            loaded = [name]
        listed = {line.split()[0]: line.split()[2] for line in self._ctr("images", "list").splitlines()[1:]}
        for image in loaded:
            head, _, tail = image.rpartition(":")
            self._ctr("images", "tag", "--force", image, f"{head if head and '/' not in tail else image}@{listed[image]}")
        return {image: listed[image] for image in loaded}

    def images(self):
        return self._ctr("images", "list", "-q").split()

    free_ports = staticmethod(free_ports)

    @staticmethod
    def tool(name):
        """The path of kubectl, helm, kubeconform, …, as tools.py built it."""
        tools.build([name])
        return tools.path(name)

    def add_fake_nodes(self, count, cpu="64", memory="256Gi", pods=500):
        """Nodes of kwok: pods on them run and succeed at once, without containers. They are tainted, so that real pods keep
        away: tolerate kwok.x-k8s.io/node, or select type=kwok in a control-plane-only cluster, where they are not tainted."""
        taints = [{"key": "kwok.x-k8s.io/node", "value": "fake", "effect": "NoSchedule"}] if self.node else []
        sizes = {"cpu": cpu, "memory": memory, "pods": str(pods), "ephemeral-storage": "1Ti"}
        if self.gpus and not self.node:
            sizes["nvidia.com/gpu"] = str(self.gpus)
        for i in range(count):
            self.api.post("/api/v1/nodes", {
                "apiVersion": "v1", "kind": "Node", "metadata": {
                    "name": f"kwok-{i}", "labels": {"type": "kwok", "kubernetes.io/hostname": f"kwok-{i}", "kubernetes.io/os": "linux",
                                                    "kubernetes.io/arch": "amd64"},
                    "annotations": {"kwok.x-k8s.io/node": "fake", "node.alpha.kubernetes.io/ttl": "0"}},
                "spec": {"taints": taints}, "status": {"capacity": sizes, "allocatable": sizes}})
        if "kwok" not in self.components:
            stages = self.directory / "kwok.yaml"
            stages.write_text(kwok.stages(self.kwok_result))
            self.component("kwok", [tools.path("kwok"), "--kubeconfig", self.inside_kubeconfig, "--manage-all-nodes=false",
                                    "--manage-nodes-with-annotation-selector=kwok.x-k8s.io/node=fake", "--node-ip", self.address,
                                    "--node-port", "0", "--cidr=10.203.0.0/16", "--node-lease-duration-seconds=16",
                                    "--config", stages])
        wait_until(lambda: sum(ready(n) for n in self.api.get("/api/v1/nodes?labelSelector=type%3Dkwok")["items"]) >= count, 60, "kwok's nodes being ready")


def ready(node):
    return any(c["type"] == "Ready" and c["status"] == "True" for c in node.get("status", {}).get("conditions", []))
