"""What a cluster has on this machine, written down before it is made, so that anybody can remove it later.

Each cluster has one record, NAME.json, in registry(): its directory, its owner, its cgroup, the process that holds its
namespaces. Every process of a cluster carries the environment variable TRAINYARD_TEST_CLUSTER=<mark>, also those that it starts
itself (container shims), and containers are in the cluster's cgroup: so remove() finds what a crash left, even a process
that was started but not yet written down.
"""
import json
import os
import shutil
import signal
import tempfile
import time
from pathlib import Path

MARK = "TRAINYARD_TEST_CLUSTER"


def registry():
    directory = Path(os.environ.get("TRAINYARD_CLUSTERS") or Path(tempfile.gettempdir()) / f"trainyard-clusters-{os.getuid()}")
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    if directory.stat().st_uid != os.getuid():
        raise PermissionError(f"{directory} belongs to somebody else: set TRAINYARD_CLUSTERS to a folder of yours")
    return directory


def start_time(pid):
    """Field 22 of /proc/PID/stat: with it a pid names one process for ever. None when there is no such living process."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    fields = stat[stat.rindex(")") + 2:].split()
    return None if fields[0] in "ZX" else int(fields[19])


def alive(process):
    """process: [pid, start time] as process_of() gave it."""
    return bool(process) and start_time(process[0]) == process[1]


def process_of(pid):
    return [pid, start_time(pid)]


class Record:
    def __init__(self, name, data=None):
        self.name, self.path, self.data = name, registry() / f"{name}.json", data or {}

    def save(self, **changes):
        self.data.update(changes)
        temporary = self.path.with_suffix(".tmp")
        temporary.write_text(json.dumps(self.data, indent=1))
        os.replace(temporary, self.path)

    @classmethod
    def load(cls, name):
        path = registry() / f"{name}.json"
        return cls(name, json.loads(path.read_text())) if path.exists() else None

    @property
    def directory(self):
        return Path(self.data["directory"])

    @property
    def orphan(self):
        """Its script is gone and it was not meant to outlive it."""
        return not self.data.get("detached") and not alive(self.data.get("owner"))


def records():
    return [Record.load(path.stem) for path in sorted(registry().glob("*.json"))]


def remove_orphans(say):
    for record in records():
        if record.orphan:
            say(f"removing what an interrupted cluster left ({record.name})")
            remove(record)


# --- finding ---------------------------------------------------------------------------------------------

def _spared():
    """This process and those above it: a shell inside the cluster may be the one that takes it down."""
    pids, pid = set(), os.getpid()
    while pid > 1:
        pids.add(pid)
        try:
            stat = Path(f"/proc/{pid}/stat").read_text()
        except OSError:
            break
        pid = int(stat[stat.rindex(")") + 2:].split()[1])
    return pids


def marked(mark):
    """Living processes that carry this mark."""
    wanted, found = f"{MARK}={mark}".encode(), []
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            try:
                if wanted in Path(f"/proc/{entry}/environ").read_bytes().split(b"\0") and start_time(entry) is not None:
                    found.append(int(entry))
            except OSError:
                pass
    return found


def cgroup_roots():
    """The mount points of all cgroup hierarchies: (folder, is version 2)."""
    roots = []
    for line in Path("/proc/self/mounts").read_text().splitlines():
        _, folder, kind, *_ = line.split()
        if kind in ("cgroup", "cgroup2"):
            roots.append((Path(folder), kind == "cgroup2"))
    return roots


def _cgroup_folders(cgroup):
    """All folders of this cgroup in all hierarchies, deepest first."""
    folders = []
    for root, _ in cgroup_roots():
        top = root / cgroup.strip("/")
        if top.is_dir():
            folders += [Path(folder) for folder, _, _ in os.walk(top, topdown=False)]
    return folders


def in_cgroup(cgroup):
    pids = set()
    for folder in _cgroup_folders(cgroup) if cgroup else []:
        try:
            pids.update(int(pid) for pid in (folder / "cgroup.procs").read_text().split())
        except OSError:
            pass
    return sorted(pid for pid in pids if start_time(pid) is not None)


def mounts_below(directory):
    below = []
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        point = line.split()[4].encode().decode("unicode_escape")
        if point == str(directory) or point.startswith(f"{directory}/"):
            below.append(point)
    return below


def leftovers(record):
    """What is still there of a cluster, in words; empty after remove()."""
    found = [f"process {pid}" for pid in sorted(set(marked(record.data["mark"])) | set(in_cgroup(record.data.get("cgroup"))))]
    found += [f"mount {point}" for point in mounts_below(record.directory)]
    found += [f"cgroup {folder}" for folder in (_cgroup_folders(record.data["cgroup"]) if record.data.get("cgroup") else [])]
    if record.path.exists():
        found.append(f"record {record.path}")
    return found


# --- removing --------------------------------------------------------------------------------------------

def _kill_all(record, timeout=30):
    spared, deadline = _spared(), time.monotonic() + timeout
    while True:
        pids = [pid for pid in {*marked(record.data["mark"]), *in_cgroup(record.data.get("cgroup"))} if pid not in spared]
        if not pids:
            return
        if time.monotonic() > deadline:
            raise RuntimeError(f"processes of cluster {record.name} do not end: {pids}")
        for pid in pids:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
            try:
                os.waitpid(pid, os.WNOHANG)
            except ChildProcessError:
                pass
        time.sleep(0.05)


def _remove_cgroups(cgroup):
    for _ in range(50):
        folders = _cgroup_folders(cgroup)
        for folder in folders:
            try:
                folder.rmdir()
            except OSError:
                pass
        if not folders:
            return
        time.sleep(0.05)


def _unmount(directory):
    import subprocess
    for point in sorted(mounts_below(directory), key=len, reverse=True):
        subprocess.run(["umount", "-l", point], check=False, stderr=subprocess.DEVNULL)


def remove(record, keep_logs=False):
    """Ends every process, removes cgroups and files. The namespaces, with the mounts and devices in them, end with their last process."""
    _kill_all(record)
    if record.data.get("cgroup"):
        _remove_cgroups(record.data["cgroup"])
    directory = record.directory
    _unmount(directory)
    if directory.is_dir() and record.data.get("made_directory"):
        for entry in directory.iterdir():
            if keep_logs and entry.name == "logs":
                continue
            if entry.is_dir() and not entry.is_symlink():
                shutil.rmtree(entry, ignore_errors=True)
            else:
                entry.unlink(missing_ok=True)
        if not keep_logs:
            shutil.rmtree(directory, ignore_errors=True)
    record.path.unlink(missing_ok=True)
