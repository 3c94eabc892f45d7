"""Drives the steps of a call with blocking IO: a connection for each request, so that nothing is shared between threads."""

from __future__ import annotations

import http.client
import time
from typing import Tuple, TypeVar, Union

from ._steps import Call, Lost, Pause, Reply, Steps

T = TypeVar("T")


def drive(address: Tuple[str, int], steps: Steps[T]) -> T:
    """Runs a call to its end."""
    outcome: Union[Reply, Lost, None] = None
    while True:
        try:
            step = steps.send(outcome)
        except StopIteration as end:
            result: T = end.value
            return result
        if isinstance(step, Pause):
            time.sleep(step.seconds)
            outcome = None
        else:
            outcome = exchange(address, step)


def exchange(address: Tuple[str, int], call: Call) -> Union[Reply, Lost]:
    """One request. It goes to the sandbox's own loopback, so no proxy is asked."""
    connection = http.client.HTTPConnection(*address, timeout=call.seconds)
    try:
        headers = {"content-type": "application/json", "connection": "close", **call.headers}
        connection.request(call.method, call.path, call.body, headers)
        with connection.getresponse() as response:
            check_head(response)
            return Reply(response.status, response.read())
    except (OSError, http.client.HTTPException, ValueError) as error:
        return Lost(error)
    finally:
        connection.close()


def check_head(response: http.client.HTTPResponse) -> None:
    """Raises for a head that was cut, which :mod:`http.client` takes for a whole one: it does not say how long the body is."""
    has_no_body = response.status in (101, 204)
    if not has_no_body and response.length is None and not response.chunked:
        raise http.client.IncompleteRead(b"")
