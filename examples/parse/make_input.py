#!/usr/bin/env python3
"""Writes a large nested JSON document, the same one for the same size: make_input.py FILE [MEGABYTES]"""

import json
import random
import sys

CATEGORIES = ["tools", "toys", "garden", "books", "música", "食品", 'odd "quoted"', "a\\b"]
WORDS = "lorem ipsum dolor sit amet consetetur sadipscing elitr diam nonumy eirmod tempor invidunt ut labore".split()


def tree(random_, depth):
    """A detail with details in it."""
    if depth == 0:
        return random_.choice([None, True, -1.5e-7, "leaf \t\u00e9\U0001f40c", [], {}])
    return {"level": depth, "note": " ".join(random_.choices(WORDS, k=6)), "inner": [tree(random_, depth - 1), depth]}


def orders(random_, details):
    """Orders without end, as text; each a few hundred bytes."""
    number = 0
    while True:
        number += 1
        note = " ".join(random_.choices(WORDS, k=random_.randrange(10, 40)))
        category = json.dumps(random_.choice(CATEGORIES), ensure_ascii=number % 2 == 0)
        yield (
            f'{{"id": {number}, "category": {category}, "price": {random_.random() * 100:.4f}, '
            f'"quantity": {random_.randrange(1, 9)}, "note": "{note}", "tags": [1, "x", null, {number % 7}.5e1], '
            f'"detail": {random_.choice(details)}}}'
        )


def main():
    path, size = sys.argv[1], int(sys.argv[2] if len(sys.argv) > 2 else 210) << 20
    random_ = random.Random(4717)
    details = [json.dumps(tree(random_, random_.randrange(0, 30)), ensure_ascii=i % 3 == 0) for i in range(200)]
    source = orders(random_, details)
    written = 0
    with open(path, "w", encoding="utf-8") as document:
        written += document.write('{"format": 1, "regions": [\n')
        region = 0
        while written < size:
            region += 1
            written += document.write(",\n" if region > 1 else "")
            batch = ",\n ".join(next(source) for _ in range(2000))
            written += document.write(f'{{"name": "region {region}", "orders": [\n {batch}]}}')
        document.write("\n]}\n")


if __name__ == "__main__":
    main()
