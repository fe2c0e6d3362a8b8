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

# boot_time: sets $boot_time, when this machine was started, in seconds of 1970, so that `now` needs no process; to
# nothing where there is no /proc/uptime.
boot_time() {
  boot_time=
  [ -r /proc/uptime ] && read -r uptime _ </proc/uptime && boot_time=$(date +%s) && boot_time=$((boot_time - ${uptime%%.*}))
}

# now: sets $now to the time of this host in UTC, for people; never compared with that of another.
now() {
  if [ -n "$boot_time" ] && read -r uptime _ </proc/uptime; then
    utc $((boot_time + ${uptime%%.*}))
  else
    now=$(date -u +%Y-%m-%dT%H:%M:%SZ)
  fi
}

# utc SECONDS: sets $now to such a time of the years after 2000. Days are counted in years that begin in March, as the
# leap day is their last then.
utc() {
  days=$(($1 / 86400 - 11017)) # since 2000-03-01
  cycles=$((days / 1461))
  days=$((days - cycles * 1461))
  year=$((days / 365))
  [ "$year" -lt 4 ] || year=3
  days=$((days - year * 365))
  month=$(((days * 5 + 2) / 153))
  day=$((days - (month * 153 + 2) / 5 + 1))
  year=$((2000 + cycles * 4 + year))
  month=$((month + 3))
  [ "$month" -le 12 ] || { month=$((month - 12)) && year=$((year + 1)); }
  now=$year
  for two_digits in "-$month" "-$day" "T$(($1 % 86400 / 3600))" ":$(($1 % 3600 / 60))" ":$(($1 % 60))"; do
    case $two_digits in ?) ;; ??) two_digits=${two_digits%?}0${two_digits#?} ;; esac
    now=$now$two_digits
  done
  now=${now}Z
}

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
