"""Who we are: keys from files and the agent, then a password or the answers to the host's questions."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Iterator, Sequence

import paramiko
from paramiko.auth_strategy import AuthResult, AuthSource, AuthStrategy
from paramiko.pkey import UnknownKeyType

from luigi_sshjob.destination import Destination
from luigi_sshjob.ssh.transports.paramiko.host_config import HostConfig


class AuthenticationFailed(Exception):
    """Says what was tried, in words for the user."""


class Authentication(AuthStrategy):
    """One login's; each factor that the host asks for, if it asks for several."""

    def __init__(self, way: HostConfig, destination: Destination):
        super().__init__(ssh_config=paramiko.SSHConfig())
        self._way = way
        self._answer = _answerer(destination)
        self._tried: list[str] = []
        self._allowed: set[str] = set()

    def authenticate(self, transport: paramiko.Transport) -> AuthResult:
        """Raises `AuthenticationFailed`."""
        done = AuthResult(strategy=self)
        if self._passes(transport, "nothing", lambda: transport.auth_none(self._way.username)):
            return done
        agent = paramiko.Agent()
        try:
            for name, key in self._keys(agent.get_keys()):
                if "publickey" not in self._allowed:
                    break
                if self._passes(transport, name, functools.partial(transport.auth_publickey, self._way.username, key)):
                    return done
        finally:
            agent.close()
        if self._answer and self._with_answers(transport):
            return done
        raise AuthenticationFailed(
            f"Permission denied ({','.join(sorted(self._allowed)) or 'no method is left'}); "
            f"tried: {', '.join(self._tried[1:]) or 'nothing, as there is no key and no password'}"
        )

    def get_sources(self) -> Iterator[AuthSource]:
        """Not asked: what comes next depends on what the host said to the last."""
        return iter(())

    def _with_answers(self, transport: paramiko.Transport) -> bool:
        user = self._way.username

        def answers(title: str, instructions: str, prompts: Sequence[tuple[str, bool]]) -> list[str]:
            return [self._answered(prompt.strip() or title or instructions) for prompt, _ in prompts]

        # the one that can carry more than one question first, as ssh(1) does
        ways: dict[str, Callable[[], list[str]]] = {
            "keyboard-interactive": lambda: transport.auth_interactive(user, answers),
            "password": lambda: transport.auth_password(user, self._answered(f"password of {user}"), fallback=False),
        }
        return any(
            method in self._allowed and self._passes(transport, method, attempt) for method, attempt in ways.items()
        )

    def _answered(self, question: str) -> str:
        assert self._answer
        try:
            return self._answer(question)
        except Exception as error:  # a thread of paramiko asks, which an exception would end without a word
            self._tried.append(f"the password function ({error!r})")
            return ""

    def _passes(self, transport: paramiko.Transport, name: str, attempt: Callable[[], list[str]]) -> bool:
        self._tried.append(name)
        try:
            # what is left to do after a factor that was right
            self._allowed = set(attempt())
            return not self._allowed
        except paramiko.BadAuthenticationType as error:
            self._allowed = set(error.allowed_types)
        except paramiko.AuthenticationException as error:
            if transport.is_active():
                return False
            if len(self._tried) > 2:
                raise AuthenticationFailed(
                    f"Too many authentication failures; tried: {', '.join(self._tried[1:])}"
                ) from error
            raise
        return False

    def _keys(self, of_agent: Sequence[paramiko.AgentKey]) -> Iterator[tuple[str, paramiko.PKey]]:
        """Those of the configuration first; for an encrypted one the agent's, which was given the passphrase."""
        by_text = {key.get_base64(): key for key in of_agent}
        used = set()
        for path in self._way.identities:
            public = _public(path)
            used.add(public)
            if public in by_text:
                yield f"{path} (agent)", by_text[public]
            elif key := self._from_file(path):
                yield path, key
        if not self._way.only_these:
            for text, key in by_text.items():
                if text not in used:
                    yield f"{key.comment or key.get_name()} (agent)", key

    def _from_file(self, path: str) -> paramiko.PKey | None:
        if not os.path.exists(path):
            return None
        try:
            return paramiko.PKey.from_path(path)
        except (paramiko.SSHException, UnknownKeyType, OSError, ValueError, TypeError) as error:
            # TypeError is what cryptography says of a key that wants a passphrase
            encrypted = isinstance(error, (TypeError, paramiko.PasswordRequiredException))
            why = "encrypted, and not in the agent: ssh-add it" if encrypted else str(error)
            self._tried.append(f"{path} ({why})")
            return None


def _public(path: str) -> str:
    try:
        with open(f"{path}.pub", encoding="utf-8") as file:
            return file.read().split()[1]
    except (OSError, IndexError, UnicodeDecodeError):
        return ""


def _answerer(destination: Destination) -> Callable[[str], str] | None:
    """How the host's questions are answered: by the user's function, or from SSHPASS as sshpass -e does."""
    if destination.password:
        return destination.password
    if destination.sshpass and "SSHPASS" in os.environ:
        return lambda _: os.environ["SSHPASS"]
    return None
