"""Clients that go on until standard input ends: load.py URL WEBSOCKET-URL CA-FILE

Some ask over HTTP/1.1, some over one connection of HTTP/2, and some talk over websockets that stay open. Prints "ready"
when each has been answered, and at the end what became of all, as one line of JSON.
"""

import asyncio
import json
import ssl
import sys

import httpx
import websockets

URL, WEBSOCKET_URL, CA = sys.argv[1:]
CLIENTS = 4
WEBSOCKETS = 10

requests = {"HTTP/1.1": 0, "HTTP/2": 0}
generations = set()
failures = []
rounds = [0] * WEBSOCKETS
stop = asyncio.Event()


async def ask(client, expected):
    while not stop.is_set():
        try:
            response = await client.get(URL)
            if response.status_code != 200 or response.http_version != expected:
                failures.append(f"{response.status_code} {response.http_version}")
            requests[expected] += 1
            generations.add(response.headers["x-generation"])
        except Exception as error:
            failures.append(f"{expected}: {error!r}")
            await asyncio.sleep(0.1)


async def talk(number):
    try:
        tls = ssl.create_default_context(cafile=CA)
        async with websockets.connect(WEBSOCKET_URL, ssl=tls, ping_interval=None) as socket:
            while not stop.is_set():
                said = f"{number} {rounds[number]} " + "x" * (rounds[number] % 5000)
                await socket.send(said)
                if await asyncio.wait_for(socket.recv(), 20) != said:
                    failures.append(f"websocket {number} heard something else")
                rounds[number] += 1
                await asyncio.sleep(0.1)
    except Exception as error:
        failures.append(f"websocket {number}: {error!r}")


async def main():
    limits = httpx.Limits(max_connections=1, max_keepalive_connections=1)
    clients = [httpx.AsyncClient(verify=CA, timeout=20, limits=limits) for _ in range(CLIENTS)]
    both = httpx.AsyncClient(http1=False, http2=True, verify=CA, timeout=20, limits=limits)
    tasks = [asyncio.create_task(ask(client, "HTTP/1.1")) for client in clients]
    tasks += [asyncio.create_task(ask(both, "HTTP/2")) for _ in range(CLIENTS)]
    tasks += [asyncio.create_task(talk(number)) for number in range(WEBSOCKETS)]
    while not failures and (min(rounds) == 0 or min(requests.values()) < CLIENTS):
        await asyncio.sleep(0.01)
    print("ready")
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
    stop.set()
    await asyncio.gather(*tasks)
    print(json.dumps({
        "requests": requests,
        "generations": len(generations),
        "rounds": rounds,
        "failures": failures,
    }))


asyncio.run(main())
