#!/usr/bin/env python3
"""Reads what system-monitor wrote to Valkey: reader.py HOST:PORT latest | history NAME | log NAME"""

import json
import socket
import sys

SHOWN = ["cpu_percent", "memory_usage_bytes", "network_rx_bytes", "disk_usage_bytes", "process_count"]
PAGE = 500


class Valkey:
    """A connection that speaks RESP2."""

    def __init__(self, address):
        host, port = address.rsplit(":", 1)
        self.socket = socket.create_connection((host, int(port)), timeout=5)
        self.file = self.socket.makefile("rb")

    def ask(self, *words):
        words = [str(word).encode() for word in words]
        parts = [b"*%d\r\n" % len(words)] + [b"$%d\r\n%s\r\n" % (len(word), word) for word in words]
        self.socket.sendall(b"".join(parts))
        return self.reply()

    def reply(self):
        line = self.file.readline().rstrip(b"\r\n")
        kind, rest = line[:1], line[1:]
        if kind == b"$":
            if rest == b"-1":
                return None
            return self.file.read(int(rest) + 2)[:-2].decode()
        if kind == b"*":
            return [self.reply() for _ in range(int(rest))]
        if kind == b"-":
            raise RuntimeError(rest.decode())
        return rest.decode()


def stream(valkey, key):
    """Yields the entries of a stream, oldest first, page by page."""
    start = "-"
    while page := valkey.ask("XRANGE", key, start, "+", "COUNT", PAGE):
        for identity, fields in page:
            yield identity, dict(zip(fields[::2], fields[1::2]))
        start = "(" + page[-1][0]


def cause(report, name):
    """Why a number is null: `absent` has an index into `causes` (schema 3), or the text itself (schema 2)."""
    absent, causes = report.get("absent"), report.get("causes")
    told = absent.get(name) if isinstance(absent, dict) else None
    if type(told) is int and isinstance(causes, list):
        told = causes[told] if 0 <= told < len(causes) else None
    return told if isinstance(told, str) else "no cause given"


def number(report, name):
    """A number as text; one that was not measured is null, with its cause."""
    value = report.get(name)
    if value is None:
        return f"{name}=null ({cause(report, name)})"
    return f"{name}={value:.1f}" if isinstance(value, float) else f"{name}={value}"


def latest(valkey):
    for name in valkey.ask("ZRANGE", "system:containers", 0, -1):
        text = valkey.ask("GET", f"system:metrics:{name}")
        if text is None:
            print(f"{name}: no agent reports it")
            continue
        report = json.loads(text)
        print(name, report["status"], *(number(report, shown) for shown in SHOWN))


def history(valkey, name):
    for identity, fields in stream(valkey, f"system:history:{name}"):
        report = json.loads(fields["report"])
        print(identity, *(number(report, shown) for shown in SHOWN[:2]))


def log(valkey, name):
    for _, fields in stream(valkey, f"system:logstream:{name}"):
        entry = json.loads(fields["entry"])
        print(entry["timestamp"], entry["level"], entry["message"])


def main(arguments):
    match arguments:
        case [address, "latest"]:
            latest(Valkey(address))
        case [address, "history", name]:
            history(Valkey(address), name)
        case [address, "log", name]:
            log(Valkey(address), name)
        case _:
            sys.exit(__doc__)


if __name__ == "__main__":
    main(sys.argv[1:])
