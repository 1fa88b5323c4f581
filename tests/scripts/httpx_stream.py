"""httpx over HTTP/2 against mirror_server.py: httpx_stream.py URL CA-FILE. Silent when all is well."""

import asyncio
import hashlib
import sys

import httpx

URL, CA = sys.argv[1:]
PIECES = 20


async def main():
    async with httpx.AsyncClient(http2=True, verify=CA, timeout=20) as client:
        # A piece comes as soon as it is sent, on one stream of a connection whose other streams go on.
        async with client.stream("GET", f"{URL}/stream/{PIECES}") as response:
            assert response.http_version == "HTTP/2", response.http_version
            pieces = response.aiter_raw()
            for number in range(PIECES):
                await client.get(f"{URL}/next")
                piece = await asyncio.wait_for(anext(pieces), 10)
                assert piece == b"piece %d" % number, piece
            rest = [piece async for piece in pieces]
            assert rest == [], rest

        # A body without a length, which is larger than any window.
        digest = hashlib.sha256()

        async def body():
            for number in range(64):
                piece = bytes([number]) * 65537
                digest.update(piece)
                yield piece

        said = (await client.post(f"{URL}/upload", content=body())).json()
        assert said["length"] == 64 * 65537, said
        assert said["sha256"] == digest.hexdigest(), said
        assert "content-length" not in said["headers"], said

        # Many at once.
        async def one(number):
            response = await client.get(f"{URL}/{number}")
            assert response.json()["path"].endswith(f"/{number}"), response.text

        await asyncio.gather(*(one(number) for number in range(200)))


asyncio.run(main())
