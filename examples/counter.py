#!/usr/bin/env python3
"""Counts, once a second. Freeze it, thaw it, kill its sandbox: it goes on.

    dauer run --name counter --workdir $PWD --detach -- python3 examples/counter.py
    dauer suspend counter; dauer resume counter; dauer logs -f counter
"""

import itertools
import time

for number in itertools.count():
    print(number, flush=True)
    time.sleep(1)
