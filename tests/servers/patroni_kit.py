"""A FAKE Patroni and a FAKE HAProxy in front of a real PostgreSQL pair.

The stand-in answers what Patroni 4.1.5 answered on two real nodes (paths, statuses, texts, keys), and does
what it did: the old primary is stopped, the replica promoted by pg_promote(), and the old one started as its
replica. A real one needs a cluster of its own to agree with, and takes half a minute to start.
"""

from __future__ import annotations

import base64
import contextlib
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from console.lab.postgres import PostgresServer
from tests.servers.cli_kit import LIMIT_S, until

USER, WORD = "api", "open-sesame-of-the-tests"
SCOPE = "demo"


class FakePatroni:
    """The REST APIs of both nodes; Patroni calls them `pg-one` and `pg-two`.

    Attributes:
        fault: what becomes of the next switchover: `refused`, `failed`, `lost` (done, unanswered), `silent`
            (neither done nor answered); "": it is done.
        moves_after_s: how long after the promotion a proxy that asks Patroni sends clients to the new leader.
        asked: the bodies of the switchovers that it was asked for, with a login.
    """

    def __init__(self) -> None:
        self.fault = ""
        self.asked: list[dict[str, str]] = []
        self.nodes: dict[str, PostgresServer] = {}
        self.leader = "pg-one"
        self.moves_after_s = 0.0
        self._left, self._moved_at_s = "pg-one", 0.0
        self.stopped = ""
        self._over = threading.Event()
        self._apis = {name: self._api(name) for name in ("pg-one", "pg-two")}

    def close(self) -> None:
        self._over.set()
        for api in self._apis.values():
            api.shutdown()
            api.server_close()

    def inventory(self) -> dict[str, str]:
        """Return what stands in the `[[postgres]]` entries of `primary` and `replica`."""
        login = f'patroni_user = "{USER}"\npatroni_password_from = "env:PATRONI_WORD"\n'
        return {
            node: f'patroni = "http://127.0.0.1:{self._apis[name].server_port}"\n{login}'
            for node, name in (("primary", "pg-one"), ("replica", "pg-two"))
        }

    def use(self, primary: PostgresServer, replica: PostgresServer) -> None:
        self.nodes = {"pg-one": primary, "pg-two": replica}

    def address(self) -> tuple[str, int]:
        """Return where a proxy sends clients."""
        late = time.monotonic() < self._moved_at_s + self.moves_after_s
        node = self.nodes[self._left if late else self.leader]
        return node.host, node.port

    # -- inside -------------------------------------------------------------------------------

    def _api(self, name: str) -> ThreadingHTTPServer:
        fake = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                found = {"/patroni": lambda: fake._own(name), "/cluster": fake._cluster}.get(self.path)
                if found is None:
                    return self._answer(501, "text/html", "no such path")
                return self._answer(200, "application/json", json.dumps(found()))

            def do_POST(self) -> None:
                given = self.headers.get("Authorization")
                if given is None:
                    return self._answer(401, "text/html", "no auth header received")
                if given != f"Basic {base64.b64encode(f'{USER}:{WORD}'.encode()).decode()}":
                    return self._answer(401, "text/html", "not authenticated")
                wish = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                fake.asked.append(wish)
                answer = fake._switch_over(wish)
                return None if answer is None else self._answer(answer[0], "text/html", answer[1])

            def _answer(self, status: int, kind: str, text: str) -> None:
                self.send_response(status)
                self.send_header("Content-Type", kind)
                self.end_headers()
                self.wfile.write(text.encode())

            def log_message(self, *_: Any) -> None:
                return

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        return server

    def _own(self, name: str) -> dict[str, object]:
        leads = name == self.leader
        return {
            "state": "running",
            "role": "primary" if leads else "replica",
            "server_version": 150018,
            "timeline": 1,
            "patroni": {"version": "4.1.5", "scope": SCOPE, "name": name},
        }

    def _cluster(self) -> dict[str, object]:
        return {"members": [self._member(name) for name in self._apis], "scope": SCOPE}

    def _member(self, name: str) -> dict[str, object]:
        leads, node = name == self.leader, self.nodes[name]
        state = "stopped" if name == self.stopped else "running" if leads else "streaming"
        return {
            "name": name,
            "role": "leader" if leads else "replica",
            "state": state,
            "api_url": f"http://127.0.0.1:{self._apis[name].server_port}/patroni",
            "host": node.host,
            "port": node.port,
            "timeline": 1,
        }

    def _switch_over(self, wish: dict[str, str]) -> tuple[int, str] | None:
        if wish["leader"] != self.leader:
            return 412, "leader name does not match"
        if wish["candidate"] not in self._apis:
            return 412, "candidate does not exists"
        match self.fault:
            case "refused":
                return 412, "switchover is not possible: no good candidates have been found"
            case "failed":
                return 503, "Switchover failed"
            case "silent":
                self._over.wait()
                return None
        self._do(wish["leader"], wish["candidate"])
        return None if self.fault == "lost" else (200, f'Successfully switched over to "{wish["candidate"]}"')

    def _do(self, old: str, new: str) -> None:
        left, follower = self.nodes[old], self.nodes[new]
        self.stopped = old
        left.stop()
        follower.value("SELECT pg_promote()")
        self._left, self._moved_at_s = old, time.monotonic()
        self.leader = new
        left.primary = follower
        left.launcher.write_file(left.data_dir / "standby.signal", "")
        left.start()
        until(lambda: bool(left.value("SELECT EXISTS (SELECT FROM pg_stat_wal_receiver)")))
        self.stopped = ""


@contextlib.contextmanager
def forwarder(target: Callable[[], tuple[str, int]]) -> Iterator[int]:
    """A FAKE HAProxy: yield a port whose connections go where `target` says when they are made."""
    listener = socket.create_server(("127.0.0.1", 0))
    opened: list[socket.socket] = []
    pumps: list[threading.Thread] = []

    def pump(source: socket.socket, sink: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65_536):
                sink.sendall(data)
        _hang_up(source, sink)

    def serve() -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = listener.accept()
                opened.append(client)
                try:
                    server = socket.create_connection(target(), timeout=5)
                except OSError:
                    client.close()
                    continue
                opened.append(server)
                server.settimeout(None)
                for pair in ((client, server), (server, client)):
                    pumps.append(threading.Thread(target=pump, args=pair, daemon=True))
                    pumps[-1].start()

    serving = threading.Thread(target=serve, daemon=True)
    serving.start()
    try:
        yield listener.getsockname()[1]
    finally:
        _hang_up(listener)
        serving.join(LIMIT_S)
        _hang_up(*opened)
        for one in pumps:
            one.join(LIMIT_S)


def _hang_up(*sockets: socket.socket) -> None:
    for one in sockets:
        # Whoever waits on it is woken; on one that is not connected any more it fails.
        with contextlib.suppress(OSError):
            one.shutdown(socket.SHUT_RDWR)
        one.close()
