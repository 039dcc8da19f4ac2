#!/usr/bin/env python3
"""The s3:// back end against a real S3 server (versitygw): over http and TLS, all operations, races between processes,
paging, multipart, credentials from files and from a web identity, a clock that is off, virtual-hosted addressing."""
import hashlib
import http.server
import os
import subprocess
import sys
import tempfile
import threading
import time
from datetime import datetime, timedelta, timezone
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "harness"))
from faultproxy import FaultProxy, canned  # noqa: E402
from storetool import TOOL, Tool, build_tool  # noqa: E402
from versitygw import Versitygw  # noqa: E402
from yard import Cases  # noqa: E402

MIB = 1 << 20


def sha(data):
    return hashlib.sha256(data).hexdigest()


def make_certificate(directory):
    """A CA and a server certificate for 127.0.0.1."""
    run = lambda *a: subprocess.run(["openssl", *a], cwd=directory, check=True, capture_output=True)  # noqa: E731
    run("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2", "-keyout", "ca.key", "-out", "ca.pem", "-subj", "/CN=test CA")
    run("req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", "server.key", "-out", "server.csr", "-subj", "/CN=127.0.0.1")
    (directory / "ext").write_text("subjectAltName=IP:127.0.0.1\n")
    run("x509", "-req", "-in", "server.csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-days", "2", "-out", "server.pem", "-extfile", "ext")
    return directory / "server.pem", directory / "server.key", directory / "ca.pem"


def small_objects(cases, tool):
    cases.equal("probe: conditional writes are honoured", tool("probe")["ok"], True)
    put = tool("put", "a/doc.json", "one")
    got = tool("get", "a/doc.json")
    cases.equal("put, get: the same text and ETag", (got["text"], got["etag"]), ("one", put["etag"]))
    cases.equal("head: size", tool("head", "a/doc.json")["size"], 3)
    cases.check("head: modification time is now", abs(tool("head", "a/doc.json")["mtime_ms"] / 1000 - time.time()) < 60)
    cases.equal("range", tool("range", "a/doc.json", 1, 2)["sha256"], sha(b"ne"))
    short = tool("range", "a/doc.json", 1, 9)
    cases.equal("a short range is an error", (short["exit"], short["reason"]), (65, "short"))
    beyond = tool("range", "a/doc.json", 9, 1)
    cases.equal("a range beyond the end is an error", (beyond["exit"], beyond["reason"]), (65, "short"))
    cases.equal("get: larger than the maximum", tool("get", "a/doc.json", 2)["class"], "invalid")
    for operation in (("get", "none"), ("head", "none"), ("range", "none", 0, 1), ("getfile", "none", "/nonexistent-dir/x")):
        r = tool(*operation) if operation[0] != "getfile" else tool("getfile", "none", Path(tempfile.gettempdir()) / f"none-{os.getpid()}")
        cases.equal(f"{operation[0]}: missing is not-found, exit 66", (r["class"], r["exit"]), ("not-found", 66))
    cases.equal("a new object by If-None-Match", tool("put", "c/new", "1", "none")["ok"], True)
    cases.equal("If-None-Match on an existing one: exists", tool("put", "c/new", "2", "none")["class"], "exists")
    etag = tool("head", "c/new")["etag"]
    cases.equal("If-Match with its ETag", tool("put", "c/new", "3", etag)["ok"], True)
    cases.equal("If-Match with an old ETag: conflict", tool("put", "c/new", "4", etag)["class"], "conflict")
    cases.equal("If-Match on a missing object: conflict", tool("put", "c/none", "4", etag)["class"], "conflict")
    cases.equal("the winner's text is there", tool("get", "c/new")["text"], "3")
    cases.equal("delete", (tool("delete", "c/new")["ok"], tool("delete", "c/new")["ok"], tool("head", "c/new")["class"]), (True, True, "not-found"))
    cases.equal("an empty object", (tool("put", "empty", "")["ok"], tool("get", "empty")["size"]), (True, 0))
    odd = "odd/a b+c=&ü~!*'(),$@;.txt"
    cases.equal("a key with every kind of character", (tool("put", odd, "x")["ok"], tool("get", odd).get("text"), tool("list", "odd/")["keys"]), (True, "x", [odd]))
    cases.equal("an unsafe key is refused", tool("put", "a/../b", "x")["reason"], "store-key")


