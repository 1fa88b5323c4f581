"""A server that says again what it hears over websockets: websocket_echo.py ADDRESS PORT"""

import asyncio
import sys

import websockets


async def echo(socket):
    try:
        async for message in socket:
            await socket.send(message)
    except websockets.ConnectionClosed:
        pass


async def main():
    async with websockets.serve(echo, sys.argv[1], int(sys.argv[2]), ping_interval=None, max_size=None):
        print("ready")
        await asyncio.Future()


asyncio.run(main())
