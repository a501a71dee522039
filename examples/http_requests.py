"""requests over pods: the session of a program, with one adapter more.

Run it on this machine, where it starts its own pods, or in a cluster:

    python examples/http_requests.py
    PEERS=web-headless.prod:8080 python examples/http_requests.py
"""

import os

import requests

from peerdiscover import Discovery, SourceLike
from peerdiscover.requests import PodAdapter
from peerdiscover.testing import HeadlessService


def main(service: str, source: SourceLike | None = None, svc: HeadlessService | None = None) -> None:
    with Discovery(service, source=source) as web, requests.Session() as session:
        session.mount("http://web-headless", PodAdapter(web, total_timeout=5))
        for n in range(6):
            if svc and n == 3:
                svc.replace(0)  # its connections break, and its address is another one
            response = session.get("http://web-headless/hello", timeout=5)
            print("GET", response.url, response.json()["pod"])
        key = {"Idempotency-Key": "order-1"}
        response = session.post("http://web-headless/orders", data=b"1", headers=key, timeout=5)
        print("POST", response.url, response.json()["pod"])


if __name__ == "__main__":
    if "PEERS" in os.environ:
        main(os.environ["PEERS"])
    else:
        with HeadlessService("web-headless.prod", replicas=3, ports={"http": 8080}) as svc:
            main("web-headless.prod:http", svc.source, svc)
