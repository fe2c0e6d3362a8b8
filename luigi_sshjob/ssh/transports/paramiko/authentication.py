"""Authentication: keys from files and the agent, then a password or responses to the host's prompts."""

from __future__ import annotations

import copy
import functools
import os
from collections.abc import Callable, Iterator, Sequence

import paramiko
from paramiko.auth_strategy import AuthResult, AuthSource, AuthStrategy
from paramiko.pkey import UnknownKeyType

from luigi_sshjob.destination import Destination
from luigi_sshjob.ssh.transports.certificates import expired
from luigi_sshjob.ssh.transports.paramiko.host_config import HostConfig


class AuthenticationFailed(Exception):
    """The methods that were tried, in the words of ssh(1) where `error_mapping` looks for them."""


class Authentication(AuthStrategy):
    """The authentication of one login, with each factor that the host requires."""

    def __init__(self, config: HostConfig, destination: Destination):
        super().__init__(ssh_config=paramiko.SSHConfig())
        self._config = config
        self._respond = _password_function(destination)
        self._tried: list[str] = []
        self._allowed: set[str] = set()

    def authenticate(self, transport: paramiko.Transport) -> AuthResult:
        """Raises `AuthenticationFailed`."""
        success = AuthResult(strategy=self)
        if self._try(transport, "none", lambda: transport.auth_none(self._config.username)):
            return success
        agent = paramiko.Agent()
        try:
            for name, key in self._keys(agent.get_keys()):
                if "publickey" not in self._allowed:
                    break
                if self._try(transport, name, functools.partial(transport.auth_publickey, self._config.username, key)):
                    return success
        finally:
            agent.close()
        if self._respond and self._try_password(transport):
            return success
        raise AuthenticationFailed(
            f"Permission denied ({','.join(sorted(self._allowed)) or 'no method is left'}); "
            f"tried: {', '.join(self._tried[1:]) or 'nothing, as there is no key and no password'}"
        )

    def get_sources(self) -> Iterator[AuthSource]:
        """Unused: the next method depends on the host's response to the last."""
        return iter(())

    def _try_password(self, transport: paramiko.Transport) -> bool:
        user = self._config.username

        def respond(title: str, instructions: str, prompts: Sequence[tuple[str, bool]]) -> list[str]:
            return [self._response(prompt.strip() or title or instructions) for prompt, _ in prompts]

        # as in ssh(1), first the method that allows more than one prompt
        methods: dict[str, Callable[[], list[str]]] = {
            "keyboard-interactive": lambda: transport.auth_interactive(user, respond),
            "password": lambda: transport.auth_password(user, self._response(f"password of {user}"), fallback=False),
        }
        return any(
            method in self._allowed and self._try(transport, method, attempt) for method, attempt in methods.items()
        )

    def _response(self, prompt: str) -> str:
        assert self._respond
        try:
            return self._respond(prompt)
        except Exception as error:  # noqa: BLE001  # the user's function, called in a thread of paramiko
            self._tried.append(f"the password function ({error!r})")
            return ""

    def _try(self, transport: paramiko.Transport, name: str, attempt: Callable[[], list[str]]) -> bool:
        self._tried.append(name)
        try:
            # the methods still required after a successful factor
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

    def _keys(self, agent_keys: Sequence[paramiko.AgentKey]) -> Iterator[tuple[str, paramiko.PKey]]:
        """Configured keys first; an encrypted one is used from the agent, which has been given the passphrase."""
        by_text = {key.get_base64(): key for key in agent_keys}
        used = set()
        for path in self._config.identities:
            public = _public_key(path)
            used.add(public)
            if public in by_text:
                yield from self._with_certificates(path, f"{path} (agent)", by_text[public])
            elif key := self._load_key(path):
                yield from self._with_certificates(path, path, key)
        if not self._config.identities_only:
            for text, key in by_text.items():
                if text not in used:
                    yield f"{key.comment or key.get_name()} (agent)", key

    def _with_certificates(self, path: str, name: str, key: paramiko.PKey) -> Iterator[tuple[str, paramiko.PKey]]:
        """The key with each of its certificates, then alone."""
        for certificate in (f"{path}-cert.pub", *self._config.certificates):
            if reason := expired(certificate):
                self._tried.append(f"{certificate} ({reason})")
            elif certified := _certified(key, certificate):
                yield certificate, certified
        yield name, key

    def _load_key(self, path: str) -> paramiko.PKey | None:
        if not os.path.exists(path):
            return None
        try:
            return paramiko.PKey.from_path(path)
        except (paramiko.SSHException, UnknownKeyType, OSError, ValueError, TypeError) as error:
            # cryptography raises TypeError for a key that needs a passphrase
            encrypted = isinstance(error, (TypeError, paramiko.PasswordRequiredException))
            reason = "encrypted, and not in the agent: ssh-add it" if encrypted else str(error)
            self._tried.append(f"{path} ({reason})")
            return None


def _certified(key: paramiko.PKey, certificate: str) -> paramiko.PKey | None:
    """A copy of the key with a certificate; None if there is none, or it is of another key."""
    if not os.path.exists(certificate):
        return None
    certified = copy.copy(key)
    try:
        certified.load_certificate(certificate)
    except (paramiko.SSHException, OSError, ValueError):
        return None
    return certified


def _public_key(path: str) -> str:
    try:
        with open(f"{path}.pub", encoding="utf-8") as file:
            return file.read().split()[1]
    except (OSError, IndexError, UnicodeDecodeError):
        return ""


def _password_function(destination: Destination) -> Callable[[str], str] | None:
    """The user's function, or one that returns SSHPASS for every prompt, as sshpass -e does."""
    if destination.password:
        return destination.password
    if destination.sshpass and "SSHPASS" in os.environ:
        return lambda _: os.environ["SSHPASS"]
    return None
