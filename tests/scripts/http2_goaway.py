"""One connection of HTTP/2, which asks once and then only listens: http2_goaway.py ADDRESS PORT CA-FILE PATH

Prints each thing that happens to it, one a line: "response STATUS", "ended", "goaway CODE LAST-STREAM", "closed".
"""

import socket
import ssl
import sys

import h2.config
import h2.connection
import h2.events

address, port, ca, path = sys.argv[1:]
tls = ssl.create_default_context(cafile=ca)
tls.set_alpn_protocols(["h2"])
stream = tls.wrap_socket(socket.create_connection((address, int(port))), server_hostname=address)
connection = h2.connection.H2Connection(h2.config.H2Configuration(header_encoding="utf-8"))
connection.initiate_connection()
fields = [(":method", "GET"), (":scheme", "https"), (":authority", address), (":path", path)]
connection.send_headers(1, fields, end_stream=True)
stream.sendall(connection.data_to_send())
received = b""
while data := stream.recv(65536):
    received += data
    # Frame by frame, for this library takes a connection to be over once it has heard GOAWAY, where more may come
    # (RFC 9113 §6.8): it is told that it is not.
    while len(received) >= 9 and len(received) >= (length := 9 + int.from_bytes(received[:3], "big")):
        for event in connection.receive_data(received[:length]):
            if isinstance(event, h2.events.ResponseReceived):
                print("response", dict(event.headers)[":status"])
            elif isinstance(event, h2.events.DataReceived):
                connection.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
            elif isinstance(event, h2.events.StreamEnded):
                print("ended")
            elif isinstance(event, h2.events.ConnectionTerminated):
                print("goaway", int(event.error_code), event.last_stream_id)
                connection.state_machine.state = h2.connection.ConnectionState.CLIENT_OPEN
        received = received[length:]
    if out := connection.data_to_send():
        try:
            stream.sendall(out)
        except OSError:
            break
print("closed")
