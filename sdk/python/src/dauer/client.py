"""The caller API: runs programs as jobs and follows them.

::

    from dauer import Dauer

    job = Dauer().run(["python3", "agent.py"], params={"topic": "worms"})
    for item in job.stream(): ...
    print(job.result())
"""

from __future__ import annotations

import os
import re
import ssl
import uuid
from datetime import datetime
from typing import Any, Dict, Iterable, Iterator, List, Mapping, Optional, Sequence, Union, cast
from urllib.parse import quote

from ._caller import Caller, Host
from ._durations import Duration, milliseconds
from ._jobs import Ended, Event, Executed, Job, Output, Result, follow, item_of

__all__ = ["Dauer", "Ended", "Event", "Executed", "Job", "Output", "Result"]

_SIZES = {"": 1, "b": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30, "t": 1 << 40}


class Dauer:
    """A daemon, on this machine by default.

    ``host`` is ``unix:///path/dauer.sock`` or ``https://host:port`` with a ``token`` of ``dauer token create``. Without it: ``DAUER_HOST``
    and ``DAUER_TOKEN``, else the socket where the command line finds it. ``tls_ca``, or ``DAUER_TLS_CA``: trust only the certificates in this
    PEM file. ``patience``: a daemon that is being restarted is waited for so long.
    """

    def __init__(
        self,
        host: Optional[str] = None,
        token: Optional[str] = None,
        *,
        patience: Duration = 30,
        tls_ca: Optional[str] = None,
    ):
        tls_ca = tls_ca if tls_ca is not None else os.environ.get("DAUER_TLS_CA")
        context = None
        if tls_ca:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            context.load_verify_locations(tls_ca)
        parsed = Host.default() if host is None else Host.parse(host)
        token = token if token is not None else os.environ.get("DAUER_TOKEN")
        self._caller = Caller(parsed, token, milliseconds(patience) / 1000, context)

    def run(
        self,
        argv: Sequence[str],
        *,
        name: Optional[str] = None,
        env: Optional[Mapping[str, str]] = None,
        workdir: Optional[str] = None,
        driver: Optional[str] = None,
        image: Optional[str] = None,
        mounts: Iterable[Mapping[str, Any]] = (),
        inject: Optional[str] = None,
        cpus: Optional[float] = None,
        memory: Union[int, str, None] = None,
        timeout: Optional[Duration] = None,
        network: Optional[str] = None,
        publish: Iterable[Mapping[str, int]] = (),
        user: Optional[str] = None,
        stop_grace: Optional[Duration] = None,
        params: Any = None,
        metadata: Optional[Mapping[str, Any]] = None,
        tags: Optional[Mapping[str, str]] = None,
        priority: Optional[str] = None,
        max_retries: Optional[int] = None,
        retry_delay: Optional[Duration] = None,
        run_at: Union[datetime, str, None] = None,
        delay: Optional[Duration] = None,
        retry: Optional[Mapping[str, Any]] = None,
        job_timeout: Optional[Duration] = None,
        queue_timeout: Optional[Duration] = None,
        queue: Optional[str] = None,
        concurrency_key: Optional[str] = None,
        unique: Union[str, Mapping[str, Any], None] = None,
        after: Iterable[Union[str, Job, Mapping[str, Any]]] = (),
        parent: Union[str, Job, None] = None,
        idempotency_key: Optional[str] = None,
        definition_name: Optional[str] = None,
        definition_version: Optional[str] = None,
    ) -> Job:
        """Starts a program as a job. When this returns, the job is durable; it goes on without this process.

        ``memory`` is bytes or text such as ``512m``; a ``mount`` is ``{"source": …, "target": …, "read_only": …}``. What is ``None`` is
        the daemon's default. The request has an idempotency key, so it makes one job also over broken connections.

        ``retry`` is the whole policy, such as ``{"max_retries": 5, "jitter": "full", "retry_on": {"exit_codes": [75]}}``. Of the jobs with
        one ``unique`` key that have not ended there is one: with a key that another job has, that job is returned. ``after`` names
        jobs that have to complete first; ``{"job": …, "when": "ended"}`` is content with any end.
        """
        body: Dict[str, Any] = {
            "definition_name": definition_name,
            "definition_version": definition_version,
            "name": name,
            "argv": list(argv) or None,
            "env": env and dict(env),
            "workdir": workdir,
            "driver": driver,
            "image": image,
            "mounts": [dict(mount) for mount in mounts] or None,
            "inject": inject,
            "cpu_millis": None if cpus is None else round(cpus * 1000),
            "memory_bytes": None if memory is None else size_bytes(memory),
            "timeout_ms": None if timeout is None else milliseconds(timeout),
            "network": network,
            "publish": [dict(port) for port in publish] or None,
            "user": user,
            "stop_grace_ms": None if stop_grace is None else milliseconds(stop_grace),
            "params": params,
            "metadata": metadata and dict(metadata),
            "tags": tags and dict(tags),
            "priority": priority,
            "retry": _retry(max_retries, retry_delay, retry),
            "run_at": int(run_at.timestamp() * 1000) if isinstance(run_at, datetime) else run_at,
            "delay": None if delay is None else milliseconds(delay),
            "job_timeout": None if job_timeout is None else milliseconds(job_timeout),
            "queue_timeout": None if queue_timeout is None else milliseconds(queue_timeout),
            "queue": queue,
            "concurrency_key": concurrency_key,
            "unique": {"key": unique} if isinstance(unique, str) else unique and dict(unique),
            "after": [dict(one) if isinstance(one, Mapping) else {"job": _id(one)} for one in after] or None,
            "parent": None if parent is None else _id(parent),
            "idempotency_key": idempotency_key or str(uuid.uuid4()),
        }
        given = {key: value for key, value in body.items() if value is not None}
        return Job(self._caller, self._caller.call("POST", "/v1/jobs", given, repeatable=True))

    def submit(self, definition: str, params: Any = None, **options: Any) -> Job:
        """Starts a job of a definition: ``resize``, which is its latest version, or ``resize@1.2.0``. Options as of :meth:`run`."""
        name, _, version = definition.partition("@")
        return self.run(
            options.pop("argv", ()),
            params=params,
            definition_name=name,
            definition_version=version or None,
            **options,
        )

    def batch(self, jobs: Iterable[Mapping[str, Any]]) -> List[str]:
        """Starts up to 10,000 jobs, all or none: bodies of ``POST /v1/jobs``. Returns their ids."""
        answer = self._caller.call("POST", "/v1/jobs:batch", {"jobs": [dict(job) for job in jobs]})
        return cast(List[str], answer["job_ids"])

    def job(self, job: str) -> Job:
        """A job by its id, its name, or a beginning of its id that only it has."""
        return Job(self._caller, self._caller.call("GET", f"/v1/jobs/{quote(job, safe='')}"))

    def jobs(
        self, state: Union[str, Iterable[str], None] = None, tag: Optional[str] = None, page: int = 100
    ) -> Iterator[Job]:
        """The jobs in these states with this tag (``team:blue``), newest first, fetched by pages."""
        states = state if state is None or isinstance(state, str) else ",".join(state)
        query = {"state": states, "tag": tag}
        return (Job(self._caller, view) for view in self._pages("/v1/jobs", "jobs", query, page))

    def define(
        self,
        name: str,
        version: str,
        config: Mapping[str, Any],
        *,
        runtime_type: str = "auto",
        max_retries: Optional[int] = None,
        retry_delay: Optional[Duration] = None,
        metadata: Optional[Mapping[str, Any]] = None,
    ) -> Mapping[str, Any]:
        """Registers a definition; ``config`` has the fields of a job, at least ``argv``. The same again changes nothing."""
        body = {"name": name, "version": version, "runtime_type": runtime_type, "config": dict(config)}
        retry = _retry(max_retries, retry_delay)
        more: Dict[str, Any] = {"retry_policy": retry, "metadata": metadata and dict(metadata)}
        body.update({key: value for key, value in more.items() if value is not None})
        return cast(Mapping[str, Any], self._caller.call("POST", "/v1/definitions", body, repeatable=True))

    def definitions(self, page: int = 100) -> Iterator[Mapping[str, Any]]:
        """All definitions, by name, then by version, the highest first."""
        return self._pages("/v1/definitions", "definitions", {}, page)

    def definition(self, name: str, version: str = "latest") -> Mapping[str, Any]:
        """One definition."""
        return cast(Mapping[str, Any], self._caller.call("GET", _definition(name, version)))

    def delete_definition(self, name: str, version: str) -> None:
        """Removes a definition; jobs made from it live on."""
        self._caller.call("DELETE", _definition(name, version))

    def events(self, after: int = 0) -> Iterator[Event]:
        """What happens to all jobs, from this number of the journal on, and as it comes; it never ends by itself."""
        for event in follow(self._caller, "/v1/events", str(after)):
            item = item_of(event)
            if isinstance(item, Event):
                yield item

    def info(self) -> Mapping[str, Any]:
        """What the daemon is and which drivers it has."""
        return cast(Mapping[str, Any], self._caller.call("GET", "/v1/info"))

    def _pages(
        self, path: str, field: str, query: Mapping[str, Union[str, int, None]], page: int
    ) -> Iterator[Mapping[str, Any]]:
        cursor: Optional[str] = None
        while True:
            answer = self._caller.call("GET", path, query={**query, "limit": page, "cursor": cursor})
            yield from answer[field]
            cursor = answer.get("next_cursor")
            if cursor is None:
                return


def size_bytes(size: Union[int, str]) -> int:
    """``512m``, ``2g``, ``1024``: powers of 1024."""
    if isinstance(size, int):
        return size
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([bkmgt]?)(?:i?b)?", size.strip().lower())
    if match is None:
        raise ValueError(f"{size!r} is not a size: write for example 512m or 2g")
    return round(float(match[1]) * _SIZES[match[2]])


def _id(job: Union[str, Job]) -> str:
    return job.id if isinstance(job, Job) else job


def _retry(
    max_retries: Optional[int], delay: Optional[Duration], policy: Optional[Mapping[str, Any]] = None
) -> Optional[Dict[str, Any]]:
    if policy is not None:
        if max_retries is not None or delay is not None:
            raise ValueError("retry is the whole policy: max_retries and retry_delay go into it")
        return dict(policy)
    if max_retries is None:
        if delay is not None:
            raise ValueError("retry_delay needs max_retries")
        return None
    return {"max_retries": max_retries, **({} if delay is None else {"retry_delay": milliseconds(delay)})}


def _definition(name: str, version: str) -> str:
    return f"/v1/definitions/{quote(name, safe='')}/{quote(version, safe='')}"
