"""A persistent shell on the host that answers framed requests, one round trip each."""

from __future__ import annotations

import dataclasses
import re
import secrets
import time

from luigi_sshjob import shell
from luigi_sshjob.ssh.openssh import OpenSSH
from luigi_sshjob.ssh.session import Session


@dataclasses.dataclass(frozen=True)
class Part:
    """A marked part of an answer."""

    kind: str
    index: int
    value: str
    content: bytes


@dataclasses.dataclass(frozen=True)
class Answer:
    """What a verb answered: its exit status, what it printed, and the parts it marked."""

    status: int
    output: bytes
    parts: tuple[Part, ...] = ()

    @property
    def text(self) -> str:
        """The output, decoded, without the newline at its end."""
        return shell.decode(self.output).rstrip("\n")


class RemoteShell:
    """The agent of `remote/*.sh`, loaded once.

    An answer ends with a mark that holds a token of ours; without it there is no answer, only
    `ConnectionLost`. A job cannot know the token, so nothing it writes can look like a mark.
    """

    def __init__(self, transport: OpenSSH, *, deadline: float):
        self._token = secrets.token_hex(16)
        self._part_mark = re.compile(rb"(?:^|\n)%s part (\S+) (\d+) ([^\n]*)\n" % self._token.encode())
        self._requests = 0
        self._buffer = b""
        self._session = Session(transport, "exec /bin/sh -s", deadline=deadline)
        self._send(f"SJ_TOKEN={self._token}\n{shell.agent()}serve 0 echo_back ready\n", deadline)
        self._receive(deadline)

    def call(self, verb: str, *arguments: str | int | float, deadline: float) -> Answer:
        """Runs a function of the agent; plain arguments are quoted, `shell.Word`s taken as they are."""
        self._requests += 1
        words = " ".join(shell.word(argument) for argument in arguments)
        # in braces: of a request that is cut off in the middle, at the end of a word say, not a part is run
        self._send(f"{{ serve {self._requests} {verb} {words}\n}}\n", deadline)
        return self._receive(deadline)

    def ended(self) -> bool:
        """Whether the session is over already, so that a request would not be heard."""
        return self._session.process.poll() is not None

    def close(self) -> None:
        """Ends the session."""
        self._session.close()

    def abandon(self) -> None:
        """For a forked child, see `Session.abandon`."""
        self._session.abandon()

    def _send(self, text: str, deadline: float) -> None:
        self._session.write(shell.encode(text), deadline=deadline)

    def _receive(self, deadline: float) -> Answer:
        mark = b"\n%s end %d " % (self._token.encode(), self._requests)
        searched = 0
        while (found := self._buffer.find(mark, searched)) < 0 or b"\n" not in self._buffer[found + len(mark) :]:
            # a mark may be cut in two by the end of what has arrived
            searched = max(0, len(self._buffer) - len(mark) - 8)
            chunk = self._session.read(1 << 18, deadline=deadline)
            if not chunk:
                raise self._session.lost()
            self._buffer += chunk
        answer, rest = self._buffer[:found], self._buffer[found + len(mark) :]
        status, _, self._buffer = rest.partition(b"\n")
        output, *marks = self._part_mark.split(answer)
        parts = zip(marks[::4], marks[1::4], marks[2::4], marks[3::4], strict=True)
        return Answer(
            int(status),
            output,
            tuple(
                Part(kind.decode(), int(index), shell.decode(value), content) for kind, index, value, content in parts
            ),
        )


def deadline_in(seconds: float) -> float:
    """`seconds` from now, as the deadlines of this package count."""
    return time.monotonic() + seconds
