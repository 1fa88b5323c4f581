"""Clients that go on until standard input ends: load.py URL WEBSOCKET-URL CA-FILE

Some ask over HTTP/1.1, some over one connection of HTTP/2, and some talk over websockets that stay open. Prints "ready"
when each has been answered, "generation N" when an answer is the first of one, and at the end what became of all, as one
line of JSON. What fails is also printed at once.
"""

import asyncio
import json
import signal
import ssl
import sys

import httpx
import websockets

URL, WEBSOCKET_URL, CA = sys.argv[1:]
CLIENTS = 4
WEBSOCKETS = 10
# Ends this program when so many seconds bring no new generation: somebody waits for it.
PATIENCE = 60

requests = {"HTTP/1.1": 0, "HTTP/2": 0}
generations = set()
failures = []
rounds = [0] * WEBSOCKETS
stop = asyncio.Event()


def fail(what):
    failures.append(what)
    print("failed:", what)


async def ask(client, expected):
    while not stop.is_set():
        try:
            response = await client.get(URL)
            if response.status_code != 200 or response.http_version != expected:
                fail(f"{response.status_code} {response.http_version}")
            requests[expected] += 1
            generation = response.headers["x-generation"]
            if generation not in generations:
                generations.add(generation)
                signal.alarm(PATIENCE)
                print("generation", generation)
        except Exception as error:
            fail(f"{expected}: {error!r}")
            await asyncio.sleep(0.1)


async def talk(number):
    try:
        tls = ssl.create_default_context(cafile=CA)
        async with websockets.connect(WEBSOCKET_URL, ssl=tls, ping_interval=None) as socket:
            while not stop.is_set():
                said = f"{number} {rounds[number]} " + "x" * (rounds[number] % 5000)
                await socket.send(said)
                if await asyncio.wait_for(socket.recv(), 20) != said:
                    fail(f"websocket {number} heard something else")
                rounds[number] += 1
                await asyncio.sleep(0.1)
    except Exception as error:
        fail(f"websocket {number}: {error!r}")


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
        "rounds": rounds,
        "failures": failures,
    }))


asyncio.run(main())
