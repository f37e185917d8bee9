#!/usr/bin/env bash
# Guess: a second gRPC server on a Unix socket that another one serves gets "address already in use".
# Truth: it silently removes the socket file and binds its own; the first server gets no error. When the first one stops, it
#        removes the path, which now belongs to the second one: no client can connect any more.
# Versions: grpcio 1.85.3 (PyPI), Python 3.11, Linux 6.18. A TCP port would be shared instead (SO_REUSEPORT).
# Matters: of two runners with the same socket the second takes the jobs of the first, and stopping one unlinks the other.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m pip install --quiet --disable-pip-version-check --root-user-action ignore --target "$work/lib" grpcio==1.85.3
echo "Linux $(uname -r), $(python3 --version), grpcio 1.85.3"
got=$(PYTHONPATH=$work/lib timeout 30 python3 - "$work/socket" 2>/dev/null <<'PYTHON'
import os, sys
from concurrent.futures import ThreadPoolExecutor

import grpc

address = f"unix:{sys.argv[1]}"

class Named(grpc.GenericRpcHandler):
    def __init__(self, name):
        self.name = name

    def service(self, details):
        return grpc.unary_unary_rpc_method_handler(lambda request, context: self.name.encode())

def serve(name):
    server = grpc.server(ThreadPoolExecutor(1))
    server.add_generic_rpc_handlers((Named(name),))
    server.add_insecure_port(address)
    server.start()
    return server

def ask():
    with grpc.insecure_channel(address) as channel:
        try:
            return channel.unary_unary("/any/Name")(b"", timeout=3).decode()
        except grpc.RpcError as error:
            return error.code().name

first = serve("first")
print(f"one server: {ask()} answers")
second = serve("second")
print(f"two servers, no error: {ask()} answers")
first.stop(None).wait()
print(f"first stopped: socket file there {os.path.exists(sys.argv[1])}, call: {ask()}")
second.stop(None).wait()
PYTHON
)
echo "$got"
[ "$got" = "one server: first answers
two servers, no error: second answers
first stopped: socket file there False, call: UNAVAILABLE" ] || { echo "changed: the second server is refused"; exit 1; }
