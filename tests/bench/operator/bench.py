#!/usr/bin/env python3
"""The operator beside a minimal controller-runtime operator (peer/main.go) that makes the same Jobs in the same order, on a real
API server, etcd, scheduler and controller-manager (its limits lifted), with kwok's nodes, whose pods succeed at once with a
result. Written to build/bench/operator.json.

Each side gets a fresh cluster for each repetition. Loads: one chain of five steps alone; chains started two a second (ten steps a second); RUNS chains at once; one run of WIDE
parallel steps; KEPT finished runs of which nothing is to be done. Hand-off is the time from the API server's answer to
the write that ended a step's pod to its receipt of the next step's Job, both from its audit log. CPU seconds and memory are the
operator's own. The machine's limit is the API server, which both share; "bare" is the time for the same number of Jobs
created at once, with no operator at all.
"""
import argparse
import concurrent.futures
import http.client
import json
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from datetime import datetime
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parents[1]), str(HERE.parent)]
import measure  # noqa: E402
from cluster import Cluster, tools  # noqa: E402
from cluster.host import wait_until  # noqa: E402

GROUP = "/apis/trainyard.dev/v1alpha1/namespaces/default"
JOBS = "/apis/batch/v1/namespaces/default/jobs"
DIGEST = "a" * 64
STEPS = 5
RESULT = json.dumps({"outputs": {"o": DIGEST}, "values": {}})
AUDIT = [{"level": "Request", "verbs": ["create"], "resources": [{"group": "batch", "resources": ["jobs"]}]},
         {"level": "None", "users": ["system:apiserver", "system:kube-controller-manager", "system:kube-scheduler"]}, {"level": "Metadata"}]


# --- objects -----------------------------------------------------------------------------------------------------------

def container_step(name, after=None, **more):
    return {"name": name, **({"inputs": [{"name": "o", "from": f"{after}.o"}]} if after else {}),
            "container": {"image": "example.com/step:1", "outputs": ["o"]}, **more}


def pipeline(name, steps):
    return {"apiVersion": "trainyard.dev/v1alpha1", "kind": "TrainingPipeline", "metadata": {"name": name, "namespace": "default"},
            "spec": {"store": {"url": "s3://bucket/bench", "credentialsSecret": "s3"}, "runOn": ["Schedule"], "schedule": {"cron": "0 0 1 1 *"},
                     "steps": steps}}


def chain_pipeline():
    return pipeline("chain", [container_step(f"s{i}", f"s{i - 1}" if i else None) for i in range(STEPS)])


def wide_pipeline(width):
    return pipeline("wide", [container_step("s0", foreach={"items": [f"i{i}" for i in range(width)]})])


def run(name, of, steps, width):
    return {"apiVersion": "trainyard.dev/v1alpha1", "kind": "TrainingRun",
            "metadata": {"name": name, "namespace": "default", "annotations": {"bench/steps": str(steps), "bench/width": str(width)}},
            "spec": {"pipeline": of}}


class Connections:
    """Many small requests: connections are kept, one a thread."""

    def __init__(self, cluster, threads=8):
        self.api, self.local = cluster.api, threading.local()
        self.pool = concurrent.futures.ThreadPoolExecutor(threads)

    def _one(self, method, path, body, content_type="application/json"):
        connection = getattr(self.local, "connection", None)
        if connection is None:
            connection = self.local.connection = http.client.HTTPSConnection(self.api.host, self.api.port, context=self.api.context, timeout=60)
        headers = {"Content-Type": content_type, "User-Agent": "bench"}
        if self.api.token:
            headers["Authorization"] = f"Bearer {self.api.token}"
        try:
            connection.request(method, path, json.dumps(body), headers)
            answer = connection.getresponse()
        except (OSError, http.client.HTTPException):  # idle for too long: the server has closed it
            connection.close()
            connection.request(method, path, json.dumps(body), headers)
            answer = connection.getresponse()
        text = answer.read()
        if answer.status >= 300:
            raise RuntimeError(f"{method} {path}: {answer.status} {text[:300]}")
        return json.loads(text)

    def post_all(self, path, bodies):
        return list(self.pool.map(lambda b: self._one("POST", path, b), bodies))

    def put_all(self, pairs):
        return list(self.pool.map(lambda p: self._one("PUT", *p), pairs))


# --- the two sides --------------------------------------------------------------------------------------------------------

