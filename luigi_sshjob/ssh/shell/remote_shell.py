"""A persistent shell on the host that serves framed requests in their order."""

from __future__ import annotations

import dataclasses
import re
import secrets
import time
from collections.abc import Iterator, Sequence

from luigi_sshjob.remote import quoting, scripts
from luigi_sshjob.ssh.shell.bounds import LARGEST_RESPONSE, reading_response, too_large
from luigi_sshjob.ssh.shell.session import Session
from luigi_sshjob.ssh.transports.base import Transport

_LIMITED = "limited"
_BATCH = 50  # requests; their responses fit into the buffers of a session, so that the host never blocks


@dataclasses.dataclass(frozen=True)
class ResponsePart:
    """A marked part of a response."""

    kind: str
    index: int
    value: str
    content: bytes


@dataclasses.dataclass(frozen=True)
class Response:
    """Exit status of a verb, its output before the first part, and its parts."""

    status: int
    output: bytes = b""
    parts: tuple[ResponsePart, ...] = ()

    @property
    def refusal(self) -> tuple[str, str] | None:
        """Code and text of the error with which the verb refused, if it did."""
        refused = [part for part in self.parts if part.kind == "refused"]
        return (refused[-1].value, quoting.decode(refused[-1].content).rstrip("\n")) if refused else None

    @property
    def text(self) -> str:
        """The decoded output without newlines at its end."""
        return quoting.decode(self.output).rstrip("\n")


def request_text(verb: str, *arguments: str | int | float) -> str:
    """Return the call of a function of the server; arguments are quoted, unless they are `quoting.Word`."""
    return " ".join([verb, *(quoting.word(argument) for argument in arguments)])


def limited_text(seconds: float, verb: str, *arguments: str | int | float) -> str:
    """Return the call of a function that the host gives up after `seconds`, see remote/server/limited.sh."""
    return request_text(_LIMITED, seconds, quoting.Word(verb), *arguments)


def is_limited(text: str) -> bool:
    """Whether it is a text of `limited_text`."""
    return text.startswith(f"{_LIMITED} ")


def split_response(response: Response) -> list[Response]:
    """Return the responses of the verbs that were served in one request: each between its marks.

    The marks are the parts "request N" and "status N STATUS".
    """
    responses: list[Response] = []
    begun: list[ResponsePart] | None = None
    for part in response.parts:
        if part.kind == "request" and begun is None and part.index == len(responses):
            begun = [part]
        elif part.kind == "status" and begun and part.index == len(responses):
            responses.append(_response(int(part.value), begun[0].content, begun[1:]))
            begun = None
        elif begun:
            begun.append(part)
    return responses


def _response(status: int, output: bytes, parts: Sequence[ResponsePart]) -> Response:
    # a verb that succeeds may have recovered from a step that refused
    return Response(status, output, tuple(part for part in parts if status != 0 or part.kind != "refused"))


class ShellProtocol:
    """Requests and responses as bytes, without I/O.

    Marks with a random token delimit the parts and the end of a response. Jobs do not know the token, so that no output
    of theirs can be mistaken for a mark.
    """

    def __init__(self, host: str = "") -> None:
        self._host = host
        self._token = secrets.token_hex(16)
        self._part_mark = re.compile(rb"(?:^|\n)%s part (\S+) (\d+) ([^\n]*)\n" % self._token.encode())
        self._requests = self._responses = 0
        self._buffer = bytearray()
        self._searched = 0

    def opening(self) -> bytes:
        """Return the bytes that load the server; its first response follows when it is ready."""
        return quoting.encode(f"SJ_TOKEN={self._token}\n{scripts.server()}serve 0 echo_back ready\n")

    def request(self, text: str) -> bytes:
        """Return the bytes of a request, see `request_text`."""
        self._requests += 1
        # in braces, so that no part of a truncated request is run
        return quoting.encode(f"{{ serve {self._requests} {text}\n}}\n")

    def feed(self, data: bytes) -> Iterator[Response]:
        """Yield the responses that `data` completes, in the order of the requests. Raises `InvalidResponse`."""
        if len(self._buffer) + len(data) > LARGEST_RESPONSE:
            raise too_large(self._host)
        self._buffer += data
        while True:
            mark = b"\n%s end %d " % (self._token.encode(), self._responses)
            found = self._buffer.find(mark, self._searched)
            line_end = self._buffer.find(b"\n", found + len(mark)) if found >= 0 else -1
            if line_end < 0:
                # the last bytes may be the beginning of a mark
                self._searched = max(0, len(self._buffer) - len(mark) - 8)
                return
            with reading_response("a request", self._host):
                response = self._parse(bytes(self._buffer[:found]), int(self._buffer[found + len(mark) : line_end]))
            del self._buffer[: line_end + 1]
            self._searched = 0
            self._responses += 1
            yield response

    def _parse(self, body: bytes, status: int) -> Response:
        output, *marks = self._part_mark.split(body)
        parts = [
            ResponsePart(kind.decode(), int(index), quoting.decode(value), content)
            for kind, index, value, content in zip(marks[::4], marks[1::4], marks[2::4], marks[3::4], strict=True)
        ]
        return _response(status, output, parts)


class RemoteShell:
    """The server of `remote/server/`, loaded in a session of its own."""

    def __init__(self, transport: Transport, *, deadline: float):
        self.protocol = ShellProtocol(str(transport.destination))
        self.session = Session(transport, scripts.server_command(), deadline=deadline)
        try:
            self.session.write(self.protocol.opening(), deadline=deadline)
            self._receive(deadline)
        except BaseException:
            self.close()
            raise

    def call(self, text: str, *, deadline: float) -> Response:
        """Send one request and wait for its response. Raises `ConnectionLost`; the shell is unusable then."""
        self.session.write(self.protocol.request(text), deadline=deadline)
        return self._receive(deadline)

    def pipeline(self, texts: Sequence[str], *, deadline: float) -> list[Response]:
        """Send requests without waiting for the responses in between. Raises as `call`."""
        responses: list[Response] = []
        for first in range(0, len(texts), _BATCH):
            batch = texts[first : first + _BATCH]
            self.session.write(b"".join(map(self.protocol.request, batch)), deadline=deadline)
            expected = len(responses) + len(batch)
            while len(responses) < expected:
                chunk = self.session.read(1 << 18, deadline=deadline)
                if not chunk:
                    raise self.session.connection_error()
                responses += self.protocol.feed(chunk)
        return responses

    def close(self) -> None:
        """Close the session."""
        self.session.close()

    def detach_after_fork(self) -> None:
        """For a forked child, see `Session.detach_after_fork`."""
        self.session.detach_after_fork()

    def _receive(self, deadline: float) -> Response:
        while True:
            chunk = self.session.read(1 << 18, deadline=deadline)
            if not chunk:
                raise self.session.connection_error()
            for response in self.protocol.feed(chunk):
                return response


def deadline_in(seconds: float) -> float:
    """Return the time `seconds` from now as a deadline (`time.monotonic()`)."""
    return time.monotonic() + seconds
