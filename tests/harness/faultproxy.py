"""An HTTP proxy of ours between the store's client and a real S3 server, which injects faults by rule.

    with FaultProxy(port) as proxy:
        rule = proxy.inject(status(503, "SlowDown"), method="PUT", times=2)
        …                       # the client talks to proxy.endpoint
        assert rule.hits == 2

A rule applies to requests whose method and path (with query) match, `times` times (None: always), after `skip` matches. Its
action gets the exchange and decides what happens; without a rule the request and the answer pass unchanged (bodies are
held in memory). Every request is kept in proxy.seen. Requests are forwarded byte for byte where it matters: their signature
holds, since the Host header is the client's.
"""
import http.client
import re
import socket
import struct
import threading
import time
from email.utils import formatdate


class Dropped(Exception):
    """The action has dealt with the client's connection: close it."""


class Exchange:
    def __init__(self, proxy, client, method, target, headers, body):
        self.proxy, self.client = proxy, client
        self.method, self.target, self.headers, self.body = method, target, headers, body

    def header(self, name):
        return next((v for k, v in self.headers if k.lower() == name.lower()), None)

    def forward(self):
        """To the server behind; its answer as (status, headers, body)."""
        connection = http.client.HTTPConnection("127.0.0.1", self.proxy.upstream, timeout=60)
        try:
            connection.putrequest(self.method, self.target, skip_host=True, skip_accept_encoding=True)
            for name, value in self.headers:
                if name.lower() != "connection":
                    connection.putheader(name, value)
            connection.endheaders()
            if self.body:
                connection.send(self.body)
            answer = connection.getresponse()
            return answer.status, answer.getheaders(), answer.read()
        finally:
            connection.close()

    def head(self, status, headers, length):
        """The answer's head as bytes; a HEAD answer keeps the length it came with."""
        lines = [f"HTTP/1.1 {status} X"]
        for name, value in headers:
            if name.lower() not in ("content-length", "connection", "transfer-encoding") or (self.method == "HEAD" and name.lower() == "content-length"):
                lines.append(f"{name}: {value}")
        if self.method != "HEAD":
            lines.append(f"Content-Length: {length}")
        return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")

    def answer(self, status, headers, body):
        self.client.sendall(self.head(status, headers, len(body)) + (b"" if self.method == "HEAD" else body))

    def reset(self):
        """Closes with RST: the client sees "connection reset"."""
        self.client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.client.close()
        raise Dropped

    def close(self):
        try:
            self.client.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
        self.client.close()
        raise Dropped


# --- actions: functions of an exchange -------------------------------------------------------------------

def status(code, error, headers=(), message="injected"):
    """Answers without asking the server."""
    def act(x):
        body = f"<?xml version=\"1.0\"?><Error><Code>{error}</Code><Message>{message}</Message></Error>".encode()
        x.answer(code, [("Content-Type", "application/xml"), ("Date", formatdate(usegmt=True)), *headers], b"" if x.method == "HEAD" else body)
    return act


def cut_request(x):
    """The connection breaks before the server hears anything."""
    x.reset()


def lose_reply(x):
    """The server does it; nobody hears of it."""
    x.forward()
    x.reset()


def cut_body(at):
    """The connection is reset after so many bytes of the answer's body."""
    def act(x):
        code, headers, body = x.forward()
        x.client.sendall(x.head(code, headers, len(body)) + body[:at])
        time.sleep(0.05)
        x.reset()
    return act


def truncate_body(at):
    """The connection is closed in good order, but too early."""
    def act(x):
        code, headers, body = x.forward()
        x.client.sendall(x.head(code, headers, len(body)) + body[:at])
        x.close()
    return act


def corrupt_reply(at):
    def act(x):
        code, headers, body = x.forward()
        if len(body) > at:
            body = body[:at] + bytes([body[at] ^ 1]) + body[at + 1:]
        x.answer(code, headers, body)
    return act


def corrupt_request(at):
    def act(x):
        if len(x.body) > at:
            x.body = x.body[:at] + bytes([x.body[at] ^ 1]) + x.body[at + 1:]
        x.answer(*x.forward())
    return act


def stall(seconds, at=0):
    """Sends so many bytes of the body, then nothing for a while, then gives up."""
    def act(x):
        code, headers, body = x.forward()
        x.client.sendall(x.head(code, headers, len(body)) + body[:at])
        x.proxy.stopping.wait(seconds)
        x.close()
    return act


def dribble(step, pause):
    """A slow but living connection."""
    def act(x):
        code, headers, body = x.forward()
        x.client.sendall(x.head(code, headers, len(body)))
        for i in range(0, len(body), step):
            x.client.sendall(body[i:i + step])
            time.sleep(pause)
    return act


def canned(code, headers=(), body=b""):
    def act(x):
        x.answer(code, list(headers), body)
    return act


# --- the proxy -------------------------------------------------------------------------------------------

class Rule:
    def __init__(self, action, method, path, times, skip, when):
        self.action, self.method, self.path = action, method, re.compile(path)
        self.times, self.skip, self.when, self.hits = times, skip, when, 0

    def takes(self, x):
        if (self.method and self.method != x.method) or not self.path.search(x.target) or (self.when and not self.when(x)):
            return False
        if self.times is not None and self.hits >= self.times:
            return False
        if self.skip > 0:
            self.skip -= 1
            return False
        self.hits += 1
        return True


class FaultProxy:
    def __init__(self, upstream):
        self.upstream = upstream
        self.rules, self.seen, self.lock = [], [], threading.Lock()
        self.stopping = threading.Event()

    def inject(self, action, method=None, path="", times=1, skip=0, when=None):
        rule = Rule(action, method, path, times, skip, when)
        with self.lock:
            self.rules.append(rule)
        return rule

    def clear(self):
        with self.lock:
            self.rules.clear()
            self.seen.clear()

    def __enter__(self):
        self.listener = socket.socket()
        self.listener.bind(("127.0.0.1", 0))
        self.listener.listen(64)
        self.port = self.listener.getsockname()[1]
        self.endpoint = f"http://127.0.0.1:{self.port}"
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_):
        self.stopping.set()
        self.listener.close()

    def _accept(self):
        while not self.stopping.is_set():
            try:
                client, _ = self.listener.accept()
            except OSError:
                return
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _read_request(self, reader):
        line = reader.readline().decode("latin-1").split()
        if len(line) != 3:
            return None
        headers, length = [], 0
        for raw in iter(reader.readline, b"\r\n"):
            if not raw:
                return None
            name, value = raw.decode("latin-1").rstrip("\r\n").split(":", 1)
            headers.append((name, value.strip()))
            if name.lower() == "content-length":
                length = int(value)
        body = reader.read(length)
        return None if len(body) < length else (line[0], line[1], headers, body)

    def _serve(self, client):
        reader = client.makefile("rb")
        try:
            while not self.stopping.is_set():
                request = self._read_request(reader)
                if not request:
                    return
                x = Exchange(self, client, *request)
                with self.lock:
                    self.seen.append(x)
                    rule = next((r for r in self.rules if r.takes(x)), None)
                if rule:
                    rule.action(x)
                else:
                    x.answer(*x.forward())
        except (Dropped, OSError, http.client.HTTPException):
            pass
        finally:
            reader.close()
            client.close()