class Operator:
    """A process under measurement."""

    def __init__(self, command, env=None, ready=None):
        self.log = tempfile.NamedTemporaryFile("w+", prefix="bench-operator-", suffix=".log")
        self.process = subprocess.Popen([str(c) for c in command], stdout=self.log, stderr=self.log, env={**os.environ, **(env or {})})
        end = time.monotonic() + 60
        while ready not in Path(self.log.name).read_text():
            if self.process.poll() is not None or time.monotonic() > end:
                raise RuntimeError(f"{command[0]} did not become ready:\n{Path(self.log.name).read_text()[-2000:]}")
            time.sleep(0.05)

    def usage(self):
        pid = self.process.pid
        fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
        status = dict(re.findall(r"^(Vm\w+|Rss\w+):\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text(), re.M))
        return {"cpu_seconds": (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK"), "rss_mib": int(status["VmRSS"]) / 1024,
                "peak_mib": int(status["VmHWM"]) / 1024, "anonymous_mib": int(status["RssAnon"]) / 1024}

    def stop(self):
        self.process.terminate()
        self.process.wait(30)
        self.log.close()


def ours(cluster, _):
    return Operator([measure.BUILD / "bin" / "trainyard-operator", "--kubeconfig", cluster.kubeconfig, "--no-leader-election", "--address", "127.0.0.1",
                     "--metrics-port", "0", "--progress-port", "0", "--image", "artifact=example.com/artifact:1", "--log-format", "json"], ready='"ready"')


def build_peer():
    program = tools.DIRECTORY / "bench-operator-peer"
    source = (HERE / "peer" / "main.go").stat().st_mtime
    if not program.exists() or program.stat().st_mtime < source:
        with tempfile.TemporaryDirectory() as work:
            shutil.copytree(HERE / "peer", work, dirs_exist_ok=True)
            print("bench: building the peer on controller-runtime", flush=True)
            subprocess.run(["go", "build", "-ldflags", "-s -w", "-o", str(program), "."], cwd=work, check=True,
                           env={**os.environ, "CGO_ENABLED": "0", "GOFLAGS": "-trimpath -mod=mod", "GOWORK": "off"})
    return program


def peer(cluster, template):
    return Operator([build_peer()], {"KUBECONFIG": str(cluster.kubeconfig), "JOB_TEMPLATE": str(template)}, ready="Starting workers")


SIDES = {"ours": ours, "peer": peer}
AGENTS = {"ours": "trainyard/", "peer": "peer"}


# --- measuring --------------------------------------------------------------------------------------------------------------

def wait_finished(cluster, names, patience):
    """Seconds until all of these runs say that they succeeded, by a watch."""
    api, left, version = cluster.api, set(names), "0"
    begin = time.monotonic()
    while left:
        connection = http.client.HTTPSConnection(api.host, api.port, context=api.context, timeout=patience)
        headers = {"Authorization": f"Bearer {api.token}"} if api.token else {}
        connection.request("GET", f"{GROUP}/trainingruns?watch=1&resourceVersion={version}", headers=headers)
        for line in connection.getresponse():
            item = json.loads(line)["object"]
            phase = item.get("status", {}).get("phase")
            if phase in ("Failed", "Stopped"):
                raise RuntimeError(f"run {item['metadata']['name']}: {phase}: {item['status'].get('message')}")
            if phase == "Succeeded":
                left.discard(item["metadata"]["name"])
            if not left:
                break
            if time.monotonic() - begin > patience:
                raise RuntimeError(f"{len(left)} runs are not finished after {patience} s")
        connection.close()
    return time.monotonic() - begin


def stamp(text):
    return datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp()


def read_audit(path, agent, since):
    """Hand-offs in ms, and the side's requests by verb, of what happened after `since` (lines of the log)."""
    ended, created, verbs = {}, {}, {}
    for number, line in enumerate(path.read_text().splitlines()):
        if number < since:
            continue
        e = json.loads(line)
        about, who = e.get("objectRef", {}), e.get("userAgent", "")
        if who.startswith(agent) and e["verb"] != "watch":
            key = f"{e['verb']} {about.get('resource', '')}{'/' + about['subresource'] if about.get('subresource') else ''}"
            verbs[key] = verbs.get(key, 0) + 1
        if about.get("resource") == "pods" and about.get("subresource") == "status" and who.startswith("kwok"):
            ended[about["name"].rsplit("-", 1)[0]] = stamp(e["stageTimestamp"])
        if about.get("resource") == "jobs" and e["verb"] == "create" and e.get("requestObject"):
            created[e["requestObject"]["metadata"]["name"]] = stamp(e["requestReceivedTimestamp"])
    handoffs = []
    for name, at in created.items():
        step = re.fullmatch(r"(.*)-s(\d+)((?:-\d+)?-a1)", name)
        before = f"{step[1]}-s{int(step[2]) - 1}{step[3]}" if step else None
        if before in ended:
            handoffs.append((at - ended[before]) * 1000)
    return handoffs, verbs


def lines_in(path):
    return len(path.read_text().splitlines()) if path.exists() else 0


def percentile(values, share):
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else None


def load(cluster, connections, side, operator, name, of, runs, steps, width, patience=300, per_second=None):
    """runs at once, or so many started per second."""
    since, before = lines_in(cluster.logs / "audit.log"), operator.usage()
    names = [f"{name}-{i}" for i in range(runs)]
    begin = time.monotonic()
    for group in [[n] for n in names] if per_second else [names]:
        connections.post_all(f"{GROUP}/trainingruns", [run(n, of, steps, width) for n in group])
        time.sleep(1 / per_second if per_second else 0)
    wait_finished(cluster, names, patience)
    wall = time.monotonic() - begin
    time.sleep(2)  # the audit log is written behind; the last Jobs get their time to live
    after = operator.usage()
    handoffs, verbs = read_audit(cluster.logs / "audit.log", AGENTS[side], since)
    return {"wall_seconds": round(wall, 3), "jobs_per_second": round(runs * steps * width / wall, 1),
            "cpu_seconds": round(after["cpu_seconds"] - before["cpu_seconds"], 2), "peak_mib": round(after["peak_mib"], 1),
            "handoff_p50_ms": percentile(handoffs, 0.5), "handoff_p99_ms": percentile(handoffs, 0.99), "handoffs": len(handoffs), "requests": verbs}


def bare(cluster, connections, template, count):
    """The same Jobs, all at once, with no operator: what the control plane itself takes."""
    job = json.loads(template.read_text())
    bodies = []
    for i in range(count):
        copy = json.loads(json.dumps(job))
        copy["metadata"] = {"name": f"bare-{i}", "namespace": "default", "labels": {"bench/bare": "yes"}}
        copy["spec"]["template"]["metadata"]["labels"] = {"bench/bare": "yes"}
        bodies.append(copy)
    begin = time.monotonic()
    connections.post_all(JOBS, bodies)
    while len([p for p in cluster.api.get("/api/v1/namespaces/default/pods?labelSelector=bench%2Fbare&limit=100000")["items"] if p["status"].get("phase") == "Succeeded"]) < count:
        if time.monotonic() - begin > 600:
            raise RuntimeError("bare Jobs did not end")
        time.sleep(1)
    return time.monotonic() - begin


def new_cluster():
    return Cluster(kwok_nodes=4, kwok_result=RESULT, audit=AUDIT, fast_jobs=True)


def prepare(cluster, options):
    cluster.kubectl("apply", "-f", str(measure.ROOT / "crds"))
    wait_until(lambda: [cluster.api.get(f"{GROUP}/{kind}") for kind in ("trainingpipelines", "trainingruns")], 30, "the CRDs being served")
    for p in (chain_pipeline(), wide_pipeline(options.wide)):
        cluster.api.post(f"{GROUP}/trainingpipelines", p)


def take_template(cluster, path):
    """The Job that our operator made, for the peer and for the bare run."""
    job = cluster.api.get(f"{JOBS}?limit=1")["items"][0]
    spec = job["spec"]
    for key in ("selector", "suspend", "ttlSecondsAfterFinished", "manualSelector"):
        spec.pop(key, None)
    meta = spec["template"]["metadata"]
    spec["template"]["metadata"] = {"annotations": meta.get("annotations", {})}
    path.write_text(json.dumps({"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "x"}, "spec": spec}))


def one_side(side, template, options):
    """All loads but the kept runs, on a cluster of its own."""
    result = {}
    with new_cluster() as cluster:
        prepare(cluster, options)
        connections = Connections(cluster)
        operator = SIDES[side](cluster, template)
        try:
            time.sleep(2)
            result["idle"] = operator.usage()
            singles = [load(cluster, connections, side, operator, f"one{i}", "chain", 1, STEPS, 1) for i in range(options.singles)]
            if side == "ours" and not template.exists():
                take_template(cluster, template)
            result["chain"] = {"wall_seconds": statistics.median(s["wall_seconds"] for s in singles),
                               "handoff_p50_ms": statistics.median(s["handoff_p50_ms"] for s in singles),
                               "handoff_p99_ms": max(s["handoff_p99_ms"] for s in singles)}
            result["paced"] = load(cluster, connections, side, operator, "paced", "chain", options.paced, STEPS, 1, per_second=2)
            result["many"] = load(cluster, connections, side, operator, "many", "chain", options.runs, STEPS, 1)
            result["wide"] = load(cluster, connections, side, operator, "wide", "wide", 1, 1, options.wide)
        finally:
            operator.stop()
        if side == "ours":
            result["bare_seconds"] = bare(cluster, connections, template, options.runs * STEPS)
    return result


def kept(template, options):
    """Memory and start of both with many finished runs in the cluster."""
    result = {}
    with new_cluster() as cluster:
        prepare(cluster, options)
        connections = Connections(cluster)
        operator = ours(cluster, template)
        load(cluster, connections, "ours", operator, "first", "chain", 1, STEPS, 1)
        status = cluster.api.get(f"{GROUP}/trainingruns/first-0")["status"]
        operator.stop()
        made = connections.post_all(f"{GROUP}/trainingruns", [run(f"kept-{i}", "chain", STEPS, 1) for i in range(options.kept)])
        for m in made:
            m["status"] = status
        connections.put_all([(f"{GROUP}/trainingruns/{m['metadata']['name']}/status", m) for m in made])
        for side, start in SIDES.items():
            begin = time.monotonic()
            operator = start(cluster, template)
            seconds = time.monotonic() - begin
            time.sleep(5)
            result[side] = {**operator.usage(), "start_seconds": round(seconds, 2), "runs": options.kept}
            operator.stop()
    return result


def ratio(peer_value, our_value):
    return round(peer_value / our_value, 2) if our_value else None


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=300)
    parser.add_argument("--wide", type=int, default=500)
    parser.add_argument("--kept", type=int, default=10000)
    parser.add_argument("--singles", type=int, default=10)
    parser.add_argument("--paced", type=int, default=40, help="chains started two a second: ten steps a second")
    parser.add_argument("--repetitions", type=int, default=2)
    options = parser.parse_args()
    tools.build([*tools.CONTROL_PLANE, "kwok"])
    build_peer()
    sides = {"ours": [], "peer": []}
    busy = []
    with tempfile.TemporaryDirectory() as directory:
        template = Path(directory) / "job.json"
        for repetition in range(options.repetitions):
            for side in SIDES:
                busy.append(round(measure.wait_until_quiet(), 2))
                print(f"bench: {side}, repetition {repetition + 1}", flush=True)
                sides[side].append(one_side(side, template, options))
                print(json.dumps({k: v for k, v in sides[side][-1].items() if k != "requests"}), flush=True)
        many_finished = kept(template, options) if options.kept else {}
    # The better run of each side, by the load that says most.
    best = {side: min(runs, key=lambda r: r["many"]["wall_seconds"]) for side, runs in sides.items()}
    a, b = best["ours"], best["peer"]
    bare_seconds = min(r["bare_seconds"] for r in sides["ours"])
    jobs = options.runs * STEPS
    result = {
        "ours": a, "peer": b, "kept": many_finished, "all": sides, "busy_before": busy, "bare_seconds": round(bare_seconds, 2),
        "ratio": {"paced_handoff_p50": ratio(b["paced"]["handoff_p50_ms"], a["paced"]["handoff_p50_ms"]),
                  "paced_handoff_p99": ratio(b["paced"]["handoff_p99_ms"], a["paced"]["handoff_p99_ms"]),
                  "handoff_p50": ratio(b["chain"]["handoff_p50_ms"], a["chain"]["handoff_p50_ms"]), "chain_wall": ratio(b["chain"]["wall_seconds"], a["chain"]["wall_seconds"]),
                  "many_wall": ratio(b["many"]["wall_seconds"], a["many"]["wall_seconds"]), "wide_wall": ratio(b["wide"]["wall_seconds"], a["wide"]["wall_seconds"]),
                  "cpu": ratio(b["many"]["cpu_seconds"], a["many"]["cpu_seconds"]), "idle_memory": ratio(b["idle"]["rss_mib"], a["idle"]["rss_mib"]),
                  "idle_anonymous": ratio(b["idle"]["anonymous_mib"], a["idle"]["anonymous_mib"]),
                  "peak_memory": ratio(b["many"]["peak_mib"], a["many"]["peak_mib"]),
                  **({"kept_memory": ratio(many_finished["peer"]["rss_mib"], many_finished["ours"]["rss_mib"])} if many_finished else {})},
        "many_over_bare": round(a["many"]["wall_seconds"] / bare_seconds, 2),
        "writes_per_step": round(sum(n for verb, n in a["many"]["requests"].items() if verb.split()[0] in ("create", "update", "patch", "delete")
                                     and verb.split()[1] not in ("events", "leases")) / jobs, 2),
        "versions": {"kubernetes": tools.KUBERNETES, "kwok": tools.SOURCES["kwok"].version, "controller-runtime": re.search(r"controller-runtime (\S+)", (HERE / "peer" / "go.mod").read_text())[1]},
        "sizes": {"runs": options.runs, "steps": STEPS, "wide": options.wide, "kept": options.kept}, "repetitions": options.repetitions,
    }
    measure.write("operator", result)
    print(json.dumps(result["ratio"]))


if __name__ == "__main__":
    main()
