#!/usr/bin/env python3
"""The s3:// back end behind a proxy that injects faults: each must be survived (and the bytes be right), or end in the right
error; and nothing may be published twice, torn, or left half-done."""
import hashlib
import os
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "harness"))
import faultproxy as fault  # noqa: E402
from storetool import Tool, build_tool  # noqa: E402
from versitygw import Versitygw  # noqa: E402
from yard import Cases  # noqa: E402

MIB = 1 << 20
PART = 5 * MIB


def sha(data):
    return hashlib.sha256(data).hexdigest()


class Bench:
    """The proxy, a client through it, one past it, and files to move."""

    def __init__(self, gateway, proxy, directory):
        self.gateway, self.proxy = gateway, proxy
        self.tool = Tool("s3://bucket/pre", endpoint=proxy.endpoint, deadline="6s", part_bytes=PART)
        self.direct = Tool("s3://bucket/pre", endpoint=gateway.endpoint, part_bytes=PART)
        self.source, self.target = directory / "source", directory / "target"

    def fill(self, size):
        data = os.urandom(size)
        self.source.write_bytes(data)
        return data

    def same(self, data):
        return self.target.exists() and self.target.read_bytes() == data


TRANSIENT = [
    ("503 SlowDown", fault.status(503, "SlowDown"), 3),
    ("500 InternalError", fault.status(500, "InternalError"), 2),
    ("429 with Retry-After: 1", fault.status(429, "TooManyRequests", [("Retry-After", "1")]), 1),
    ("400 RequestTimeout", fault.status(400, "RequestTimeout"), 1),
    ("connection reset before the server heard", fault.cut_request, 2),
    ("reply lost after success", fault.lose_reply, 1),
]


def small_requests(cases, b):
    for name, action, times in TRANSIENT:
        for operation, expected in ((("put", "k", "text"), {}), (("get", "k"), {"text": "text"}), (("head", "k"), {"size": 4}), (("list", "k"), {"keys": ["k"]}),
                                    (("range", "k", 0, 2), {"sha256": sha(b"te")}), (("delete", "gone"), {})):
            if operation[0] == "head" and name.startswith("400"):
                continue  # its answer has no body to say so
            b.proxy.clear()
            rule = b.proxy.inject(action, times=times)
            r = b.tool(*operation)
            ok = r["ok"] and rule.hits == times and all(r.get(k) == v for k, v in expected.items())
            if name.startswith("429"):
                ok = ok and r["wall"] >= 0.95
            cases.check(f"{operation[0]} survives: {name}", ok, "" if ok else f"{rule.hits} hits, {r}")


def bodies(cases, b):
    data = b.fill(300000)
    b.direct("putfile", "body", b.source)
    text = "y" * 5000
    b.direct("put", "text", text)
    for name, action in (("cut in mid-body", fault.cut_body(2000)), ("truncated", fault.truncate_body(2000)), ("corrupted", fault.corrupt_reply(2000)),
                         ("slow to begin", fault.dribble(4096, 0.02)), ("stalled", fault.stall(30, 2000))):
        b.proxy.clear()
        b.proxy.inject(action, method="GET")
        r = b.tool("get", "text", 10000)
        cases.check(f"get: body {name}", r["ok"] and r["sha256"] == sha(text.encode()), str(r) if not r["ok"] else "")
    for name, action in (("cut in mid-body", fault.cut_body(100001)), ("truncated", fault.truncate_body(100001)), ("corrupted", fault.corrupt_reply(100001)),
                         ("dribbling", fault.dribble(65536, 0.05)), ("stalled", fault.stall(30, 100001))):
        for with_digest in (True, False):
            b.proxy.clear()
            b.target.unlink(missing_ok=True)
            b.proxy.inject(action, method="GET")
            r = b.tool("getfile", "body", b.target, sha(data) if with_digest else "-", len(data) if with_digest else -1)
            cases.check(f"getfile: body {name}, {'digest known' if with_digest else 'nothing known'}", r["ok"] and b.same(data), str(r) if not r["ok"] else "")
    b.proxy.clear()
    b.proxy.inject(fault.cut_body(100001), method="GET")
    b.tool("getfile", "body", b.target, sha(data), len(data))
    ranges = [x.header("range") for x in b.proxy.seen if x.method == "GET"]
    cases.equal("a broken download resumes where it broke", ranges, [None, "bytes=100001-"])
    b.proxy.clear()
    b.proxy.inject(fault.corrupt_reply(5), method="GET", times=None)
    r = b.tool("getfile", "body", b.target, sha(data))
    cases.equal("a body that stays corrupt: checksum, exit 74", (r["reason"], r["exit"]), ("checksum", 74))
    b.proxy.clear()
    b.proxy.inject(fault.corrupt_reply(5), method="GET", times=None)
    r = b.tool("get", "text", 10000)
    cases.equal("a small body that stays corrupt is an error", (r["ok"], r["reason"]), (False, "checksum"))
    b.proxy.clear()

    def replace(x):
        b.direct("put", "body", "another")
        fault.cut_body(100001)(x)

    def answer_first(x):
        code, headers, body = x.forward()
        b.direct("put", "body", "another")
        x.client.sendall(x.head(code, headers, len(body)) + body[:100001])
        x.reset()
    b.proxy.inject(answer_first, method="GET")
    r = b.tool("getfile", "body", b.target, "-", -1)
    cases.equal("an object replaced while it is read: source-changed, exit 75", (r.get("reason"), r.get("exit")), ("source-changed", 75))


