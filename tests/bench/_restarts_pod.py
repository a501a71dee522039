"""A pod that speaks gRPC: it writes each id to stdout before it answers, and is gone at SIGTERM.

    python _restarts_pod.py PORT

A request is an id, an answer the pod's name: bytes, so that there is nothing to generate. It is what
`tests/http/_pod_program.py` is for HTTP.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys

import grpc


async def _say(request: bytes, _: object) -> bytes:
    os.write(1, request + b"\n")
    return os.uname().nodename.encode()


async def main(port: int) -> None:
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, os._exit, 137)
    method: grpc.RpcMethodHandler[bytes, bytes] = grpc.unary_unary_rpc_method_handler(_say)
    server = grpc.aio.server(handlers=[grpc.method_handlers_generic_handler("pod.Pod", {"Say": method})])
    server.add_insecure_port(f"0.0.0.0:{port}")
    await server.start()
    await server.wait_for_termination()


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1])))
