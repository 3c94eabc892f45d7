#!/usr/bin/env python3
"""Adds up a large JSON document without holding it: parse.py FILE [CHECKPOINT_EVERY_MB]

Where it runs as a job of Dauer it asks for a checkpoint every so many megabytes. Nothing else in it knows that it can be killed,
frozen or moved: no state file, no position to go back to, no code that starts over.
"""

import hashlib
import json
import os
import sys
import time
import urllib.error
import urllib.request

from incremental_json import Parser

CHUNK_BYTES = 64 << 10
PROGRESS_BYTES = 1 << 20


class Tally:
    """What is computed: totals by category, the deepest nesting, the longest string, a digest of all keys in their order."""

    def __init__(self):
        self.totals = {}
        self.objects = 0
        self.deepest = 0
        self.longest = ""
        self._keys = hashlib.blake2b(digest_size=16)  # lives in C, cannot be pickled either

    def key(self, text):
        self._keys.update(text.encode("utf-8", "surrogatepass"))

    def text(self, text):
        if len(text) > len(self.longest):
            self.longest = text

    def opened(self, depth):
        if depth > self.deepest:
            self.deepest = depth

    def object(self, members):
        self.objects += 1
        category = members.get("category")
        if category is not None:
            count, total = self.totals.get(category, (0, 0.0))
            self.totals[category] = (count + 1, total + members["price"] * members["quantity"])

    def result(self):
        longest = self.longest.encode("utf-8", "surrogatepass")
        return {
            "objects": self.objects,
            "deepest": self.deepest,
            "longest": [len(self.longest), hashlib.blake2b(longest, digest_size=16).hexdigest()],
            "keys": self._keys.hexdigest(),
            # hex: two sums are the same only if every bit is
            "totals": {name: [count, total.hex()] for name, (count, total) in sorted(self.totals.items())},
        }


def call(method, path, body=None):
    """One short request to the runtime API. A freeze may cut it: then it is simply made again."""
    request = urllib.request.Request(os.environ["DAUER_API"] + path, body and json.dumps(body).encode(), method=method)
    request.add_header("content-type", "application/json")
    with urllib.request.urlopen(request, timeout=60) as answer:
        return json.load(answer)


def checkpoint(token):
    """Returns once a checkpoint of this moment is on disk, in the process that asked and in each one restored from it."""
    status = {"status": "unknown"}
    while status["status"] in ("unknown", "pending"):
        try:
            if status["status"] == "unknown":
                status = call("POST", "/v1/self/checkpoint", {"token": token})
            else:
                status = call("GET", f"/v1/self/checkpoint/{token}")
        except urllib.error.HTTPError as error:
            if error.code != 404:
                raise SystemExit(f"checkpoint: {error.code} {error.read().decode(errors='replace')}") from None
            status = {"status": "unknown"}
        except (OSError, ValueError):
            time.sleep(0.05)
    return status


def main():
    path = sys.argv[1]
    every = int(sys.argv[2] if len(sys.argv) > 2 else 32) << 20
    inside = "DAUER_API" in os.environ
    tally = Tally()
    parser = Parser(tally)
    read = 0
    with open(path, "rb", buffering=0) as document:
        while chunk := document.read(CHUNK_BYTES):
            before, read = read, read + len(chunk)
            parser.feed(chunk)
            if before // PROGRESS_BYTES != read // PROGRESS_BYTES:
                print(f"at {read}", flush=True)
            if inside and before // every != read // every:
                status = checkpoint(f"at-{read}")
                detail = f" {status['message']}" if status.get("message") else ""
                print(f"checkpoint {read} {status['status']} generation {status['generation']}{detail}", flush=True)
    parser.finish()
    print(f"read {read}")
    print("result " + json.dumps(tally.result()), flush=True)


if __name__ == "__main__":
    main()
