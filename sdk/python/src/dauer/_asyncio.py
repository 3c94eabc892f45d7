"""Drives the steps of a call on an asyncio loop, with as much of HTTP as the runtime API needs."""

from __future__ import annotations

import asyncio
from typing import Dict, List, Tuple, TypeVar, Union

from ._steps import Call, Lost, Pause, Reply, Steps

T = TypeVar("T")


async def drive(address: Tuple[str, int], steps: Steps[T]) -> T:
    """Runs a call to its end."""
    outcome: Union[Reply, Lost, None] = None
    while True:
        try:
            step = steps.send(outcome)
        except StopIteration as end:
            result: T = end.value
            return result
        if isinstance(step, Pause):
            await asyncio.sleep(step.seconds)
            outcome = None
        else:
            outcome = await exchange(address, step)


async def exchange(address: Tuple[str, int], call: Call) -> Union[Reply, Lost]:
    """One request on a connection of its own."""
    try:
        return await asyncio.wait_for(_exchange(address, call), call.seconds)
    except asyncio.TimeoutError:
        return Lost(TimeoutError(f"no answer in {call.seconds} s"))
    except (OSError, EOFError, ValueError) as error:
        return Lost(error)


async def _exchange(address: Tuple[str, int], call: Call) -> Reply:
    reader, writer = await asyncio.open_connection(*address)
    try:
        body = call.body or b""
        headers = {
            "host": f"{address[0]}:{address[1]}",
            "connection": "close",
            "content-type": "application/json",
            "content-length": str(len(body)),
            **call.headers,
        }
        lines = [f"{call.method} {call.path} HTTP/1.1", *(f"{name}: {value}" for name, value in headers.items())]
        writer.write("\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + body)
        await writer.drain()
        return await _read_reply(reader)
    finally:
        # Not waited for: whatever happens to it now, the answer is here or it is not.
        writer.close()


async def _read_reply(reader: asyncio.StreamReader) -> Reply:
    status, headers = _head(await reader.readuntil(b"\r\n\r\n"))
    while 100 <= status < 200:
        status, headers = _head(await reader.readuntil(b"\r\n\r\n"))
    if status in (204, 304):
        return Reply(status, b"")
    if "chunked" in headers.get("transfer-encoding", ""):
        return Reply(status, await _chunks(reader))
    # An answer that does not say how long it is could be cut and look whole.
    return Reply(status, await reader.readexactly(int(headers["content-length"])))


def _head(raw: bytes) -> Tuple[int, Dict[str, str]]:
    first, *lines = raw.decode("latin-1").split("\r\n")
    version, _, rest = first.partition(" ")
    if not version.startswith("HTTP/1."):
        raise ValueError(f"not HTTP: {first[:40]!r}")
    headers = {}
    for line in lines:
        name, colon, value = line.partition(":")
        if colon:
            headers[name.strip().lower()] = value.strip().lower()
    if "content-length" not in headers and "transfer-encoding" not in headers:
        headers["content-length"] = "0"
    return int(rest[:3]), headers


async def _chunks(reader: asyncio.StreamReader) -> bytes:
    parts: List[bytes] = []
    while True:
        size = int((await reader.readline()).split(b";")[0], 16)
        if size == 0:
            return b"".join(parts)
        parts.append(await reader.readexactly(size))
        await reader.readexactly(2)
