#!/usr/bin/env python3
"""The test cluster itself: a control plane alone and the whole node do what the tests of the operator take for granted,
and leave nothing behind, also when the script that started them is killed."""
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

TESTS = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(TESTS), str(TESTS / "harness")]

from cluster import Cluster, node_blockers, oci, record, tools  # noqa: E402
from cluster.api import ApiError  # noqa: E402
from cluster.host import wait_until  # noqa: E402
from yard import Cases  # noqa: E402

cases = Cases()


def traces():
    """What a cluster could leave outside its directory."""
    found = {f"/sys/fs/cgroup {p.name}" for root, _ in record.cgroup_roots() for p in root.glob("trainyard-*")}
    found |= {f"netns {p.name}" for p in Path("/run/netns").glob("*")} if Path("/run/netns").is_dir() else set()
    for folder in ("/var/lib/cni", "/var/lib/kubelet", "/var/log/pods", "/var/log/containers", "/run/containerd"):
        if Path(folder).is_dir():
            found |= {str(p) for p in Path(folder).rglob("*")}
        elif Path(folder).exists():
            found.add(folder)
    return found


def gone(cluster, before, what):
    cases.equal(f"{what}: no process, mount, cgroup or record is left", cluster.leftovers(), [])
    cases.check(f"{what}: its directory is gone", not cluster.directory.exists())
    cases.equal(f"{what}: nothing is left elsewhere", sorted(traces() - before), [])


