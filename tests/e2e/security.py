#!/usr/bin/env python3
"""Who may do what: step pods, the operator, hostile manifests, approvals, progress posts."""
import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
import scene  # noqa: E402

NS = "e2e-security"


def step_pods(s):
    look = s.box("look", "absent", "/var/run/secrets/kubernetes.io/serviceaccount/token", "absent", "/var/run/secrets/tokens", "absent", "/trainyard/token",
                 "user", scene.WORKER_USER)
    run = s.start(NS, "looks", [look])
    done = s.finished(NS, run, 90)
    s.cases.equal("a step finds no token", done["status"]["phase"], "Succeeded")
    pod = s.pods(NS, run, "look")[0]
    s.cases.equal("its pod asks for none", (pod["spec"].get("automountServiceAccountToken"), json.dumps(pod["spec"]).count("serviceAccountToken\"")), (False, 0))
    s.cases.check("only our containers are in it", [c["name"] for c in pod["spec"].get("initContainers", [])] == ["fetch", "step"])
    for c in [*pod["spec"]["initContainers"], *pod["spec"]["containers"]]:
        names = {e["name"] for e in c.get("env", [])}
        s.cases.check(f"no credential in the environment of {c['name']}", not names & {"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"}, str(names))


def account(s):
    found = s.list(scene.SYSTEM, "pods", "app.kubernetes.io/name=trainyard")
    return f"system:serviceaccount:{scene.SYSTEM}:{found[0]['spec']['serviceAccountName']}"


def may(s, who, *what):
    """what: verb, resource[/subresource] or secrets/NAME, …"""
    verb, resource, *rest = what
    if "/" in resource and not resource.startswith("secrets/"):
        resource, subresource = resource.split("/")
        rest = [f"--subresource={subresource}", *rest]
    return s.cluster.kubectl("auth", "can-i", f"--as={who}", verb, resource, *rest, check=False).stdout.strip() == "yes"


def operators_rights(s):
    who = account(s)
    key = "trainyard-operator-key"
    own = ["-n", scene.SYSTEM]
    for expected, *what in (
            (True, "get", f"secrets/{key}", *own), (True, "create", "secrets", *own), (False, "get", "secrets", *own), (False, "list", "secrets", *own),
            (False, "watch", "secrets", *own), (False, "get", "secrets", "-n", NS), (False, "get", f"secrets/{key}", "-n", NS),
            (False, "create", "secrets", "-n", NS), (False, "create", "pods/exec", "-n", NS), (False, "create", "pods/attach", "-n", NS),
            (False, "get", "pods/log", "-n", NS), (False, "create", "pods", "-n", NS), (False, "create", "pods/ephemeralcontainers", "-n", NS),
            (False, "create", "serviceaccounts/token", "-n", NS), (False, "create", "rolebindings.rbac.authorization.k8s.io", "-n", NS),
            (False, "delete", "namespaces"), (False, "update", "trainingpipelines.trainyard.dev", "-n", NS), (False, "get", "nodes"),
            (True, "create", "jobs.batch", "-n", NS), (True, "update", "trainingruns.trainyard.dev/status", "-n", NS)):
        s.cases.equal(f"the operator {'may' if expected else 'may not'} {' '.join(what)}", may(s, who, *what), expected)


def hostile(s):
    """Each is refused by the API server, or ends with a reason and without a pod."""
    def box(**step):
        return [s.box("go", "exit", 0, **step)]
    mount = [{"name": "v", "mountPath": "/v"}]
    table = {
        "a hostPath": (box(podTemplate={"volumes": [{"name": "v", "hostPath": {"path": "/"}}], "volumeMounts": mount}), {}, ["hostPath"]),
        "a privileged container": (box(container={"securityContext": {"privileged": True}}), {}, ["securityContext"]),
        "the host's network": (box(podTemplate={"hostNetwork": True}), {}, ["hostNetwork"]),
        "the host's processes": (box(podTemplate={"hostPID": True}), {}, ["hostPID"]),
        "another service account": (box(podTemplate={"serviceAccountName": "trainyard"}), {}, ["serviceAccountName"]),
        "a token by projection": (box(podTemplate={"volumes": [{"name": "v", "projected": {"sources": [{"serviceAccountToken": {"path": "t"}}]}}],
                                                   "volumeMounts": mount}), {}, ["projected"]),
        "root as user": (box(container={"runAsUser": 0}), {}, ["runAsUser"]),
        "a path as a step's name": ([s.box("../../other", "exit", 0)], {}, ["name"]),
        "a path as an output's name": (box(container={"outputs": ["../../../etc"]}), {}, ["outputs"]),
        "a mount over ours": (box(podTemplate={"volumes": [{"name": "v", "emptyDir": {}}], "volumeMounts": [{"name": "v", "mountPath": "/trainyard/secrets"}]}), {},
                              ["/trainyard"]),
        "our own variable": (box(podTemplate={"env": [{"name": "TRAINYARD_RUN_UID", "value": "other"}]}), {}, ["TRAINYARD_"]),
        "our own label": (box(podTemplate={"labels": {"trainyard.dev/run": "other"}}), {}, ["trainyard.dev"]),
        "a file:// store": (box(), {"store": {"url": "file:///etc"}}, ["file://"]),
    }
    for i, (what, (steps, spec, words)) in enumerate(table.items()):
        name = f"hostile-{i}"
        done = s.cluster.kubectl("apply", "--validate=strict", "-f", "-", stdin=s.pipeline(NS, name, steps, **spec), check=False)
        said, how = done.stderr, "by the API server"
        if done.returncode == 0:
            said, how = no_pod(s, name), "by the operator"
        missing = [w for w in words if w not in said]
        s.cases.check(f"{what} is refused {how}, with a reason", bool(said) and not missing, "" if said and not missing else f"expected {words}: {said[:600]!r}")


