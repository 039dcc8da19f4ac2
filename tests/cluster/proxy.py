#!/usr/bin/env python3
"""A TCP proxy that can partition: between the host and a cluster's network namespace, or between one process and the API server.

usage: proxy.py --control SOCKET [--enter /proc/PID/ns/net] NAME=HOST:PORT=TARGET:PORT …

It listens where it was started and, after --enter, connects from that network namespace. A port 0 is chosen freely. The
control socket takes one command a line, `COMMAND [NAME]` (all links without a name), and answers one line:
  ports    "NAME PORT …"
  reset    open connections are reset; new ones are served (watches are cut)
  cut      open connections are reset, new ones refused at once
  hold     nothing passes any more, nothing is closed (a half-open connection)
  heal     as in the beginning; connections that were held are reset, since the far side has long moved on
"""
import argparse
import asyncio
import ctypes
import os
import socket
import struct
import sys


class Forward:
    def __init__(self, name, listen, target):
        self.name, self.listen, self.target = name, listen, target
        self.state, self.connections = "open", set()
        self.flowing = asyncio.Event()
        self.flowing.set()

    def set(self, state):
        held = self.state == "hold"
        self.state = state
        if state == "hold":
            self.flowing.clear()
        if state == "cut" or (state == "open" and held):
            self.reset()
        if state != "hold":
            self.flowing.set()

    def reset(self):
        for writer in list(self.connections):
            sock = writer.get_extra_info("socket")
            try:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            except OSError:
                pass
            writer.transport.abort()

    async def _pump(self, reader, writer):
        try:
            while data := await reader.read(65536):
                await self.flowing.wait()
                writer.write(data)
                await writer.drain()
            await self.flowing.wait()
            writer.write_eof()
        except (OSError, RuntimeError):
            writer.transport.abort()

    async def serve(self, reader, writer):
        if self.state == "cut":
            writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            writer.transport.abort()
            return
        self.connections.add(writer)
        far = None
        try:
            await self.flowing.wait()
            far_reader, far = await asyncio.open_connection(*self.target)
            self.connections.add(far)
            for end in (writer, far):
                end.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            await asyncio.gather(self._pump(reader, far), self._pump(far_reader, writer))
        except OSError:
            writer.transport.abort()
        finally:
            for end in (writer, far):
                if end:
                    self.connections.discard(end)
                    end.close()


def _address(text):
    host, port = text.rsplit(":", 1)
    return host, int(port)


def _parse(text):
    name, listen, target = text.split("=", 2)
    return Forward(name, _address(listen), _address(target))


async def _control(forwards, reader, writer):
    try:
        while line := await reader.readline():
            words = line.decode().split()
            chosen = [f for f in forwards if len(words) < 2 or f.name == words[1]]
            answer = "ok"
            if not words or not chosen:
                answer = "error: no such link"
            elif words[0] == "ports":
                answer = " ".join(f"{f.name} {f.listen[1]}" for f in chosen)
            elif words[0] in ("cut", "hold", "heal", "reset"):
                for forward in chosen:
                    if words[0] == "reset":
                        forward.reset()
                    else:
                        forward.set("open" if words[0] == "heal" else words[0])
            else:
                answer = "error: unknown command"
            writer.write((answer + "\n").encode())
            await writer.drain()
    except OSError:
        pass
    finally:
        writer.close()


async def _main(arguments, listeners, forwards):
    for sock, forward in zip(listeners, forwards):
        await asyncio.start_server(forward.serve, sock=sock)
    control = await asyncio.start_unix_server(lambda r, w: _control(forwards, r, w), arguments.control)
    async with control:
        await control.serve_forever()


def main():
    parser = argparse.ArgumentParser(usage=__doc__)
    parser.add_argument("--control", required=True)
    parser.add_argument("--enter")
    parser.add_argument("links", nargs="+")
    arguments = parser.parse_args()
    listeners, parsed = [], [link.split("=", 2) for link in arguments.links]
    ports = []
    for _, listen, _ in parsed:
        sock = socket.create_server(_address(listen), backlog=128)
        listeners.append(sock)
        ports.append(sock.getsockname()[1])
    if arguments.enter:
        descriptor = os.open(arguments.enter, os.O_RDONLY)
        if ctypes.CDLL(None, use_errno=True).setns(descriptor, 0x40000000) != 0:
            sys.exit(f"proxy: cannot enter {arguments.enter}: {os.strerror(ctypes.get_errno())}")
    try:
        os.unlink(arguments.control)
    except FileNotFoundError:
        pass

    async def run():
        forwards = [_parse(link) for link in arguments.links]
        for forward, port in zip(forwards, ports):
            forward.listen = (forward.listen[0], port)
        await _main(arguments, listeners, forwards)

    asyncio.run(run())


class Link:
    """Speaks to a running proxy.py by its control socket."""

    def __init__(self, control):
        self.control = str(control)

    def command(self, text):
        with socket.socket(socket.AF_UNIX) as s:
            s.settimeout(10)
            s.connect(self.control)
            s.sendall((text + "\n").encode())
            answer = s.makefile().readline().strip()
        if answer.startswith("error"):
            raise RuntimeError(f"proxy {self.control}: {text}: {answer}")
        return answer

    def ports(self):
        words = self.command("ports").split()
        return {name: int(port) for name, port in zip(words[::2], words[1::2])}

    def cut(self, name=""):
        self.command(f"cut {name}")

    def hold(self, name=""):
        self.command(f"hold {name}")

    def heal(self, name=""):
        self.command(f"heal {name}")

    def reset(self, name=""):
        self.command(f"reset {name}")


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        pass
