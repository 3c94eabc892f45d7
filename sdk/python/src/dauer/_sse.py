"""Server-sent events, as the HTML standard has them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Iterable, Iterator, List


@dataclass(frozen=True)
class ServerEvent:
    """One event."""

    name: str
    data: str
    #: The newest id of the stream, which resumes it after this event.
    id: str


def events(lines: Iterable[bytes]) -> Iterator[ServerEvent]:
    """The whole events of a stream. One whose empty line did not come was cut, and is dropped."""
    name, last_id = "", ""
    data: List[str] = []
    for raw in lines:
        # Lines end with \n here: \r alone is not used by anybody.
        line = raw.decode(errors="replace").rstrip("\n").rstrip("\r")
        if not raw.endswith(b"\n"):
            return
        if not line:
            if data:
                yield ServerEvent(name or "message", "\n".join(data), last_id)
            name, data = "", []
            continue
        field, _, value = line.partition(":")
        value = value[1:] if value.startswith(" ") else value
        if field == "event":
            name = value
        elif field == "data":
            data.append(value)
        elif field == "id" and "\0" not in value:
            last_id = value