def parts(cases, b):
    data = b.fill(3 * PART + 12345)
    faults = [(n, a, t, m, p) for n, a, t in TRANSIENT for m, p in (("PUT", "partNumber=2"), ("POST", "uploads"))]
    faults += [("a corrupted part", fault.corrupt_request(1000), 1, "PUT", "partNumber=2"), ("completion refused once", fault.status(503, "SlowDown"), 1, "POST", "uploadId"),
               ("completion: 200 with an error inside", fault.canned(200, [], b"<Error><Code>InternalError</Code></Error>"), 1, "POST", "uploadId"),
               ("completion done, reply lost", fault.lose_reply, 1, "POST", "uploadId")]
    for name, action, times, method, path in faults:
        for digest in ("-", sha(data)):
            b.proxy.clear()
            b.direct("delete", "parts")
            rule = b.proxy.inject(action, method=method, path=path, times=times)
            r = b.tool("putfile", "parts", b.source, digest)
            b.target.unlink(missing_ok=True)
            back = b.direct("getfile", "parts", b.target, sha(data), len(data)) if r["ok"] else {"ok": False}
            ok = r["ok"] and back["ok"] and rule.hits == times and b.same(data)
            cases.check(f"upload in parts, {method} {path}: {name}, digest {'given' if digest != '-' else 'not given'}", ok, "" if ok else f"{rule.hits} hits, {r}")
    b.direct("putfile", "parts", b.source)
    for name, action in (("cut", fault.cut_body(PART // 2)), ("truncated", fault.truncate_body(PART // 2)), ("503", fault.status(503, "SlowDown")), ("corrupted", fault.corrupt_reply(PART // 2))):
        b.proxy.clear()
        b.target.unlink(missing_ok=True)
        b.proxy.inject(action, method="GET", skip=1)
        r = b.tool("getfile", "parts", b.target)
        cases.check(f"download in pieces: one piece {name}", r["ok"] and b.same(data), "" if r["ok"] else str(r))


def given_up(cases, b):
    data = b.fill(2 * PART + 1)
    b.direct("delete", "given-up")
    b.proxy.clear()
    b.proxy.inject(fault.status(503, "SlowDown"), method="PUT", path="partNumber=2", times=None)
    start = time.monotonic()
    r = b.tool("putfile", "given-up", b.source, sha(data), deadline="2s")
    cases.equal("a part that never passes: retry, exit 69", (r.get("class"), r.get("exit")), ("retry", 69))
    cases.check("… given up at the deadline", time.monotonic() - start < 8)
    cases.equal("… and aborted", [x.method for x in b.proxy.seen if "uploadId" in x.target][-1], "DELETE")
    cases.equal("… and nothing is there", b.direct("head", "given-up")["class"], "not-found")
    for name, action in (("503 for ever", fault.status(503, "SlowDown")), ("resets for ever", fault.cut_request), ("silence", fault.stall(30))):
        b.proxy.clear()
        b.proxy.inject(action, times=None)
        start = time.monotonic()
        r = b.tool("get", "k", deadline="2s")
        cases.check(f"get, {name}: retry, exit 69, within the deadline", r["class"] == "retry" and r["exit"] == 69 and time.monotonic() - start < 6, str(r))
    b.proxy.clear()
    b.proxy.inject(fault.corrupt_request(100), method="PUT", times=None)
    r = b.tool("putfile", "given-up", b.source, "-", part_bytes=PART)
    cases.equal("parts that always arrive damaged: an error, nothing published", (r["ok"], b.direct("head", "given-up")["class"]), (False, "not-found"))
    rule = b.proxy.inject(fault.status(403, "AccessDenied"), times=None)
    b.proxy.rules.remove(rule)
    b.proxy.clear()
    rule = b.proxy.inject(fault.status(403, "AccessDenied"), times=None)
    r = b.tool("put", "k", "x")
    cases.equal("refused: not retried", (r["exit"], r["reason"], rule.hits), (78, "credentials", 1))
    b.proxy.clear()
    b.proxy.inject(fault.status(400, "AuthorizationHeaderMalformed", [("x-amz-bucket-region", "eu-west-1")]), times=None)
    r = b.tool("put", "k", "x")
    cases.check("a wrong region is named", r["reason"] == "region" and "eu-west-1" in r["message"], str(r))


def conditional(cases, b):
    """A retried conditional write may lose against itself, and says so; it never publishes twice."""
    for name, action in (("reply lost after success", fault.lose_reply), ("409 by a concurrent writer, then done", fault.status(409, "ConditionalRequestConflict")),
                         ("503", fault.status(503, "SlowDown"))):
        b.direct("delete", "commit")
        b.proxy.clear()
        b.proxy.inject(action, method="PUT")
        r = b.tool("put", "commit", "mine", "none")
        there = b.direct("get", "commit")["text"]
        expected = "exists" if action is fault.lose_reply else None
        cases.equal(f"If-None-Match, {name}", (r.get("class"), there), (expected, "mine"))
    b.direct("put", "doc", "one")
    etag = b.direct("head", "doc")["etag"]
    b.proxy.clear()
    b.proxy.inject(fault.lose_reply, method="PUT")
    r = b.tool("put", "doc", "two", etag)
    cases.equal("If-Match, reply lost after success: conflict, the caller reads and adopts", (r["class"], b.direct("get", "doc")["text"]), ("conflict", "two"))
    # another writer comes between the lost reply and the retry: it must not be overwritten
    etag = b.direct("head", "doc")["etag"]
    b.proxy.clear()

    def lose_and_overtake(x):
        _, headers, _ = x.forward()
        now = next(v for k, v in headers if k.lower() == "etag")
        assert b.direct("put", "doc", "theirs", now)["ok"]
        x.reset()
    b.proxy.inject(lose_and_overtake, method="PUT")
    r = b.tool("put", "doc", "mine", etag)
    cases.equal("If-Match, overtaken before the retry: the other's text stays", (r["class"], b.direct("get", "doc")["text"]), ("conflict", "theirs"))
    b.proxy.clear()
    b.proxy.inject(fault.status(409, "ConditionalRequestConflict"), method="PUT", times=None)
    r = b.tool("put", "commit", "mine", "none")
    cases.equal("If-None-Match, 409 for ever: exists", r["class"], "exists")


def clock_and_token(cases, b, directory):
    b.proxy.clear()
    first = b.proxy.inject(fault.status(403, "RequestTimeTooSkewed"), method="PUT")
    done = b.tool.many([("put", "skew", "x"), ("put", "skew", "y")])
    cases.equal("clock skew: one refusal, then right", ([r["ok"] for r in done], first.hits, len(b.proxy.seen)), ([True, True], 1, 3))
    b.proxy.clear()
    b.proxy.inject(fault.status(403, "RequestTimeTooSkewed"), times=None)
    r = b.tool("put", "skew", "x")
    cases.equal("clock skew for ever: exit 78, reason clock, after one correction", (r["exit"], r["reason"], len(b.proxy.seen)), (78, "clock", 2))

    secret = directory / "rotating"
    secret.mkdir()
    for name, text in (("AWS_ACCESS_KEY_ID", "testaccess"), ("AWS_SECRET_ACCESS_KEY", "testsecret"), ("AWS_SESSION_TOKEN", "old")):
        (secret / name).write_text(text)
    mounted = Tool("s3://bucket/pre", keys=None, endpoint=b.proxy.endpoint, credentials_dir=secret, deadline="5s")

    def expire(x):  # the Secret is renewed at the same moment
        (secret / "AWS_SESSION_TOKEN").write_text("new")
        fault.status(400, "ExpiredToken")(x)
    b.proxy.clear()
    b.proxy.inject(expire, when=lambda x: x.header("x-amz-security-token") == "old")
    b.proxy.inject(fault.canned(200, [("ETag", '"e"')]), times=None)  # the server behind knows no tokens
    r = mounted("put", "token", "x")
    cases.equal("expired token: read afresh, once more", (r["ok"], [x.header("x-amz-security-token") for x in b.proxy.seen]), (True, ["old", "new"]))
    b.proxy.clear()
    b.proxy.inject(fault.status(400, "ExpiredToken"), times=None)
    r = mounted("head", "token")
    cases.equal("expired token on HEAD, for ever: exit 78 after one refresh", (r["exit"], len(b.proxy.seen)), (78, 2))


def main():
    cases = Cases()
    build_tool()
    with tempfile.TemporaryDirectory(prefix="store-faults-") as temporary:
        directory = Path(temporary)
        try:
            gateway = Versitygw(directory / "gateway")
        except FileNotFoundError as missing:
            print(f"skipped: {missing}")
            return 77
        with gateway, fault.FaultProxy(gateway.port) as proxy:
            gateway.make_bucket("bucket")
            b = Bench(gateway, proxy, directory)
            small_requests(cases, b)
            bodies(cases, b)
            parts(cases, b)
            given_up(cases, b)
            conditional(cases, b)
            clock_and_token(cases, b, directory)
            left = [p for p in (gateway.directory / "bucket").rglob("*") if ".sgwtmp" in str(p) and p.is_file()]
            cases.check("parts left behind: at most those of uploads whose creation's reply was lost", len(left) == 0, str(left))
    return cases.finish()


if __name__ == "__main__":
    sys.exit(main())
