"""Asks a broker's health over gRPC, by grpc_health.v1, which is not ours: health.py HOST:PORT [--watch].

Prints one line of JSON for each of three services, {"service", "status" or "code"}; with --watch instead a line for each
status that the broker tells, until it ends the call.
"""

import json
import sys

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

name = health_pb2.HealthCheckResponse.ServingStatus.Name
with grpc.insecure_channel(sys.argv[1]) as channel:
    health = health_pb2_grpc.HealthStub(channel)
    if "--watch" in sys.argv:
        for told in health.Watch(health_pb2.HealthCheckRequest()):
            print(json.dumps({"status": name(told.status)}), flush=True)
        sys.exit()
    for service in ("", "millgate.audit.v1.AuditLog", "nobody.knows.It"):
        said = {"service": service}
        try:
            said["status"] = name(health.Check(health_pb2.HealthCheckRequest(service=service), timeout=20).status)
        except grpc.RpcError as error:
            said["code"] = error.code().name
        print(json.dumps(said), flush=True)
