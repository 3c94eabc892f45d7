"""What schemathesis may not do to the daemon it tries: run programs of its own making, wait for what never comes, lock itself out."""

import os
import re

import schemathesis

# A random name finds no job; half of the calls are about this one.
JOB = "ended"


@schemathesis.serializer("application/x-tar", "application/octet-stream")
def raw(context, value):
    return value if isinstance(value, bytes) else str(value).encode()


@schemathesis.hook
def before_call(context, case, kwargs):
    parameters = case.path_parameters or {}
    job = str(parameters.get("job", ""))
    # Neither what another answer named, nor anything to be removed.
    if job and case.method in ("GET", "POST") and len(job) % 2 == 0 and not re.fullmatch("[0-9a-f-]{36}", job):
        parameters["job"] = JOB
    if parameters.get("id") == os.environ["API_TOKEN"]:
        parameters["id"] = "000000000000"
    # A stream that is followed ends only with the daemon.
    query = case.query or {}
    if query.get("follow") in (True, "true"):
        query["follow"] = "false"
    if isinstance(case.body, dict):
        tame(case.body)
        for job in case.body.get("jobs") or [] if isinstance(case.body.get("jobs"), list) else []:
            if isinstance(job, dict):
                tame(job)


def tame(job):
    """A job that is accepted ends at once. What is to be refused stays as it is."""
    argv = job.get("argv")
    if isinstance(argv, list) and argv and all(isinstance(word, str) for word in argv):
        job["argv"] = ["true"]
