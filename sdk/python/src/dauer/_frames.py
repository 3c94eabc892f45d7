"""The frames of logs and exec: length (u32), kind (u8), three zeros, id (u64), payload; little endian."""

from __future__ import annotations

import struct
from typing import IO, Iterator, Tuple

_HEAD = struct.Struct("<IB3xQ")

# Kinds in a log.
OUTPUT, MARKER, END, KEEPALIVE = 1, 2, 3, 4
# Kinds of an exec.
EXEC_INPUT, EXEC_OUTPUT, EXEC_EXITED, EXEC_FAILED = 1, 4, 5, 6

#: The number of the standard error in a log; what goes to a terminal has another.
STDERR = 2


def read_frames(source: IO[bytes]) -> Iterator[Tuple[int, int, bytes]]:
    """Kind, id and payload of each whole frame; one that was cut is left away."""
    while True:
        head = source.read(_HEAD.size)
        if len(head) < _HEAD.size:
            return
        length, kind, number = _HEAD.unpack(head)
        payload = source.read(length)
        if len(payload) < length:
            return
        yield kind, number, payload


def frame(kind: int, payload: bytes) -> bytes:
    """One frame, as it is sent."""
    return _HEAD.pack(len(payload), kind, 0) + payload
