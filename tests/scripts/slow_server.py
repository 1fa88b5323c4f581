"""A server that takes its time: slow_server.py ADDRESS PORT

GET /slow/MS answers after so many milliseconds. It prints the target of each request that it has heard, and says
"ready" before.
"""

import asyncio
import sys


async def serve(reader, writer):
    try:
        while True:
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            target = head.split(" ")[1]
            print(target)
            await asyncio.sleep(int(target.rsplit("/", 1)[-1]) / 1000)
            body = f"{target}\n".encode()
            writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%s" % (len(body), body))
            await writer.drain()
    except (asyncio.IncompleteReadError, ConnectionError):
        pass
    finally:
        writer.close()


async def main():
    server = await asyncio.start_server(serve, sys.argv[1], int(sys.argv[2]))
    print("ready")
    async with server:
        await server.serve_forever()


asyncio.run(main())
