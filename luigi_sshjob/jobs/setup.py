"""The setup of a job: what its shell does before it becomes the command."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable, Mapping
from typing import Any

from luigi_sshjob.errors import ConfigurationError
from luigi_sshjob.remote import quoting

# also gcc@13, hdf5~mpi or a path; nothing that a shell expands, or that a module command takes for an option
_MODULE = re.compile(r"[A-Za-z0-9_./+@][A-Za-z0-9_./~+@:=,<>%^-]*")


@dataclasses.dataclass(frozen=True)
class Setup:
    """Lines of a shell, the environment modules that are loaded before them, and whether it is a login shell."""

    lines: str = dataclasses.field(default="", repr=False)
    modules: tuple[str, ...] = ()
    login_shell: bool = False

    def __bool__(self) -> bool:
        """Whether there is anything to do."""
        return bool(self.lines.strip() or self.modules or self.login_shell)

    @classmethod
    def checked(cls, lines: Any, modules: Any, login_shell: bool) -> Setup:
        """Raises `ConfigurationError`, which does not show the lines: they may contain secrets."""
        if not isinstance(lines, str):
            raise ConfigurationError(
                f"setup must be a str, not {type(lines).__name__}",
                next_step="use lines of a shell; a task whose own attribute or method has this name must rename it",
            )
        if "\0" in lines or "\r" in lines:
            raise ConfigurationError(
                "the setup contains a NUL byte or a carriage return",
                next_step="remove it: the shell would take it for a part of a word",
            )
        return cls(lines, tuple(_module_names(modules)), login_shell)

    @classmethod
    def parse(cls, lines: str, spec: Mapping[str, str]) -> Setup:
        """That of an attempt: the file `setup`, and values of its spec."""
        return cls(lines, tuple(spec.get("setup_modules", "").split()), spec.get("setup_shell") == "login")

    def spec_lines(self) -> list[str]:
        """The lines of the file `spec`; none without a setup, as in a spec of an earlier version."""
        if not self:
            return []
        kind = "login" if self.login_shell else "plain"
        return [f"setup_shell={kind}", f"setup_modules={quoting.quote(' '.join(self.modules))}"]


def _module_names(modules: Any) -> Iterable[str]:
    """Of a text as in the configuration, or of a sequence."""
    names = re.split(r"[\s,]+", modules.strip(" \t\n,")) if isinstance(modules, str) else modules
    if isinstance(names, Iterable) and not isinstance(names, (bytes, bytearray)):
        names = [name for name in names if name != ""]
        if all(isinstance(name, str) and _MODULE.fullmatch(name) for name in names):
            return names
    raise ConfigurationError(
        f"modules must be names of environment modules: {modules!r}",
        next_step="use a text such as 'gcc/13 openmpi', or a list of str; load others in `setup`",
    )
