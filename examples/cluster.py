"""A key-value store whose pods form one cluster, and pass on to each other what they know. (threads)

python examples/cluster.py    # three pods in this process; for one of several on this machine:
PEERS=static:kv-0=127.0.0.1:8001,… LISTEN=127.0.0.1:8001 POD_NAME=kv-0 python examples/cluster.py
PEERS=kv-headless:8080 DATA=/data python examples/cluster.py    # in a pod

curl -X PUT -d blue http://POD:8080/kv/sky    # answers how many pods have it
"""

import json
import os
import random
import signal
import socket
import sys
import threading
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import httpx

from peerdiscover import Discovery, Identity, Peer, Policy
from peerdiscover.clustering import ContactPoint, bootstrap, founders

Entry = tuple[int, str, str]  # version, the pod that wrote it, value: the greatest counts


class Node:
    def __init__(self, name: str, among: tuple[str, ...], listen: tuple[str, int], disk: Path | None) -> None:
        self.disk = disk
        self.lock = threading.Lock()
        saved = json.loads(disk.read_text()) if disk and disk.exists() else {"cluster": None, "data": {}}
        self.data: dict[str, Entry] = {key: tuple(entry) for key, entry in saved["data"].items()}
        self.contact = ContactPoint(name, among, cluster=saved["cluster"])
        self.enough = len(among) // 2 + 1
        self.joined, self.stopping = threading.Event(), threading.Event()
        node = self

        class Handler(BaseHTTPRequestHandler):
            def answer(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                status, answer = node.answer(self.command, self.path, body)
                self.send_response(status)
                self.send_header("Cache-Control", "no-store")
                self.end_headers()
                self.wfile.write(answer)

            do_GET = do_PUT = do_POST = answer  # noqa: N815 - the base class's names

            def log_message(self, format: str, *args: object) -> None: ...  # noqa: A002

        self.server = ThreadingHTTPServer(listen, Handler)
        threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True).start()

    def run(self, service: str) -> None:
        me = self.contact.standing.name
        with Discovery(service, me=Identity(name=me), policy=Policy(min_peers=0)) as self.web:
            cluster = bootstrap(self.web, self.contact, form=self.save, join=self.join)
            self.joined.set()
            print(f"{me} is in cluster {cluster}", flush=True)
            while not self.stopping.wait(1):  # a pod that missed a write hears of it here
                if others := self.web.peers.others:
                    with suppress(httpx.HTTPError):  # another one, in a second
                        self.pass_on(random.choice(others), self.data)

    def start(self, service: str) -> None:
        self.thread = threading.Thread(target=self.run, args=(service,))
        self.thread.start()

    def stop(self) -> None:
        self.stopping.set()
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()

    def save(self, cluster: str) -> None:  # to form a cluster is to write it down
        if self.disk:
            new = self.disk.with_suffix(".new")
            new.write_text(json.dumps({"cluster": cluster, "data": self.data}))
            new.replace(self.disk)

    def join(self, peer: Peer, cluster: str) -> None:
        response = httpx.post(peer.url("/join"), json={"cluster": cluster}, timeout=2)
        self.merge(response.raise_for_status().json(), cluster)  # 409: it is not in that cluster

    def answer(self, method: str, path: str, body: bytes) -> tuple[int, bytes]:
        cluster, key = self.contact.standing.cluster, path.removeprefix("/kv/")
        if path == "/peerdiscover":
            return 200, self.contact.answer()
        if cluster is None or not self.joined.is_set():
            return 503, b"in no cluster yet\n"
        if method == "GET":
            return (200, self.data[key][2].encode()) if key in self.data else (404, b"")
        if method == "PUT":
            copies = self.write(key, body.decode(), cluster)
            return 200 if copies >= self.enough else 503, f"{copies} copies\n".encode()
        sent = json.loads(body)
        if sent["cluster"] != cluster:
            return 409, f"this pod is in {cluster}\n".encode()
        self.merge(sent.get("data", {}), cluster)
        return 200, json.dumps(dict(self.data)).encode() if path == "/join" else b""

    def write(self, key: str, value: str, cluster: str) -> int:  # how many pods have it now
        version = 1 + max((entry[0] for entry in list(self.data.values())), default=0)
        new: dict[str, Entry] = {key: (version, self.contact.standing.name, value)}
        self.merge(new, cluster)
        return 1 + len(self.web.broadcast(lambda peer: self.pass_on(peer, new), timeout=2).results)

    def pass_on(self, peer: Peer, data: dict[str, Entry]) -> None:
        sent = {"cluster": self.contact.standing.cluster, "data": dict(data)}
        httpx.post(peer.url("/gossip"), json=sent, timeout=1).raise_for_status()

    def merge(self, data: dict[str, Entry], cluster: str) -> None:
        with self.lock:
            for key, (version, name, value) in data.items():  # they may be lists, from JSON
                self.data[key] = max((version, name, value), self.data.get(key, (0, "", "")))
            self.save(cluster)


def alone() -> None:
    among, local = founders("kv", 3), "127.0.0.1"
    nodes = {name: Node(name, among, (local, 0), None) for name in among}
    service = "static:" + ",".join(
        f"{name}={local}:{node.server.server_port}" for name, node in nodes.items()
    )
    for node in nodes.values():
        node.start(service)
    all(node.joined.wait() for node in nodes.values())
    print("sky=blue:", nodes["kv-0"].answer("PUT", "/kv/sky", b"blue")[1].decode().strip())
    nodes["kv-1"].stop()
    nodes["kv-1"] = back = Node("kv-1", among, (local, nodes["kv-1"].server.server_port), None)
    back.start(service)
    back.joined.wait()
    print("kv-1 came back with nothing: sky =", back.answer("GET", "/kv/sky", b"")[1].decode())
    for node in nodes.values():
        node.stop()


if __name__ == "__main__":
    if "PEERS" in os.environ:
        signal.signal(signal.SIGTERM, lambda *_: sys.exit())
        name = os.environ.get("POD_NAME") or socket.gethostname()
        among = founders(name.rpartition("-")[0], int(os.environ.get("FOUNDERS", "3")))
        host, _, port = os.environ.get("LISTEN", ":8080").rpartition(":")
        disk = Path(os.environ["DATA"], f"{name}.json") if "DATA" in os.environ else None
        Node(name, among, (host, int(port)), disk).run(os.environ["PEERS"])
    else:
        alone()
