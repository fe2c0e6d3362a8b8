"""A persistent shell on the host that answers framed requests, in their order."""

from __future__ import annotations

import dataclasses
import re
import secrets
import time
from collections.abc import Iterator, Sequence

from luigi_sshjob.remote import quoting, scripts
from luigi_sshjob.ssh.shell.session import Session
from luigi_sshjob.ssh.transports.base import Transport

_TOGETHER = 50  # requests whose answers surely fit in what the far side may send before we read


@dataclasses.dataclass(frozen=True)
class ResponsePart:
    """A marked part of an answer."""

    kind: str
    index: int
    value: str
    content: bytes


@dataclasses.dataclass(frozen=True)
class Response:
    """What a verb answered: its exit status, what it printed, and the parts it marked."""

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
        """The output, decoded, without the newline at its end."""
        return quoting.decode(self.output).rstrip("\n")


def request_text(verb: str, *arguments: str | int | float) -> str:
    """A call of a function of the agent; plain arguments are quoted, `shell.Word`s taken as they are."""
    return " ".join([verb, *(quoting.word(argument) for argument in arguments)])


class ShellProtocol:
    """Requests and answers as bytes; no I/O.

    An answer ends with a mark that holds a token of ours; without it there is no answer. A job cannot know the token,
    so nothing it writes can look like a mark.
    """

    def __init__(self) -> None:
        self._token = secrets.token_hex(16)
        self._part_mark = re.compile(rb"(?:^|\n)%s part (\S+) (\d+) ([^\n]*)\n" % self._token.encode())
        self._asked = self._answered = 0
        self._buffer = bytearray()
        self._searched = 0

    def opening(self) -> bytes:
        """Loads the agent, and is answered when it is there."""
        return quoting.encode(f"SJ_TOKEN={self._token}\n{scripts.server()}serve 0 echo_back ready\n")

    def request(self, text: str) -> bytes:
        """One request, see `request_text`."""
        self._asked += 1
        # in braces: of a request that is cut off in the middle, at the end of a word say, not a part is run
        return quoting.encode(f"{{ serve {self._asked} {text}\n}}\n")

    def feed(self, data: bytes) -> Iterator[Response]:
        """The answers that are whole with `data`, in the order of the requests."""
        self._buffer += data
        while True:
            mark = b"\n%s end %d " % (self._token.encode(), self._answered)
            found = self._buffer.find(mark, self._searched)
            line_end = self._buffer.find(b"\n", found + len(mark)) if found >= 0 else -1
            if line_end < 0:
                # a mark may be cut in two by the end of what has arrived
                self._searched = max(0, len(self._buffer) - len(mark) - 8)
                return
            answer = bytes(self._buffer[:found])
            status = int(self._buffer[found + len(mark) : line_end])
            del self._buffer[: line_end + 1]
            self._searched = 0
            self._answered += 1
            yield self._parsed(answer, status)

    def _parsed(self, answer: bytes, status: int) -> Response:
        output, *marks = self._part_mark.split(answer)
        parts = zip(marks[::4], marks[1::4], marks[2::4], marks[3::4], strict=True)
        return Response(
            status,
            output,
            tuple(
                ResponsePart(kind.decode(), int(index), quoting.decode(value), content)
                for kind, index, value, content in parts
            ),
        )


class RemoteShell:
    """The agent of `remote/*.sh`, loaded once in a session; `call` waits for the answer, the leader does not."""

    def __init__(self, transport: Transport, *, deadline: float):
        self.conversation = ShellProtocol()
        self.session = Session(transport, "exec /bin/sh -s", deadline=deadline)
        self.session.write(self.conversation.opening(), deadline=deadline)
        self._receive(deadline)

    def call(self, text: str, *, deadline: float) -> Response:
        """One request and its answer. Raises `ConnectionLost`; what is half read then is nobody's."""
        self.session.write(self.conversation.request(text), deadline=deadline)
        return self._receive(deadline)

    def pipeline(self, texts: Sequence[str], *, deadline: float) -> list[Response]:
        """Requests that do not wait for each other's answers. Raises as `call`."""
        answers: list[Response] = []
        for first in range(0, len(texts), _TOGETHER):
            together = texts[first : first + _TOGETHER]
            self.session.write(b"".join(map(self.conversation.request, together)), deadline=deadline)
            wanted = len(answers) + len(together)
            while len(answers) < wanted:
                chunk = self.session.read(1 << 18, deadline=deadline)
                if not chunk:
                    raise self.session.connection_error()
                answers += self.conversation.feed(chunk)
        return answers

    def close(self) -> None:
        """Ends the session."""
        self.session.close()

    def detach_after_fork(self) -> None:
        """For a forked child, see `Session.detach_after_fork`."""
        self.session.detach_after_fork()

    def _receive(self, deadline: float) -> Response:
        while True:
            chunk = self.session.read(1 << 18, deadline=deadline)
            if not chunk:
                raise self.session.connection_error()
            for answer in self.conversation.feed(chunk):
                return answer


def deadline_in(seconds: float) -> float:
    """`seconds` from now, as the deadlines of this package count."""
    return time.monotonic() + seconds
