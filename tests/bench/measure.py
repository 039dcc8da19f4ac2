"""What the benchmarks share: running a command and reading what it cost, waiting for a quiet machine, medians, the result file."""
import json
import os
import platform
import statistics
import subprocess
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
BUILD = ROOT / os.environ.get("BUILD", "build")


def busy_share(seconds=1.0):
    """Share of CPU time used by anybody."""
    def read():
        fields = [int(x) for x in Path("/proc/stat").read_text().split("\n")[0].split()[1:]]
        return sum(fields), fields[3] + fields[4]
    total0, idle0 = read()
    time.sleep(seconds)
    total1, idle1 = read()
    return 1 - (idle1 - idle0) / max(1, total1 - total0)


def wait_until_quiet(limit=0.12, patience=60):
    """The busy share just before a run; waits a while for it to fall below the limit."""
    end = time.monotonic() + patience
    share = busy_share()
    while share > limit and time.monotonic() < end:
        share = busy_share(2)
    return share


def run(command, **kwargs):
    """One run: wall and CPU seconds (with its children), peak resident MiB of its largest process, standard output."""
    begin = time.monotonic()
    process = subprocess.Popen([str(c) for c in command], stdout=subprocess.PIPE, text=True, **kwargs)
    output = process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != 0:
        raise RuntimeError(f"{command}: exit {process.returncode}")
    return {"seconds": time.monotonic() - begin, "cpu_seconds": usage.ru_utime + usage.ru_stime, "peak_mib": usage.ru_maxrss / 1024, "output": output}


def summary(runs, key="seconds"):
    values = [r[key] for r in runs]
    return {"median": statistics.median(values), "best": min(values), "worst": max(values)}


def machine():
    model = next((line.split(":", 1)[1].strip() for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")), platform.machine())
    return {"cpu": model, "cores": os.cpu_count(), "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30), "date": time.strftime("%Y-%m-%d")}


def write(name, result):
    path = BUILD / "bench" / f"{name}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({**result, "machine": machine()}, indent=2) + "\n")
    print(f"wrote {path}")
