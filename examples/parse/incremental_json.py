"""An incremental JSON parser: bytes go in as they come, members and elements come out as they are complete.

Where it stands in the document is not a record that could be saved. It is a stack of suspended generators, one for each
container that is open, each in the middle of its own code with its own variables. Python cannot pickle those, nor can it
copy them; only a checkpoint of the process keeps them.

Speed comes from the regular expressions: a member or element that lies whole in the buffer is taken in one match. What a
chunk's end has cut goes the slow way, token by token, and waits where a token is not complete.
"""

import re

_SPACE = rb"[ \t\n\r]*"
_ESCAPE = rb'\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4})'
_TEXT = rb'[^"\\\x00-\x1f]*(?:' + _ESCAPE + rb'[^"\\\x00-\x1f]*)*'
_NUMBER = rb"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?"
_SCALAR = rb'(?:"(?P<text>' + _TEXT + rb')"|(?P<number>' + _NUMBER + rb")|(?P<word>true|false|null))"

# The delimiter belongs to the match: without it nobody knows whether a number goes on in the next chunk.
_MEMBER = re.compile(_SPACE + rb'"(?P<key>' + _TEXT + rb')"' + _SPACE + rb":" + _SPACE + _SCALAR + _SPACE + rb"(?P<end>[,}])")
_ELEMENT = re.compile(_SPACE + _SCALAR + _SPACE + rb"(?P<end>[,\]])")
_TOKEN = re.compile(
    _SPACE + rb'(?:(?P<mark>[{}\[\],:])|"(?P<text>' + _TEXT + rb')"|(?P<number>' + _NUMBER + rb")(?=[ \t\n\r,\]}])"
    rb"|(?P<word>true|false|null))"
)
_LAST_NUMBER = re.compile(_SPACE + rb"(?P<number>" + _NUMBER + rb")" + _SPACE + rb"\Z")
_BEGUN = re.compile(
    _SPACE + rb'(?:"' + _TEXT + rb"(?:\\(?:u[0-9a-fA-F]{0,3})?)?"
    rb"|-?(?:(?:0|[1-9][0-9]*)(?:\.[0-9]*)?(?:[eE][+-]?[0-9]*)?)?"
    rb"|t(?:r(?:ue?)?)?|f(?:a(?:l(?:se?)?)?)?|n(?:u(?:ll?)?)?)?"
)
_ESCAPES = re.compile(r"\\(?:u([dD][89abAB]..)\\u([dD][c-fC-F]..)|u(....)|(.))")
_LETTERS = {"b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t"}
_WORDS = {b"true": True, b"false": False, b"null": None}


class Malformed(ValueError):
    """The document is not JSON; says at which byte."""


