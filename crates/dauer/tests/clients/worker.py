"""One program through checkpoint, suspend, lock, signal and exit, with the HTTP client that its argument names.

No client waits for the answer of its first try: it cuts the connection while the freeze is under way, and makes the request
again with the same token, before or after the thaw. Later tries are given up after a second, which is shorter than the sleeps.
What it saw is its output.
"""

import json
import os
import sys
import time

API = os.environ["DAUER_API"]
JOB = os.environ["DAUER_JOB_ID"]
# shorter than it takes until the job stands still: an answer may be there at once when it goes on
FIRST_SECONDS = 0.003
SECONDS = 1.0


def with_urllib():
    import urllib.error
    import urllib.request

    def call(method, path, body, seconds):
        request = urllib.request.Request(API + path, data=body, method=method, headers=HEADERS)
        try:
            with urllib.request.urlopen(request, timeout=seconds) as answer:
                return answer.status, answer.read()
        except urllib.error.HTTPError as error:
            return error.code, error.read()

    return call


def with_requests():
    import requests

    session = requests.Session()

    def call(method, path, body, seconds):
        answer = session.request(method, API + path, data=body, headers=HEADERS, timeout=seconds)
        return answer.status_code, answer.content

    return call


def with_httpx():
    import httpx

    client = httpx.Client()

    def call(method, path, body, seconds):
        answer = client.request(method, API + path, content=body, headers=HEADERS, timeout=seconds)
        return answer.status_code, answer.content

    return call


def with_keep_alive():
    """One connection for everything, opened again only when it failed."""
    import http.client
    from urllib.parse import urlsplit

    address = urlsplit(API)
    connection = http.client.HTTPConnection(address.hostname, address.port)

    def call(method, path, body, seconds):
        connection.timeout = seconds
        try:
            connection.connect() if connection.sock is None else connection.sock.settimeout(seconds)
            connection.request(method, path, body=body, headers=HEADERS)
            answer = connection.getresponse()
            return answer.status, answer.read()
        except Exception:
            connection.close()
            raise

    return call


HEADERS = {"content-type": "application/json"}
CLIENTS = {
    "urllib": with_urllib,
    "requests": with_requests,
    "httpx": with_httpx,
    "keep-alive": with_keep_alive,
}
call_once = CLIENTS[sys.argv[1]]()
failures = 0


def call(method, path, body=None):
    """Until there is an answer. A failed try is repeated as it was."""
    global failures
    content = None if body is None else json.dumps(body).encode()
    for tries in range(100):
        try:
            seconds = FIRST_SECONDS if tries == 0 and body else SECONDS
            status, answer = call_once(method, path, content, seconds)
        except Exception as error:
            failures += 1
            print("failed:", type(error).__name__, file=sys.stderr, flush=True)
            time.sleep(0.05)
            continue
        return status, json.loads(answer) if answer else None
    raise SystemExit(f"no answer to {method} {path}")


seen = {}
status, answer = call("POST", f"/jobs/{JOB}/checkpoint", {"token": "one"})
seen["checkpoint"] = [status, answer["status"]]
status, answer = call("POST", f"/jobs/{JOB}/checkpoint", {"token": "two", "suspend_duration": "2s"})
seen["suspend"] = [status, answer["status"], answer["job"]["generation"]]
status, answer = call("POST", "/v1/self/locks", {"token": "lock"})
seen["lock"] = [status, call("GET", "/v1/self")[1]["locks"]]
seen["unlock"] = [call("DELETE", "/v1/self/locks/" + answer["lock_id"])[0], call("GET", "/v1/self")[1]["locks"]]
while True:
    status, answer = call("POST", "/v1/self/signals/wait", {"name": "go", "token": "three", "suspend": True})
    if answer["status"] != "pending":
        break
seen["signal"] = [status, answer["status"], answer["payload"]]
status, again = call("POST", "/v1/self/signals/wait", {"name": "go", "token": "three"})
seen["same"] = again == answer
seen["checkpoints"] = call("GET", "/v1/self")[1]["generation"]
seen["failed"] = failures > 0
print(call("POST", "/v1/self/exit", {"exit_code": 0, "output": seen}), flush=True)
