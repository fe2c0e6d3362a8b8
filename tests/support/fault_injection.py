"""Interrupts the remote shell at one of its steps, with shims in front of the programs that it starts."""

from __future__ import annotations

from support import processes

PROGRAMS = ("mkdir", "mv", "rm", "setsid")

# Only programs that the remote shell starts count, not those of a supervisor.
SHIM = r"""#!/bin/sh
program=/usr/bin/${0##*/}
[ -x "$program" ] || program=/bin/${0##*/}
shim=${0%/*}
read -r at <"$shim/at" || exec "$program" "$@"
parent=$(tr '\0' ' ' <"/proc/$PPID/cmdline")
[ "$parent" = "/bin/sh -s " ] || exec "$program" "$@"
echo x >>"$shim/steps"
[ "$(wc -l <"$shim/steps")" -eq "${at%% *}" ] || exec "$program" "$@"
case $at in
  *" before") touch "$shim/here" && kill -9 "$PPID" && exit 1 ;;
  *" after")
    case $program in *setsid) "$program" "$@" & ;; *) "$program" "$@" ;; esac
    touch "$shim/here" && kill -9 "$PPID" && exit 1 ;;
  *" hold") touch "$shim/here"; while [ -e "$shim/here" ]; do sleep 0.02; done; exec "$program" "$@" ;;
esac
"""


class Shim:
    """Shims in the PATH of the account, set in .bashrc, which the sessions of sshd read."""

    def __init__(self, host):
        self.host = host
        self.folder = f"{host.home}/shim"
        host.run("mkdir", self.folder)
        host.run("sh", "-c", f"mv .bashrc {self.folder}/bashrc && echo 'PATH={self.folder}:$PATH' >.bashrc")
        for program in PROGRAMS:
            host.run("sh", "-c", f"cat >{self.folder}/{program} && chmod 755 {self.folder}/{program}", input=SHIM)
        self.disarm()

    def arm(self, step: int, how: str) -> None:
        """At program number `step`, kill the remote shell `before` or `after` it, or `hold` it there."""
        self.host.run("sh", "-c", f"cd {self.folder} && rm -f here steps && echo '{step} {how}' >at && : >steps")

    def reached(self) -> bool:
        """Whether the shell was killed or is held."""
        return bool(self.host.run("sh", "-c", f"ls {self.folder}/here 2>/dev/null || true"))

    def idle(self) -> bool:
        """Whether no shim is running."""
        return not any(self.folder in args for _, args in self.host.processes())

    def disarm(self) -> None:
        """Interrupt nothing more, and continue a held shell."""
        self.host.run("sh", "-c", f"cd {self.folder} && : >at && rm -f here")

    def remove(self) -> None:
        """Restore the account."""
        self.disarm()
        processes.wait_until(self.idle, "the end of the shims")
        self.host.run("sh", "-c", f"mv {self.folder}/bashrc .bashrc && rm -r {self.folder}")
