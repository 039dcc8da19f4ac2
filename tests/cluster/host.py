"""Where a cluster's processes run: plainly on this machine, or in namespaces and a cgroup of their own."""
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

from . import record as records

NODE_ADDRESS = "10.201.0.1"
_HIDDEN = ("/run", "/var/lib", "/var/log")
CNI_PLUGINS = Path("/usr/lib/cni")


class ClusterError(Exception):
    pass


def say(text):
    print(f"cluster: {text}", file=sys.stderr, flush=True)


def node_blockers():
    """Why this machine cannot run the whole node; empty when it can."""
    reasons = []
    if os.getuid() != 0:
        reasons.append("not root (network namespaces, mounts and cgroups need it)")
    for program, package in (("runc", "runc"), ("nft", "nftables"), ("conntrack", "conntrack"), ("ip", "iproute2"), ("gcc", "gcc"),
                             ("nsenter", "util-linux"), ("unshare", "util-linux"), ("curl", "curl")):
        if not shutil.which(program):
            reasons.append(f"{program} is missing (Debian package {package})")
    for plugin in ("ptp", "host-local", "loopback"):
        if not (CNI_PLUGINS / plugin).exists():
            reasons.append(f"{CNI_PLUGINS / plugin} is missing (Debian package containernetworking-plugins)")
    roots = records.cgroup_roots()
    if not roots:
        reasons.append("no cgroup hierarchy is mounted")
    elif not reasons:
        for root, _ in roots:
            probe = root / f"trainyard-probe-{os.getpid()}"
            try:
                probe.mkdir()
                probe.rmdir()
            except OSError as error:
                reasons.append(f"cgroups cannot be made in {root}: {error.strerror}")
                break
    if not reasons:
        probe = subprocess.run(["unshare", "--net", "--mount", "--propagation", "private", "true"], capture_output=True, text=True, check=False)
        if probe.returncode != 0:
            reasons.append(f"namespaces cannot be made: {probe.stderr.strip()}")
    return reasons


def wait_until(condition, timeout, what, step=0.05):
    """condition() is called until it gives something true, which is returned; an exception of it counts as "not yet"."""
    deadline, last = time.monotonic() + timeout, None
    while True:
        try:
            value = condition()
            if value:
                return value
        except ClusterError:
            raise
        except Exception as error:  # pylint: disable=broad-except
            last = error
        if time.monotonic() > deadline:
            raise ClusterError(f"{what}: not within {timeout:g} s" + (f" (last: {last})" if last else ""))
        time.sleep(step)


