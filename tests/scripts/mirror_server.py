"""A server of HTTP/1.1 that says what it has heard: mirror_server.py ADDRESS PORT

Any request is answered with JSON: method, path, headers, length and digest of the body. GET .../stream/N answers with N
pieces, each of which waits until somebody has asked for .../next.
"""

import hashlib
import http.server
import json
import sys
import threading

pieces = threading.Semaphore(0)


class Mirror(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def body(self):
        if self.headers.get("transfer-encoding", "").lower() != "chunked":
            yield self.rfile.read(int(self.headers.get("content-length", 0)))
            return
        while size := int(self.rfile.readline().split(b";")[0], 16):
            yield self.rfile.read(size)
            self.rfile.readline()
        while self.rfile.readline().strip():
            pass

    def stream(self, count):
        self.send_response(200)
        self.send_header("transfer-encoding", "chunked")
        self.end_headers()
        for number in range(count):
            pieces.acquire()
            piece = b"piece %d" % number
            self.wfile.write(b"%x\r\n%s\r\n" % (len(piece), piece))
        self.wfile.write(b"0\r\n\r\n")

    def answer(self):
        digest, length = hashlib.sha256(), 0
        for piece in self.body():
            digest.update(piece)
            length += len(piece)
        *_, verb, last = self.path.split("/")
        if verb == "stream":
            return self.stream(int(last))
        if last == "next":
            pieces.release()
        said = json.dumps({
            "method": self.command,
            "path": self.path,
            "headers": {name.lower(): value for name, value in self.headers.items()},
            "length": length,
            "sha256": digest.hexdigest(),
        }).encode()
        self.send_response(200)
        self.send_header("content-length", str(len(said)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(said)

    do_GET = do_HEAD = do_POST = do_PUT = do_DELETE = do_OPTIONS = answer


class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 1024

    def handle_error(self, *_):
        """Whoever went away in the middle is nobody's fault."""


server = Server((sys.argv[1], int(sys.argv[2])), Mirror)
print("ready")
server.serve_forever()