class Parser:
    """Feed it bytes, then finish. `sink` is told what is complete:

    `sink.key(text)` for each key; `sink.text(text)` for each string that is a value; `sink.opened(depth)` for each container;
    `sink.object(members)` at the end of each object, with its members that are neither object nor array.
    """

    def __init__(self, sink):
        self._sink = sink
        self._buffer = b""
        self._at = 0
        self._passed = 0  # bytes of the document before the buffer
        self._pending = []
        self._pending_bytes = 0
        self._ended = False
        self._stack = [self._document()]

    def feed(self, chunk):
        """Takes the next bytes of the document, as many or few as there are."""
        self._pending.append(chunk)
        self._pending_bytes += len(chunk)
        # A token that is not complete is scanned again from its start. Waiting until the buffer has doubled keeps
        # that linear for long strings in small chunks.
        if self._pending_bytes >= len(self._buffer) - self._at:
            self._run()

    def finish(self):
        """The document is over. Raises Malformed where it is not."""
        self._ended = True
        self._run()
        if self._stack:
            raise self._malformed("the document ends too early")

    def _run(self):
        self._passed += self._at
        self._buffer = b"".join([self._buffer[self._at :], *self._pending])
        self._at = 0
        self._pending.clear()
        self._pending_bytes = 0
        stack = self._stack
        while stack:
            try:
                child = next(stack[-1])
            except StopIteration:
                stack.pop()
                continue
            if child is None:
                return
            stack.append(child)
            self._sink.opened(len(stack) - 1)

    # Each generator below yields None where it needs more bytes, and a generator where a container opens.

    def _document(self):
        token = yield from self._token(alone=True)
        if token.group("mark"):
            yield self._container(token)
        elif (text := token.group("text")) is not None:
            self._sink.text(_decode(text))
        while not self._ended or self._buffer[self._at :].strip(b" \t\n\r"):
            if self._buffer[self._at :].strip(b" \t\n\r"):
                raise self._malformed("something follows the document")
            self._at = len(self._buffer)
            yield None

    def _container(self, token):
        mark = token.group("mark")
        if mark == b"{":
            return self._object()
        if mark == b"[":
            return self._array()
        raise self._malformed(f"unexpected {mark.decode()!r}")

    def _object(self):
        sink, member, members = self._sink, _MEMBER.match, {}
        first, end = True, b","
        while end != b"}":
            if found := member(self._buffer, self._at):
                key, text, number, word, end = found.groups()
                self._at = found.end()
                key = _decode(key)
                sink.key(key)
                members[key] = self._scalar(text, number, word)
            else:
                token = yield from self._token()
                if first and token.group("mark") == b"}":
                    break
                key = self._key(token)
                sink.key(key)
                yield from self._mark(b":")
                token = yield from self._token()
                if token.group("mark"):
                    yield self._container(token)
                else:
                    members[key] = self._scalar(*token.group("text", "number", "word"))
                end = yield from self._mark(b",}")
            first = False
        sink.object(members)

    def _array(self):
        element = _ELEMENT.match
        first, end = True, b","
        while end != b"]":
            if found := element(self._buffer, self._at):
                text, number, word, end = found.groups()
                self._at = found.end()
                self._scalar(text, number, word)
            else:
                token = yield from self._token()
                if first and token.group("mark") == b"]":
                    break
                if token.group("mark"):
                    yield self._container(token)
                else:
                    self._scalar(*token.group("text", "number", "word"))
                end = yield from self._mark(b",]")
            first = False

    def _scalar(self, text, number, word):
        if text is not None:
            text = _decode(text)
            self._sink.text(text)
            return text
        if number is not None:
            return int(number) if number.lstrip(b"-").isdigit() else float(number)
        return _WORDS[word]

    def _key(self, token):
        text = token.group("text")
        if text is None:
            raise self._malformed("expected a key")
        return _decode(text)

    def _mark(self, marks):
        mark = (yield from self._token()).group("mark")
        if mark is None or mark not in marks:
            raise self._malformed(f"expected one of {marks.decode()!r}")
        return mark

    def _token(self, alone=False):
        while not (found := _TOKEN.match(self._buffer, self._at)):
            if self._ended:
                # Only a number that is the whole document has nothing behind it.
                found = alone and _LAST_NUMBER.match(self._buffer, self._at)
                if not found:
                    raise self._malformed("not JSON, or cut off")
                self._at = found.end()
                return _TOKEN.match(found.group("number") + b" ")
            if not _BEGUN.fullmatch(self._buffer, self._at):
                raise self._malformed("not JSON")
            yield None
        self._at = found.end()
        return found

    def _malformed(self, what):
        return Malformed(f"{what}, at byte {self._passed + self._at}")


def _decode(raw):
    text = raw.decode()
    return _ESCAPES.sub(_unescape, text) if "\\" in text else text


def _unescape(found):
    high, low, code, letter = found.groups()
    if high:
        return chr(0x10000 + ((int(high, 16) - 0xD800) << 10) + (int(low, 16) - 0xDC00))
    if code:
        return chr(int(code, 16))
    return _LETTERS.get(letter, letter)