class Host:
    """Starts processes of one cluster. Without enter_namespaces() they run as any child would."""

    def __init__(self, record):
        self.record = record
        self.holder = None

    @property
    def logs(self):
        return self.record.directory / "logs"

    @property
    def environment(self):
        return {records.MARK: self.record.data["mark"]}

    # --- namespaces ------------------------------------------------------------------------------------

    def enter_namespaces(self):
        """One process holds a network and a mount namespace; /run, /var/lib, /var/log and resolv.conf are the cluster's own there."""
        directory = self.record.directory
        for hidden in _HIDDEN:
            if str(directory.resolve()).startswith(hidden + "/"):
                raise ClusterError(f"the cluster's directory {directory} must not be below {hidden}, which is hidden in its namespaces")
        own = directory / "host"
        commands = ["set -eu"]
        for hidden in _HIDDEN:
            folder = own / hidden.strip("/").replace("/", "-")
            folder.mkdir(parents=True, exist_ok=True)
            commands.append(f"mount --bind '{folder}' {hidden}")
        resolv = directory / "resolv.conf"
        resolv.write_text("nameserver 10.96.0.10\nsearch svc.cluster.local cluster.local\noptions ndots:5\n")
        commands += [
            "mkdir -p /run/netns /var/lib/kubelet /var/lib/cni /var/log/pods /var/log/containers",
            f"mount --bind '{resolv}' \"$(readlink -m /etc/resolv.conf)\" 2>/dev/null || mount --bind '{resolv}' /etc/resolv.conf",
            "ip link set lo up",
            "ip link add node0 type bridge",
            f"ip address add {NODE_ADDRESS}/24 dev node0",
            "ip link set node0 up",
            f"ip route add default via {NODE_ADDRESS} dev node0",
            "echo 1 >/proc/sys/net/ipv4/ip_forward",
            f"touch '{directory}/namespaces'",
            "exec sleep infinity",
        ]
        (directory / "namespaces").unlink(missing_ok=True)
        with open(self.logs / "namespaces.log", "ab") as log:
            process = subprocess.Popen(["unshare", "--net", "--mount", "--propagation", "private", "sh", "-c", "\n".join(commands)],
                                       stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
                                       env={**os.environ, **self.environment})
        self.record.save(holder=records.process_of(process.pid))

        def ready():
            if process.poll() is not None:
                raise ClusterError(f"the node's namespaces could not be made: {(self.logs / 'namespaces.log').read_text().strip()}")
            return (directory / "namespaces").exists()

        wait_until(ready, 10, "making the node's namespaces", step=0.01)
        self.holder = process.pid

    def make_cgroup(self):
        """A cgroup in every hierarchy, which is the kubelet's root; the cluster's servers are in its child `servers`."""
        cgroup = self.record.data["cgroup"].strip("/")
        for root, version2 in records.cgroup_roots():
            if version2 and len(records.cgroup_roots()) == 1:
                self._enable_controllers(root)
            top = root / cgroup
            (top / "servers").mkdir(parents=True, exist_ok=True)
            for name in ("cpuset.cpus", "cpuset.mems"):  # version 1 leaves them empty, and then nothing can join
                if not version2 and (root / name).exists():
                    for folder in (top, top / "servers"):
                        (folder / name).write_text((root / name).read_text())
            if version2 and len(records.cgroup_roots()) == 1:
                self._enable_controllers(top)

    @staticmethod
    def _enable_controllers(folder):
        for controller in (folder / "cgroup.controllers").read_text().split():
            try:
                (folder / "cgroup.subtree_control").write_text(f"+{controller}")
            except OSError:
                pass  # what is missing the kubelet names itself

    def _prefix(self, directory):
        """The words before a command that put it into the cluster's cgroup and namespaces; they exec, so its pid is ours."""
        if not self.holder:
            return []
        joins = [str(root / self.record.data["cgroup"].strip("/") / "servers" / "cgroup.procs") for root, version2 in records.cgroup_roots()
                 if version2 or root.name in ("pids", "freezer")]
        script = 'n=$1; shift; while [ $n -gt 0 ]; do echo $$ >"$1"; shift; n=$((n-1)); done; exec "$@"'
        return ["sh", "-c", script, "sh", str(len(joins)), *joins, "nsenter", f"--net=/proc/{self.holder}/ns/net",
                f"--mount=/proc/{self.holder}/ns/mnt", f"--wdns={directory}", "--"]

    # --- processes -------------------------------------------------------------------------------------

    def popen(self, command, inside=True, cwd=None, env=None, **options):
        """subprocess.Popen in the cluster's namespaces (where it has any)."""
        cwd = Path(cwd or self.record.directory)
        words = [str(word) for word in command]
        if inside:
            words = self._prefix(cwd) + words
        options.setdefault("stdin", subprocess.DEVNULL)
        return subprocess.Popen(words, cwd=cwd, env={**os.environ, **self.environment, **(env or {})}, **options)


class Component:
    """One server of the cluster: start, stop, kill, pause, resume, restart. Its output goes to logs/NAME.log."""

    def __init__(self, host, name, command, env=None, inside=True):
        self.host, self.name, self.command, self.env, self.inside = host, name, [str(word) for word in command], env or {}, inside
        self.process = None

    @property
    def log(self):
        return self.host.logs / f"{self.name}.log"

    @property
    def pid(self):
        known = self.host.record.data.get("processes", {}).get(self.name)
        return known[0] if records.alive(known) else None

    def start(self):
        if self.pid:
            return self
        with open(self.log, "ab") as log:
            self.process = self.host.popen(self.command, inside=self.inside, env=self.env, stdout=log, stderr=log, start_new_session=True)
        processes = {**self.host.record.data.get("processes", {}), self.name: records.process_of(self.process.pid)}
        self.host.record.save(processes=processes)
        return self

    def ended(self):
        """How it ended, in words with the last lines of its log; None while it runs."""
        if self.process:
            self.process.poll()
        if self.pid:
            return None
        tail = self.log.read_text(errors="replace").splitlines()[-12:] if self.log.exists() else []
        return f"{self.name} has ended" + "".join(f"\n    {line[:400]}" for line in tail)

    def signal(self, number):
        pid = self.pid
        if pid:
            os.kill(pid, number)

    def stop(self, grace=10):
        """SIGTERM, then SIGKILL after grace seconds."""
        self.signal(signal.SIGTERM)
        if not self._gone(grace):
            self.kill()

    def kill(self):
        self.signal(signal.SIGKILL)
        if not self._gone(10):
            raise ClusterError(f"{self.name} does not end")

    def _gone(self, seconds):
        deadline = time.monotonic() + seconds
        while True:
            if self.process:
                self.process.poll()
            if not self.pid:
                return True
            if time.monotonic() > deadline:
                return False
            time.sleep(0.02)

    def pause(self):
        """As if the machine had stopped: nothing is closed, nothing answers."""
        self.signal(signal.SIGSTOP)

    def resume(self):
        self.signal(signal.SIGCONT)

    def restart(self, grace=10):
        self.stop(grace)
        return self.start()