def no_pod(s, name):
    """The reason with which the pipeline or its run was refused; "" when something was started."""
    def said():
        ready = s.condition(s.get(NS, "trainingpipelines", name) or {}, "Ready")
        if ready.get("status") == "False":
            return ready.get("message", "")
        for run in s.runs(NS, name):
            if s.jobs(NS, run["metadata"]["name"]):
                return "\0"
            if run.get("status", {}).get("phase") == "Failed":
                return s.brief(run)
        return None
    try:
        found = s.until("a refusal", 20, said)
    except TimeoutError as error:
        return f"neither refused nor started: {error}"
    return "" if found == "\0" else found


def approvals(s):
    steps = [{"name": "ask", "approval": {"message": "Shall it go on?"}}, s.box("go", "exit", 0, after=["ask"])]
    run = s.start(NS, "asks", steps)
    s.until("the question", 30, lambda: s.item(s.get(NS, "trainingruns", run), "ask").get("state") == "AwaitingApproval")
    rule = {"apiGroups": ["trainyard.dev"], "resources": ["trainingruns"], "verbs": ["get", "patch", "update"]}
    for user, verbs in (("alice", [*rule["verbs"], "approve"]), ("bob", rule["verbs"])):
        s.cluster.apply([{"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role", "metadata": {"name": user, "namespace": NS},
                          "rules": [{**rule, "verbs": verbs}]},
                         {"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding", "metadata": {"name": user, "namespace": NS},
                          "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": user}, "subjects": [{"kind": "User", "name": user}]}])

    def approve(user, by):
        body = json.dumps({"spec": {"approvals": [{"step": "ask", "by": by, "comment": "fine"}]}})
        return s.cluster.kubectl("patch", "tr", run, "-n", NS, "--type=merge", "-p", body, check=False, kubeconfig=s.cluster.user_kubeconfig(user))

    other = approve("alice", "carol")
    s.cases.check("an approval by another name is refused", other.returncode != 0 and "by" in other.stderr, other.stderr)
    without = approve("bob", "bob")
    s.cases.check("an approval without the verb approve is refused", without.returncode != 0 and "approve" in without.stderr, without.stderr)
    own = approve("alice", "alice")
    s.cases.check("an approval by one's own name is taken", own.returncode == 0, own.stderr)
    done = s.finished(NS, run, 60)
    s.cases.equal("and the run goes on", (done["status"]["phase"], "unverified" in json.dumps(done["status"])), ("Succeeded", False))


def progress(s):
    run = s.start(NS, "posts", [s.box("go", "sleep", 12)])

    def environment():
        for p in s.pods(NS, run, "go"):
            if p["status"].get("phase") in ("Pending", "Running"):
                return {e["name"]: e.get("value") for e in p["spec"]["containers"][0]["env"]}
        return None
    env = s.until("its pod", 30, environment)
    url, token = env["TRAINYARD_PROGRESS_URL"], env["TRAINYARD_PROGRESS_TOKEN"]

    def post(with_token, where=url, body='{"fraction": 0.5}'):
        done = s.cluster.run_inside(["curl", "-sS", "-L", "--post301", "--post302", "--location-trusted", "-o", "/dev/null", "-w", "%{http_code}", "-X", "POST",
                                     "-H", "Content-Type: application/json", *(["-H", f"Authorization: Bearer {with_token}"] if with_token else []),
                                     "--data", body, where], check=False, timeout=20)
        return done.stdout
    wrong = ("0" if token[0] != "0" else "1") + token[1:]
    s.cases.equal("a progress post with a wrong token", post(wrong), "401")
    s.cases.equal("one without a token", post(None), "401")
    s.cases.check("the right token", post(token) in ("200", "202", "204"), post(token))
    s.cases.check("one attempt's token for another's", post(token, url.rsplit("/", 1)[0] + "/2") in ("401", "404", "410"))
    s.cases.check("too large a body", post(token, body=json.dumps({"message": "x" * 100000})) in ("400", "413"))
    s.finished(NS, run, 60)
    code = ""

    def ended():
        nonlocal code
        code = post(token)
        return code == "410"
    try:
        s.until("410", 20, ended)
    except TimeoutError:
        pass
    s.cases.equal("one after its end", code, "410")


def scenario(s):
    s.namespace(NS)
    s.case("step pods", step_pods)
    s.case("the operator's rights", operators_rights)
    s.case("hostile manifests", hostile)
    s.case("approvals", approvals)
    s.case("progress", progress)


if __name__ == "__main__":
    sys.exit(scene.main(scenario))