def files(cases, tool, directory, name):
    source, target = directory / "source", directory / "target"
    for label, size in (("empty", 0), ("one request", 3 * MIB + 17), ("parts", 17 * MIB + 5), ("parts that end evenly", 10 * MIB)):
        data = os.urandom(size)
        source.write_bytes(data)
        for with_digest in (True, False):
            key = f"files/{label}/{with_digest}"
            digest = sha(data) if with_digest else "-"
            up = tool("putfile", key, source, digest, part_bytes=5 * MIB)
            known = tool("getfile", key, target, sha(data), size, part_bytes=5 * MIB)
            ok = up["ok"] and known["ok"] and target.read_bytes() == data
            target.unlink(missing_ok=True)
            unknown = tool("getfile", key, target, "-", -1, part_bytes=MIB)
            ok = ok and unknown["ok"] and target.read_bytes() == data
            cases.check(f"{name}: file of {size} bytes ({label}), digest {'given' if with_digest else 'not given'}", ok, "" if ok else f"{up} {known} {unknown}")
    etag = tool("head", "files/parts/True")["etag"]
    cases.equal(f"{name}: a pinned ETag that matches", tool("getfile", "files/parts/True", target, "-", -1, etag)["ok"], True)
    changed = tool("getfile", "files/parts/True", target, "-", -1, '"0123"')
    cases.equal(f"{name}: a pinned ETag that does not: source-changed, exit 75", (changed["reason"], changed["exit"]), ("source-changed", 75))
    target.unlink()
    wrong = tool("getfile", "files/one request/True", target, sha(b"other"))
    cases.equal(f"{name}: a wrong digest: checksum, exit 74", (wrong["reason"], wrong["exit"]), ("checksum", 74))
    size = tool("getfile", "files/one request/True", target, "-", 5)
    cases.equal(f"{name}: a wrong size: checksum, exit 74", (size["reason"], size["exit"]), ("checksum", 74))
    cases.check(f"{name}: nothing half-written stays", not list(directory.glob("target*")))
    for size in (3 * MIB, 12 * MIB):
        source.write_bytes(os.urandom(size))
        lie = tool("putfile", "files/lie", source, sha(b"not this"), part_bytes=5 * MIB)
        cases.equal(f"{name}: a file of {size} bytes that is not what its digest says", (lie["reason"], lie["exit"], tool("head", "files/lie")["class"]), ("checksum", 74, "not-found"))


def stored_damage(cases, tool, gateway, directory):
    data = os.urandom(12 * MIB)
    source, target = directory / "source", directory / "target"
    source.write_bytes(data)
    tool("putfile", "damage/a", source, part_bytes=5 * MIB)
    stored = gateway.directory / "bucket" / "pre" / "damage" / "a"
    with open(stored, "r+b") as f:
        f.seek(7 * MIB)
        f.write(b"damaged")
    r = tool("getfile", "damage/a", target, part_bytes=5 * MIB)
    cases.equal("bytes altered in the store are found by CRC32C over the pieces", (r.get("reason"), r.get("exit"), target.exists()), ("checksum", 74, False))


def no_uploads_left(cases, gateway):
    left = [p for p in (gateway.directory / "bucket").rglob("*") if ".sgwtmp" in str(p) and p.is_file()]
    cases.equal("failed uploads were aborted: no part is left", left, [])


def listing(cases, tool):
    names = [f"page/{i:04d}" for i in range(1100)]
    done = tool.many([("put", n, "x") for n in names])
    cases.equal("1,100 objects over one connection", sum(r["ok"] for r in done), 1100)
    cases.equal("listing in pages: all, in order", tool("list", "page/")["keys"], names)
    cases.equal("a prefix is text", tool("list", "page/00")["n"], 100)
    cases.equal("our own objects are not listed", [k for k in tool("list")["keys"] if "trainyard" in k], [])


def races(cases, tool):
    def many(operations):
        processes = [subprocess.Popen(tool.command(o, {}), stdout=subprocess.PIPE, text=True) for o in operations]
        return [p.communicate()[0] for p in processes]
    wins = [sum('"ok":true' in out for out in many([("put", f"race/{i}", f"writer {w}", "none") for w in range(6)])) for i in range(8)]
    cases.equal("six writers, eight keys: one creator each", wins, [1] * 8)
    tool("put", "race/cas", "before")
    etag = tool("head", "race/cas")["etag"]
    cases.equal("six writers with one ETag: one wins", sum('"ok":true' in out for out in many([("put", "race/cas", f"writer {w}", etag) for w in range(6)])), 1)


