"""A mail server on this machine that keeps the messages it receives (RFC 5321, as far as smtplib needs it)."""

from __future__ import annotations

import email
import socketserver
import threading
from email.message import Message


class MailServer(socketserver.ThreadingTCPServer):
    """Serves from its own threads until `close`."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Session)
        self.messages: list[Message] = []
        threading.Thread(target=self.serve_forever, daemon=True).start()

    @property
    def port(self) -> int:
        return self.server_address[1]

    def close(self) -> None:
        self.shutdown()
        self.server_close()


class _Session(socketserver.StreamRequestHandler):
    def handle(self) -> None:
        self._reply("220 test")
        while line := self.rfile.readline():
            word = line.split()[0].upper() if line.split() else b""
            if word == b"DATA":
                self._reply("354 go on")
                self._receive()
            self._reply("221 bye" if word == b"QUIT" else "250 test")
            if word == b"QUIT":
                return

    def _receive(self) -> None:
        lines = []
        while (line := self.rfile.readline()) not in (b".\r\n", b""):
            lines.append(line.removeprefix(b".") if line.startswith(b"..") else line)
        assert isinstance(self.server, MailServer)
        self.server.messages.append(email.message_from_bytes(b"".join(lines)))

    def _reply(self, text: str) -> None:
        self.wfile.write(f"{text}\r\n".encode())