def control_plane(before):
    started = time.monotonic()
    with Cluster(s3=True) as cluster:
        cases.check("the control plane is ready", True, f"{time.monotonic() - started:.1f} s")
        cases.equal("kubectl speaks to it", "default" in cluster.kubectl("get", "namespaces", "-o", "name").stdout, True)
        alice = cluster.user_kubeconfig("alice")
        refused = cluster.kubectl("get", "secrets", kubeconfig=alice, check=False)
        cases.check("a plain user may not read Secrets", refused.returncode != 0 and "forbidden" in refused.stderr, refused.stderr.strip()[:120])
        dave = cluster.user_kubeconfig("dave", ["trainers"], by="certificate")
        cluster.apply([{"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role", "metadata": {"name": "read", "namespace": "default"},
                        "rules": [{"apiGroups": [""], "resources": ["configmaps"], "verbs": ["list"]}]},
                       {"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding", "metadata": {"name": "read", "namespace": "default"},
                        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "read"},
                        "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "Group", "name": "trainers"}]}])
        allowed = cluster.kubectl("get", "configmaps", kubeconfig=dave, check=False)
        cases.equal("a user by certificate has the rights of its group", allowed.returncode, 0)
        account = cluster.kubectl("auth", "whoami", "-o", "json", kubeconfig=cluster.service_account_kubeconfig("default", "default"))
        cases.equal("a service account's token is accepted", json.loads(account.stdout)["status"]["userInfo"]["username"], "system:serviceaccount:default:default")

        link = cluster.link("partition")
        through = cluster.user_kubeconfig("admin", server=link.server)
        cases.equal("through a link the API server answers", cluster.kubectl("get", "--raw", "/readyz", kubeconfig=through).stdout, "ok")
        link.cut()
        cases.check("a cut link refuses", cluster.kubectl("get", "--raw", "/readyz", kubeconfig=through, check=False).returncode != 0)
        link.heal()
        cases.equal("a healed link serves again", cluster.kubectl("get", "--raw", "/readyz", kubeconfig=through).stdout, "ok")

        version = cluster.api.get("/api/v1/configmaps")["metadata"]["resourceVersion"]
        for i in range(3):
            cluster.api.post("/api/v1/namespaces/default/configmaps", {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": f"c{i}"}})
        cases.check("etcd compacts", cluster.compact_etcd() > int(version))
        cluster.restart_api()
        try:
            # With an exact match etcd itself has to answer, which has forgotten.
            cluster.api.get(f"/api/v1/namespaces/default/configmaps?resourceVersion={version}&resourceVersionMatch=Exact&limit=1")
            cases.check("what was compacted is gone for the API server", False, "it still answers")
        except ApiError as error:
            cases.equal("what was compacted is gone for the API server", error.status, 410)
        done = subprocess.run(["curl", "-sS", "-o", os.devnull, "-w", "%{http_code}", "--cacert", str(cluster.s3.ca), cluster.s3.host_tls_endpoint],
                              text=True, capture_output=True, check=False)
        cases.equal("the S3 server answers over TLS", done.stdout, "403")
    gone(cluster, before, "after a control plane")


def interrupted(before):
    """A script that is killed cannot clean up; the next one does."""
    program = f"import sys; sys.path.insert(0, {str(TESTS)!r}); from cluster import Cluster; Cluster(name='killed').up(); print('up', flush=True); input()"
    for number, name in ((signal.SIGINT, "interrupted"), (signal.SIGKILL, "killed")):
        text = program if number == signal.SIGKILL else program.replace("Cluster(name='killed').up()", "c = Cluster(name='killed').__enter__()").replace(
            "input()", "\ntry: input()\nexcept BaseException:\n c.__exit__(*sys.exc_info())\n raise")
        process = subprocess.Popen([sys.executable, "-c", text], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        process.stdout.readline()
        cluster = Cluster.attach("killed")
        process.send_signal(number)
        process.wait(60)
        if number == signal.SIGKILL:
            cases.check("the servers of a killed script live on", bool(record.marked(cluster.record.data["mark"])))
            subprocess.run([sys.executable, TESTS / "cluster" / "down.py", "--orphans"], check=True, capture_output=True)
        cluster.keep_logs = False
        cases.equal(f"a script that was {name}: nothing runs any more", record.marked(cluster.record.data["mark"]), [])
        cases.check(f"a script that was {name}: its record is gone", not cluster.record.path.exists())
        subprocess.run(["rm", "-rf", str(cluster.directory)], check=True)  # the kept logs
    cases.equal("after killed scripts: nothing is left elsewhere", sorted(traces() - before), [])


SCRIPT = """
set -e
echo "address $POD_IP"
echo "token $(test -e /var/run/secrets/kubernetes.io && echo yes || echo no)"
peer=work-$((1 - JOB_COMPLETION_INDEX)).peers
for i in 1 2 3 4 5 6 7 8 9 10; do
    rc=0; curl -s --connect-timeout 5 http://$peer:9/ || rc=$?
    test $rc = 6 || break
    sleep 0.5
done
echo "peer $rc"
echo "api $(curl -sS --cacert /root-ca/ca.crt https://kubernetes.default.svc/version | cat)"
echo hello | curl -sS --cacert /s3/ca.pem --aws-sigv4 aws:amz:us-east-1:s3 --user "$AWS_ACCESS_KEY_ID:$AWS_SECRET_ACCESS_KEY" \
    -H "x-amz-content-sha256: UNSIGNED-PAYLOAD" -T - -H "Content-Length: 6" -H "Transfer-Encoding:" -o /dev/null -w 'put %{http_code}\\n' \
    https://s3.trainyard.test:7443/trainyard/from-$JOB_COMPLETION_INDEX
"""


def job(image):
    security = {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}
    container = {
        "name": "step", "image": image, "command": ["sh", "-c", SCRIPT], "imagePullPolicy": "Never", "securityContext": security,
        "env": [{"name": "POD_IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}}], "envFrom": [{"secretRef": {"name": "s3-credentials"}}],
        "volumeMounts": [{"name": "root-ca", "mountPath": "/root-ca"}, {"name": "s3", "mountPath": "/s3"}],
        "resources": {"requests": {"cpu": "10m", "memory": "16Mi"}, "limits": {"memory": "64Mi", "nvidia.com/gpu": "1"}}}
    pod = {"restartPolicy": "Never", "subdomain": "peers", "automountServiceAccountToken": False, "terminationGracePeriodSeconds": 1,
           "securityContext": {"runAsNonRoot": True, "runAsUser": 65532, "seccompProfile": {"type": "RuntimeDefault"}},
           "containers": [container],
           "volumes": [{"name": "root-ca", "configMap": {"name": "kube-root-ca.crt"}}, {"name": "s3", "configMap": {"name": "s3-authority"}}]}
    return [{"apiVersion": "v1", "kind": "Service", "metadata": {"name": "peers"},
             "spec": {"clusterIP": "None", "publishNotReadyAddresses": True, "selector": {"job-name": "work"}}},
            {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "work"},
             "spec": {"completions": 2, "parallelism": 2, "completionMode": "Indexed", "backoffLimit": 0, "activeDeadlineSeconds": 60,
                      "template": {"metadata": {"labels": {"job-name": "work"}}, "spec": pod}}}]


def node(before):
    started = time.monotonic()
    with Cluster(node=True, gpus=2) as cluster:
        cases.check("the node is ready", True, f"{time.monotonic() - started:.1f} s")
        names = cluster.load_image(oci.toolbox(cluster.directory / "toolbox.tar"))
        cases.check("an image is loaded", "localhost/toolbox:1" in cluster.images(), str(names))
        by_digest = f"localhost/toolbox@{names['localhost/toolbox:1']}"
        cluster.make_namespace("work")
        cluster.apply([cluster.s3.secret_manifest("work"), cluster.s3.authority_manifest("work")])
        bad = cluster.kubectl("apply", "-f", "-", check=False, stdin={
            "apiVersion": "v1", "kind": "Pod", "metadata": {"name": "bad", "namespace": "work"},
            "spec": {"hostNetwork": True, "containers": [{"name": "c", "image": "localhost/toolbox:1"}]}})
        cases.check('the namespace enforces "restricted"', bad.returncode != 0 and "violates PodSecurity" in bad.stderr, bad.stderr.strip()[:100])
        created = time.monotonic()
        cluster.apply(job(by_digest), "-n", "work")
        wait_until(lambda: any(c["status"] == "True" and c["type"] in ("Complete", "Failed") for c in cluster.api.get(
            "/apis/batch/v1/namespaces/work/jobs/work")["status"].get("conditions", [])), 60, "the Job's end", step=0.1)
        status = cluster.api.get("/apis/batch/v1/namespaces/work/jobs/work")["status"]
        cases.equal("an Indexed Job of two pods with a GPU each, of an image by digest, completes", status.get("completedIndexes"), "0,1")
        print(f"# create to Complete: {time.monotonic() - created:.1f} s")
        pods = sorted(cluster.api.get("/api/v1/namespaces/work/pods?labelSelector=job-name%3Dwork")["items"], key=lambda p: p["metadata"]["name"])
        addresses = {p["status"]["podIP"] for p in pods}
        cases.check("pods have addresses of their own", len(addresses) == 2 and all(a.startswith("10.202.") for a in addresses), str(sorted(addresses)))
        for pod in pods:
            log = cluster.kubectl("logs", "-n", "work", pod["metadata"]["name"]).stdout
            index = pod["metadata"]["annotations"]["batch.kubernetes.io/job-completion-index"]
            lines = dict(line.split(" ", 1) for line in log.splitlines() if " " in line and not line.startswith(" "))
            cases.equal(f"pod {index}: kubectl logs shows its own address", lines.get("address"), pod["status"]["podIP"])
            cases.equal(f"pod {index}: has no token", lines.get("token"), "no")
            # 6: the name was not found; 7: refused; 0, 28, 52, 56: somebody was there
            cases.check(f"pod {index}: a headless name resolves", lines.get("peer") not in (None, "6"), f"curl {lines.get('peer')}")
            cases.check(f"pod {index}: the API server's service address answers over TLS", f"v{tools.KUBERNETES}" in log, f"v{tools.KUBERNETES}")
            cases.equal(f"pod {index}: writes to S3 over TLS", lines.get("put"), "200")
            found = cluster.s3.directory / cluster.s3.bucket / f"from-{index}"
            cases.equal(f"pod {index}: and S3 has it", found.read_text() if found.exists() else None, "hello\n")
        cases.equal("a program of this machine resolves and reaches the service address in the node's network", cluster.run_inside(
            ["curl", "-s", "-o", os.devnull, "-w", "%{http_code}", "--cacert", cluster.authority.certificate, "https://kubernetes.default.svc/readyz"]).stdout, "200")
        if cases.failed:
            cluster.keep_logs = True
    if not cluster.keep_logs:
        gone(cluster, before, "after a node")


def main():
    absent = tools.missing(tools.CONTROL_PLANE)
    if absent:
        print(f"{', '.join(absent)} not built: run tests/tools/deps.sh cluster")
        return 77
    before = traces()
    control_plane(before)
    interrupted(before)
    blockers = node_blockers()
    absent = tools.missing(tools.NODE)
    if absent:
        blockers.append(f"{', '.join(absent)} not built: run tests/tools/deps.sh cluster")
    if blockers:
        cases.skip("the whole node", "; ".join(blockers))
    else:
        node(before)
    return cases.finish()


if __name__ == "__main__":
    sys.exit(main())