def credentials(cases, tool, gateway, directory):
    secret = directory / "secret"
    secret.mkdir()
    (secret / "AWS_ACCESS_KEY_ID").write_text("testaccess\n")
    (secret / "AWS_SECRET_ACCESS_KEY").write_text("testsecret\n")
    mounted = Tool(tool.options["url"], keys=None, endpoint=gateway.endpoint, credentials_dir=secret)
    cases.equal("credentials from mounted files", mounted("put", "cred/a", "x")["ok"], True)
    for key, why in ((("testaccess", "wrong"), "a wrong secret"), (("nobody", "x"), "an unknown key")):
        r = Tool(tool.options["url"], keys=key, endpoint=gateway.endpoint)("get", "cred/a")
        cases.equal(f"{why}: exit 78, reason credentials", (r["exit"], r["reason"]), (78, "credentials"))
    r = Tool(tool.options["url"], keys=None, endpoint=gateway.endpoint)("get", "cred/a")
    cases.equal("none at all: exit 78, reason credentials", (r["exit"], r["reason"]), (78, "credentials"))
    r = Tool(tool.options["url"], keys=None, endpoint=gateway.endpoint, credentials_dir=directory / "nowhere")("get", "cred/a")
    cases.equal("a Secret that is not mounted: exit 78, the file named", (r["exit"], "AWS_ACCESS_KEY_ID" in r["message"]), (78, True))
    r = Tool("s3://nobucket/x", endpoint=gateway.endpoint)("put", "a", "x")
    cases.equal("no such bucket: exit 78", (r["exit"], r["reason"]), (78, "no-such-bucket"))
    r = Tool(tool.options["url"], endpoint="http://127.0.0.1:1", deadline="1s")("get", "a")
    cases.equal("nobody listens: retried until the deadline, exit 69", (r["class"], r["exit"], r["wall"] < 5), ("retry", 69, True))
    # a rotated Secret is read again by a handle that is open
    process = subprocess.Popen(mounted.command(["-"], {}), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    answers = []
    for text in ("testsecret", "wrong", "testsecret"):
        replacement = secret / "new"
        replacement.write_text(text)
        replacement.rename(secret / "AWS_SECRET_ACCESS_KEY")
        process.stdin.write("head\tcred/a\n")
        process.stdin.flush()
        answers.append('"ok":true' in process.stdout.readline())
    process.communicate()
    cases.equal("a Secret that is replaced is read again", answers, [True, False, True])


class TokenService(http.server.BaseHTTPRequestHandler):
    """AssumeRoleWithWebIdentity, for one token."""
    exchanges, lifetime, fail_first = 0, 3600, 0

    def do_POST(self):
        form = self.rfile.read(int(self.headers["Content-Length"])).decode()
        cls = type(self)
        cls.exchanges += 1
        ok = "Action=AssumeRoleWithWebIdentity" in form and "WebIdentityToken=the.token%2Bx" in form and "RoleArn=arn%3Aaws%3Aiam%3A%3A1%3Arole%2Fr" in form
        if cls.fail_first > 0:
            cls.fail_first -= 1
            code, body = 503, "<ErrorResponse><Error><Code>Unavailable</Code></Error></ErrorResponse>"
        elif not ok:
            code, body = 403, "<ErrorResponse><Error><Code>AccessDenied</Code></Error></ErrorResponse>"
        else:
            expires = (datetime.now(timezone.utc) + timedelta(seconds=cls.lifetime)).strftime("%Y-%m-%dT%H:%M:%SZ")
            code, body = 200, ("<AssumeRoleWithWebIdentityResponse xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\"><AssumeRoleWithWebIdentityResult><Credentials>"
                               f"<AccessKeyId>testaccess</AccessKeyId><SecretAccessKey>testsecret</SecretAccessKey><SessionToken>session{cls.exchanges}</SessionToken>"
                               f"<Expiration>{expires}</Expiration></Credentials></AssumeRoleWithWebIdentityResult></AssumeRoleWithWebIdentityResponse>")
        self.send_response(code)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body.encode())

    def log_message(self, *_):
        pass


