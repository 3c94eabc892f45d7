"""The parser of the demo against Python's own, on tricky documents cut at every byte: python3 -m unittest discover examples/parse"""

import json
import unittest

from incremental_json import Malformed, Parser

GOOD = [
    b"{}", b"[]", b" 1 ", b"-0.5e+3", b"12", b'"alone"', b"null", b"true ", b'""',
    b'{"a":1,"b":[true,false,null],"c":{"d":{"e":[[[{}]]]}}}',
    b'[1, 2.5, -3e4, "x", [], {}, [[]], {"a": []}]',
    b'{"price": 1.25 , "quantity":3,\n\t"category" :"x"}',
    b'{"\\u00e9\\n\\"\\\\":"\\ud83d\\udc0c \\/ \\b\\f\\r\\t", "k": "\\\\"}',
    '{"música": "食品 🐌", "é": ["ü", {"ß": "🐌"}]}'.encode(),
    b'{"a":"}","b":"]","c":",","d":":","e":"{[\\"","f":"1,2"}',
    b'[[1,2],[3,[4,[5,[6]]]],0,-0,0.0,1E5,1e-5]',
    b'  [ "a" , "b" ,{ "c" : "d" } ]  \r\n',
    b'["' + b"long " * 300 + b'", "end"]',
]
BAD = [
    b"", b" ", b"{", b"[1,2", b'{"a"}', b'{"a":}', b'{"a":1,}', b"[1,]", b"[,1]", b"{,}", b"01", b"[01]", b"1.", b"[1.]", b"-", b"[+1]",
    b"tru", b"[nul]", b'"open', b'"\\x"', b'"\\u12g4"', b'"line\nbreak"', b"{} {}", b"1 2", b"[1}", b'{"a":1]', b"]", b'{1:2}', b"[1 2]",
    b'{"a" "b"}', b"[\x00]", b"nan",
]


class Record:
    """What a document is made of, as the parser tells it."""

    def __init__(self):
        self.keys, self.texts, self.objects, self.depths = [], [], [], []
        self.key, self.text, self.object, self.opened = self.keys.append, self.texts.append, self.objects.append, self.depths.append

    def all(self):
        return self.keys, self.texts, self.objects, self.depths


def expected(document):
    """The same from Python's own parser, by walking the finished value."""
    record = Record()

    def members(pairs):
        return ("object", pairs)

    def walk(value, depth):
        if isinstance(value, tuple):
            record.opened(depth + 1)
            scalars = {}
            for key, inner in value[1]:
                record.key(key)
                if isinstance(inner, (tuple, list)):
                    walk(inner, depth + 1)
                else:
                    scalars[key] = inner
                    walk(inner, depth)
            record.object(scalars)
        elif isinstance(value, list):
            record.opened(depth + 1)
            for inner in value:
                walk(inner, depth + 1)
        elif isinstance(value, str):
            record.text(value)

    walk(json.loads(document, object_pairs_hook=members), 0)
    return record.all()


def parsed(*chunks):
    record = Record()
    parser = Parser(record)
    for chunk in chunks:
        parser.feed(chunk)
    parser.finish()
    return record.all()


class Incremental(unittest.TestCase):
    def test_a_document_cut_anywhere_is_the_same_document(self):
        for document in GOOD:
            want = expected(document)
            self.assertEqual(parsed(document), want, document)
            for cut in range(len(document) + 1):
                self.assertEqual(parsed(document[:cut], document[cut:]), want, (document, cut))

    def test_a_document_that_comes_byte_by_byte_is_the_same_document(self):
        for document in GOOD:
            self.assertEqual(parsed(*(document[i : i + 1] for i in range(len(document)))), expected(document), document)

    def test_what_is_not_json_is_refused_wherever_it_is_cut(self):
        for document in BAD:
            with self.assertRaises(ValueError):
                json.loads(document, parse_constant=lambda name: [][0] if name else None)
            for cut in range(len(document) + 1):
                with self.assertRaises(Malformed, msg=(document, cut)):
                    parsed(document[:cut], document[cut:])

    def test_what_is_not_json_is_refused_before_the_rest_has_come(self):
        for document in [b"[01", b'["\\x', b"[tx", b'["a\n', b"{1,", b"[1}", b"[+"]:
            with self.assertRaises(Malformed, msg=document):
                Parser(Record()).feed(document)

    def test_nesting_is_not_bounded_by_pythons_stack(self):
        depth = 20_000
        self.assertEqual(max(parsed(b"[" * depth, b"]" * depth)[3]), depth)


if __name__ == "__main__":
    unittest.main()
