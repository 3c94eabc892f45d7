#!/usr/bin/env python3
"""An agent that drafts, asks a human, and improves the draft until it is approved. While it waits it has no process and no memory.

    dauer run --name reviewer --workdir $PWD --env PYTHONPATH=$PWD/sdk/python/src --detach -- python3 examples/reviewer.py "worms"
    dauer logs -f reviewer &
    dauer signal reviewer review '{"approved": false, "comment": "too short"}'      # in a week, after a reboot: whenever
    dauer signal reviewer review '{"approved": true}'
    dauer result reviewer

It also runs plainly, and asks on the terminal then.
"""

import json
import sys
import time

import dauer


class Draft:
    """All it knows is in plain memory: no database, no state machine, no replay."""

    def __init__(self, topic):
        self.topic, self.comments = topic, []

    def write(self):
        time.sleep(1)  # a language model thinks
        words = [f"About {self.topic}."] + [f"As to “{comment}”: see page {page}." for page, comment in enumerate(self.comments, 1)]
        return " ".join(words)


def ask(text):
    """A human's answer: {"approved": true} or {"approved": false, "comment": …}."""
    print(f"draft: {text}", flush=True)
    if not dauer.managed():
        answer = input("approve? (empty line, or a comment) ")
        return {"approved": not answer, "comment": answer}
    print("waiting for: dauer signal reviewer review JSON", flush=True)
    return dauer.wait_signal("review")


draft = Draft(sys.argv[1] if len(sys.argv) > 1 else "worms")
while True:
    text = draft.write()
    dauer.checkpoint()  # the thinking is paid for once
    review = ask(text)
    if review["approved"]:
        break
    draft.comments.append(review.get("comment", "?"))
    dauer.progress(len(draft.comments), message="improving")

with dauer.lock():  # published whole or not at all: no checkpoint in between
    print(f"published: {json.dumps(text)}", flush=True)
dauer.exit({"text": text, "rounds": len(draft.comments) + 1})