def web_identity(cases, gateway, directory):
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), TokenService)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    token = directory / "token"
    token.write_text("the.token+x\n")
    with FaultProxy(gateway.port) as proxy:
        tool = Tool("s3://bucket/pre", keys=None, endpoint=proxy.endpoint, token_file=token, role_arn="arn:aws:iam::1:role/r", sts_endpoint=f"http://127.0.0.1:{server.server_port}/")
        # versitygw knows no session tokens: the proxy answers for it
        for method, code, body in (("PUT", 200, b""), ("GET", 200, b"x"), ("HEAD", 200, b"")):
            proxy.inject(canned(code, [("ETag", '"e"')] + ([("Content-Length", "1")] if method == "HEAD" else []), body), method=method, times=None)
        TokenService.fail_first = 1
        done = tool.many([("put", "web/a", "x"), ("get", "web/a")])
        cases.equal("web identity: exchanged once (after a 503) and used", ([r["ok"] for r in done], TokenService.exchanges), ([True, True], 2))
        cases.equal("web identity: the session token is sent", {x.header("x-amz-security-token") for x in proxy.seen}, {"session2"})
        TokenService.exchanges, TokenService.lifetime = 0, 21
        process = subprocess.Popen(tool.command(["-"], {}), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        for wait in (0, 0, 11):
            time.sleep(wait)
            process.stdin.write("head\tweb/a\n")
            process.stdin.flush()
            cases.check("web identity: head", '"ok":true' in process.stdout.readline())
        process.communicate()
        cases.equal("web identity: refreshed before its expiry, not at each request", TokenService.exchanges, 2)
        token.write_text("stolen")
        r = tool("head", "web/a")
        cases.equal("web identity: a refused token: exit 78", r["exit"], 78)
    server.shutdown()
    server.server_close()


def headers(cases, gateway):
    with FaultProxy(gateway.port) as proxy:
        tool = Tool("s3://bucket/pre", endpoint=proxy.endpoint, sse="aws:kms", sse_key_id="alias/ml")
        proxy.inject(canned(200, [("ETag", '"e"')]), method="PUT")
        cases.equal("SSE headers: put", tool("put", "sse/a", "x")["ok"], True)
        x = proxy.seen[-1]
        cases.equal("SSE headers: sent and signed", (x.header("x-amz-server-side-encryption"), x.header("x-amz-server-side-encryption-aws-kms-key-id"),
                                                     "x-amz-server-side-encryption-aws-kms-key-id" in x.header("Authorization")), ("aws:kms", "alias/ml", True))
        cases.check("every request carries the hash of its payload", all(x.header("x-amz-content-sha256") for x in proxy.seen))


def clock(cases, tool):
    for offset in ("40m", "-40m"):
        done = tool.many([("put", "clock/a", "x"), ("get", "clock/a")], clock_offset=offset)
        cases.equal(f"a clock that is off by {offset} is corrected", [r["ok"] for r in done], [True, True])


def virtual_hosted(cases, directory):
    with Versitygw(directory / "virtual", options=["--virtual-domain", "localhost"]) as gateway:
        gateway.make_bucket("bucket")
        tool = Tool("s3://bucket/pre", endpoint=f"http://localhost:{gateway.port}", addressing="virtual")
        cases.equal("virtual-hosted addressing", (tool("put", "v", "x").get("ok"), tool("list")["keys"]), (True, ["v"]))
        cases.check("virtual-hosted: in the bucket, not in a folder of its name", (gateway.directory / "bucket" / "pre" / "v").exists())


def tls(cases, directory):
    certificate, key, ca = make_certificate(directory)
    with Versitygw(directory / "tls", tls=(certificate, key)) as gateway:
        gateway.make_bucket("bucket")
        tool = Tool("s3://bucket/pre", endpoint=gateway.endpoint, ca_file=ca)
        cases.equal("TLS with the CA bundle", tool("put", "a", "x")["ok"], True)
        untrusted = tool("get", "a", ca_file=None)
        cases.equal("TLS without it: exit 78, reason tls, at once", (untrusted["exit"], untrusted["reason"], untrusted["wall"] < 5), (78, "tls", True))
        missing = tool("get", "a", ca_file="/nonexistent.pem")
        cases.equal("TLS with a bundle that is not there: exit 78, reason tls", (missing["exit"], missing["reason"]), (78, "tls"))
        files(cases, tool, directory, "TLS")


def main():
    cases = Cases()
    build_tool()
    with tempfile.TemporaryDirectory(prefix="store-s3-") as temporary:
        directory = Path(temporary)
        (directory / "work").mkdir()
        try:
            gateway = Versitygw(directory / "gateway")
        except FileNotFoundError as missing:
            print(f"skipped: {missing}")
            return 77
        with gateway:
            gateway.make_bucket("bucket")
            tool = Tool("s3://bucket/pre", endpoint=gateway.endpoint)
            small_objects(cases, tool)
            files(cases, tool, directory / "work", "http")
            files(cases, Tool("s3://bucket/pre", endpoint=gateway.endpoint, unsigned=True), directory / "work", "http, unsigned payload")
            stored_damage(cases, tool, gateway, directory / "work")
            listing(cases, tool)
            races(cases, tool)
            credentials(cases, tool, gateway, directory)
            web_identity(cases, gateway, directory)
            headers(cases, gateway)
            clock(cases, tool)
            no_uploads_left(cases, gateway)
        virtual_hosted(cases, directory)
        tls(cases, directory)
    return cases.finish()


if __name__ == "__main__":
    sys.exit(main())
