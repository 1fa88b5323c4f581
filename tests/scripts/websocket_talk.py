"""A websocket against websocket_echo.py: websocket_talk.py URL CA-FILE. Silent when all is well."""

import asyncio
import os
import ssl
import sys

import websockets

URL, CA = sys.argv[1:]


async def main():
    tls = ssl.create_default_context(cafile=CA)
    async with websockets.connect(URL, ssl=tls, ping_interval=None, max_size=None) as socket:
        for length in [0, 1, 125, 126, 65535, 65536, 4 << 20]:
            for said in [os.urandom(length), "x" * length]:
                await socket.send(said)
                heard = await asyncio.wait_for(socket.recv(), 20)
                assert heard == said, f"{length}: {len(heard)}"
        # Both ways at once, more than any buffer on the way holds.
        said = [os.urandom(1 << 16) for _ in range(100)]

        async def send():
            for one in said:
                await socket.send(one)

        sending = asyncio.create_task(send())
        for one in said:
            assert await asyncio.wait_for(socket.recv(), 20) == one
        await sending
        await asyncio.wait_for(await socket.ping(), 20)
        await socket.close(4000, "enough")
        assert socket.close_code == 4000, socket.close_code


asyncio.run(main())
