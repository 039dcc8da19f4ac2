"""A fault-injecting proxy in front of a real API server: HTTP/1.1 over TLS to the client, rules as in faultproxy.py.

    with KubeProxy(cluster) as proxy:
        kubeconfig = cluster.user_kubeconfig("admin", server=proxy.endpoint)
        rule = proxy.inject(fail(500), method="GET", path="/pods", times=2)

An action gets the exchange and decides what happens. Watches are passed on line by line as they come; an action for them is
made by on_stream(). Answers of other requests are held in memory. Frames of HTTP/2 are not seen here: the client falls back.
"""
import http.client
import json
import ssl
import time

from faultproxy import Dropped, Exchange, FaultProxy


class KubeExchange(Exchange):
    @property
    def watch(self):
        return "watch=true" in self.target or "watch=1" in self.target

    def _ask(self):
        api = self.proxy.cluster
        connection = http.client.HTTPSConnection("127.0.0.1", api.api_port, context=self.proxy.upstream_context, timeout=600)
        connection.putrequest(self.method, self.target, skip_host=True, skip_accept_encoding=True)
        for name, value in self.headers:
            if name.lower() not in ("connection", "accept-encoding"):
                connection.putheader(name, value)
        connection.endheaders()
        if self.body:
            connection.send(self.body)
        return connection, connection.getresponse()

    def forward(self):
        connection, answer = self._ask()
        try:
            return answer.status, answer.getheaders(), answer.read()
        finally:
            connection.close()

    def stream(self, each=None):
        """Passes a watch on. each(line, number) gives the bytes to send instead (None: end in good order), or raises Dropped."""
        connection, answer = self._ask()
        try:
            if answer.status != 200:
                self.answer(answer.status, answer.getheaders(), answer.read())
                return
            head = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
            self.client.sendall(head.encode())
            number = 0
            while not self.proxy.stopping.is_set():
                line = answer.readline()
                if line and each:
                    number += 1
                    line = each(line, number)
                if not line:
                    self.client.sendall(b"0\r\n\r\n")
                    return
                self.send_chunk(line)
        finally:
            connection.close()

    def send_chunk(self, data):
        self.client.sendall(f"{len(data):x}\r\n".encode() + data + b"\r\n")

    def reset(self):
        # With TLS the socket is wrapped: SO_LINGER on it still gives the RST.
        super().reset()


def status_object(code, reason, message="injected"):
    return {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "message": message, "reason": reason, "code": code}


REASONS = {401: "Unauthorized", 404: "NotFound", 409: "Conflict", 410: "Expired", 429: "TooManyRequests", 500: "InternalError", 502: "",
           503: "ServiceUnavailable", 504: "Timeout"}


def fail(code, reason=None, headers=()):
    """Answers so without asking the server."""
    def act(x):
        body = json.dumps(status_object(code, REASONS[code] if reason is None else reason)).encode()
        x.answer(code, [("Content-Type", "application/json"), *headers], body)
    return act


def lose_reply(x):
    """The server does it; the client sees a reset."""
    x.forward()
    x.reset()


def cut_request(x):
    x.reset()


def half_json(x):
    """A whole answer in HTTP's eyes, whose JSON ends too early."""
    code, headers, body = x.forward()
    x.answer(code, headers, body[:len(body) // 2])


def short_body(x):
    """The connection ends before the announced length."""
    code, headers, body = x.forward()
    x.client.sendall(x.head(code, headers, len(body)) + body[:len(body) // 2])
    x.close()


def slow(seconds):
    def act(x):
        time.sleep(seconds)
        x.answer(*x.forward())
    return act


def on_stream(each):
    """each(x) is called once a watch and gives the function for stream()."""
    def act(x):
        x.stream(each(x))
    return act


def gone_in_stream(after):
    """An ERROR event with 410 instead of the event number after + 1."""
    def begin(_):
        state = {"ended": False}

        def each(line, number):
            if state["ended"]:
                return None
            if number <= after:
                return line
            state["ended"] = True
            return json.dumps({"type": "ERROR", "object": status_object(410, "Expired", "too old resource version")}).encode() + b"\n"
        return each
    return on_stream(begin)


def cut_stream(after):
    """The connection is reset in the middle of the event number after + 1."""
    def begin(x):
        def each(line, number):
            if number <= after:
                return line
            x.send_chunk(line[:len(line) // 2])
            time.sleep(0.05)
            x.reset()
        return each
    return on_stream(begin)


def garbage_in_stream(after):
    def begin(_):
        return lambda line, number: line if number != after + 1 else b'{"type":"MODIFIED","object":{"metadata":\n'
    return on_stream(begin)


def stall_stream(x):
    """The head comes, and then nothing for ever: no event, no end."""
    x.client.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n")
    x.proxy.stopping.wait(600)
    x.close()


def dribble_stream(x):
    """Every event in many small pieces, with pauses."""
    def each(line, _):
        for i in range(0, len(line) - 1, 400):
            x.send_chunk(line[i:min(i + 400, len(line) - 1)])
            time.sleep(0.005)
        return line[-1:]
    x.stream(each)


def pass_on(x):
    if x.watch:
        x.stream()
    else:
        x.answer(*x.forward())


class KubeProxy(FaultProxy):
    def __init__(self, cluster):
        super().__init__(None)
        self.cluster = cluster
        self.upstream_context = ssl.create_default_context(cafile=str(cluster.authority.certificate))
        certificate, key = cluster.authority.issue(f"proxy-{id(self)}", "proxy", addresses=["127.0.0.1"])
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.load_cert_chain(certificate, key)
        self.context.set_alpn_protocols(["http/1.1"])

    def __enter__(self):
        super().__enter__()
        self.endpoint = f"https://127.0.0.1:{self.port}"
        return self

    def _serve(self, client):
        try:
            client = self.context.wrap_socket(client, server_side=True)
        except (OSError, ssl.SSLError):
            client.close()
            return
        reader = client.makefile("rb")
        try:
            while not self.stopping.is_set():
                request = self._read_request(reader)
                if not request:
                    return
                x = KubeExchange(self, client, *request)
                x.at = time.monotonic()
                with self.lock:
                    self.seen.append(x)
                    rule = next((r for r in self.rules if r.takes(x)), None)
                (rule.action if rule else pass_on)(x)
        except (Dropped, OSError, ValueError, http.client.HTTPException):
            pass
        finally:
            reader.close()
            try:
                client.close()
            except OSError:
                pass

    def requests(self, method=None, part=""):
        with self.lock:
            return [x for x in self.seen if (not method or x.method == method) and part in x.target]


__all__ = ["KubeProxy", "KubeExchange", "fail", "lose_reply", "cut_request", "half_json", "short_body", "slow", "gone_in_stream", "cut_stream",
           "garbage_in_stream", "stall_stream", "dribble_stream", "pass_on"]
