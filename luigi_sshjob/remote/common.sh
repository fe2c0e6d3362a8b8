# shellcheck shell=sh disable=SC2034
# What both the supervisor and the agent use.

newline='
'

# emit TEXT: one line on standard output, by a builtin: no process, and nothing in a process listing.
if [ -n "${KSH_VERSION-}${SH_VERSION-}" ]; then
  # printf is no builtin in mksh and in the shells of the BSDs
  emit() { print -r -- "$1"; }
else
  emit() { printf '%s\n' "$1"; }
fi

# now: the time of this host, for people; never compared with that of another.
now() { date -u +%Y-%m-%dT%H:%M:%SZ; }

# pause: a moment, a tenth of a second where sleep can.
pause() { sleep 0.1 2>/dev/null || sleep 1; }

# unwritable DIR: sets $why to the reason why nothing can be written there; fails where it can. By cat, as shells' own
# printf calls every reason "I/O error".
unwritable() {
  probe=$1/.probe.$$
  why=$({ emit probe | cat >"$probe"; } 2>&1)
  rm -f "$probe" 2>/dev/null
  why=${why##*: }
  [ -n "$why" ]
}
