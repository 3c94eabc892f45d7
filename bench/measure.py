"""Medians, ratios, and the tables that the benchmarks print."""

import os
import statistics
import subprocess
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "scripts"))


def times():
    """How often each thing is measured: at least 10, or the first argument."""
    return max(10, int(sys.argv[1])) if len(sys.argv) > 1 else 15


def milliseconds(action, *arguments, **options):
    """How long a call takes."""
    began = time.perf_counter()
    action(*arguments, **options)
    return (time.perf_counter() - began) * 1000


def command(*arguments, **options):
    """Runs a command that must succeed, without output."""
    options = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.STDOUT} | options
    done = subprocess.run([str(word) for word in arguments], check=False, **options)
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(map(str, arguments))}: exit code {done.returncode}: {(done.stdout or b'')[-800:]}")


def median(values):
    return statistics.median(values)


def row(what, ours, theirs, goal=None, absolute=False):
    """One line: medians, their spread, and what it is to be judged by. Returns whether the goal is met."""
    ours_ms, theirs_ms = median(ours), median(theirs)
    judged = ours_ms - theirs_ms if absolute else ours_ms / theirs_ms
    unit = " ms above" if absolute else "×"
    met = goal is None or judged <= goal
    verdict = "" if goal is None else f"  goal ≤ {goal:g}{unit}  {'ok' if met else 'MISSED'}"
    print(
        f"{what:34} {ours_ms:8.1f} ms (±{spread(ours):5.1f})   raw {theirs_ms:8.1f} ms (±{spread(theirs):5.1f})"
        f"   {judged:6.2f}{unit}{verdict}",
        flush=True,
    )
    return met


def goal(what, value, unit, limit, at_least=False):
    """One line for a figure with a limit of its own."""
    met = value >= limit if at_least else value <= limit
    print(f"{what:60} {value:10.2f} {unit}  goal {'≥' if at_least else '≤'} {limit:g}  {'ok' if met else 'MISSED'}", flush=True)
    return met


def spread(values):
    """Half the distance between the quartiles."""
    low, _, high = statistics.quantiles(values, n=4)
    return (high - low) / 2
