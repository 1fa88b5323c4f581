"""A client of grpc_server.py, over TLS: grpc_client.py ADDRESS:PORT CA-FILE. Silent when all is well."""

import queue
import sys
from concurrent import futures

import grpc

TARGET, CA = sys.argv[1:]
with open(CA, "rb") as file:
    credentials = grpc.ssl_channel_credentials(file.read())
channel = grpc.secure_channel(TARGET, credentials)
OPTIONS = {"timeout": 20, "wait_for_ready": False}

say = channel.unary_unary("/lab.Echo/Say")
answer, call = say.with_call(b"hello", metadata=[("x-said", "aloud")], **OPTIONS)
assert answer == b"you said hello", answer
assert ("x-heard", "aloud") in list(call.trailing_metadata()), call.trailing_metadata()
assert call.code() == grpc.StatusCode.OK
assert say(b"", **OPTIONS) == b"you said "
large = bytes(3 << 20)
assert say(large, **OPTIONS) == b"you said " + large

count = channel.unary_stream("/lab.Echo/Count")(b"1000", **OPTIONS)
assert list(count) == [b"%d" % number for number in range(1000)]
assert ("x-counted", "1000") in list(count.trailing_metadata()), count.trailing_metadata()
assert list(channel.unary_stream("/lab.Echo/Count")(b"0", **OPTIONS)) == []

add = channel.stream_unary("/lab.Echo/Add")
assert add((b"%d" % number for number in range(1000)), **OPTIONS) == b"499500"

# Each answer comes before the next word is said.
words = queue.Queue()
chat = channel.stream_stream("/lab.Echo/Chat")(iter(words.get, None), **OPTIONS)
for number in range(50):
    words.put(b"%d" % number)
    assert next(chat) == b"re: %d" % number
words.put(None)
assert list(chat) == []

try:
    channel.unary_unary("/lab.Echo/Fail")(b"", **OPTIONS)
    raise SystemExit("it does not fail")
except grpc.RpcError as error:
    assert error.code() == grpc.StatusCode.FAILED_PRECONDITION, error
    assert error.details() == "not today: 50% & more", error
late = channel.unary_stream("/lab.Echo/FailLate")(b"10", **OPTIONS)
try:
    heard = []
    for one in late:
        heard.append(one)
    raise SystemExit("it does not fail")
except grpc.RpcError as error:
    assert error.code() == grpc.StatusCode.FAILED_PRECONDITION, error
    assert len(heard) == 10, heard
try:
    channel.unary_unary("/lab.Echo/Nothing")(b"", **OPTIONS)
    raise SystemExit("it does not fail")
except grpc.RpcError as error:
    assert error.code() == grpc.StatusCode.UNIMPLEMENTED, error

with futures.ThreadPoolExecutor(16) as many:
    answers = list(many.map(lambda number: say(b"%d" % number, **OPTIONS), range(200)))
assert answers == [b"you said %d" % number for number in range(200)]
