"""A server of gRPC, without TLS: grpc_server.py ADDRESS:PORT"""

import sys
from concurrent import futures

import grpc


def say(request, context):
    metadata = dict(context.invocation_metadata())
    context.set_trailing_metadata([("x-heard", metadata.get("x-said", "nothing"))])
    return b"you said " + request


def count(request, context):
    for number in range(int(request)):
        yield b"%d" % number
    context.set_trailing_metadata([("x-counted", request.decode())])


def add(requests, _):
    return b"%d" % sum(map(int, requests))


def chat(requests, _):
    for request in requests:
        yield b"re: " + request


def fail(_, context):
    context.abort(grpc.StatusCode.FAILED_PRECONDITION, "not today: 50% & more")


def fail_late(request, context):
    yield from count(request, context)
    fail(request, context)


methods = {
    "Say": grpc.unary_unary_rpc_method_handler(say),
    "Count": grpc.unary_stream_rpc_method_handler(count),
    "Add": grpc.stream_unary_rpc_method_handler(add),
    "Chat": grpc.stream_stream_rpc_method_handler(chat),
    "Fail": grpc.unary_unary_rpc_method_handler(fail),
    "FailLate": grpc.unary_stream_rpc_method_handler(fail_late),
}
server = grpc.server(futures.ThreadPoolExecutor(16))
server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler("lab.Echo", methods)])
assert server.add_insecure_port(sys.argv[1])
server.start()
print("ready")
server.wait_for_termination()
