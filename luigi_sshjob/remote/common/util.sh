# shellcheck shell=sh disable=SC2034
# Helpers of the supervisor and of the server.

newline='
'

# emit TEXT: prints one line with a builtin, which needs no process and appears in no process listing.
if [ -n "${KSH_VERSION-}${SH_VERSION-}" ]; then
  # printf is not a builtin in mksh and in the shells of the BSDs
  emit() { print -r -- "$1"; }
else
  emit() { printf '%s\n' "$1"; }
fi

# boot_time: sets $boot_time to the time in seconds since 1970 at which this machine booted, so that `now` needs no
# process; to nothing if it is unknown.
boot_time() {
  if [ -r /proc/uptime ]; then
    read -r uptime _ </proc/uptime && boot_time=$(date +%s) && boot_time=$((boot_time - ${uptime%%.*}))
  else
    # "{ sec = 1700000000, usec = 0 } …"
    boot_time=$(sysctl -n kern.boottime 2>/dev/null)
    boot_time=${boot_time#*sec = } boot_time=${boot_time%%,*}
  fi
}

# seconds_up: sets $seconds, for comparisons only.
seconds_up() {
  if [ -r /proc/uptime ]; then
    read -r uptime _ </proc/uptime
    seconds=${uptime%%.*}
  else
    seconds=$(date +%s)
  fi
}

# now: sets $now to the time of this host in UTC, for people; it is never compared with that of another host.
now() {
  if [ -r /proc/uptime ] && [ -n "$boot_time" ] && read -r uptime _ </proc/uptime; then
    utc $((boot_time + ${uptime%%.*}))
  else
    now=$(date -u +%Y-%m-%dT%H:%M:%SZ)
  fi
}

# utc SECONDS: sets $now to that time after 1970. Years are counted from March, because the leap day is then their last.
utc() {
  days=$(($1 / 86400 - 11017)) # since 2000-03-01
  cycles=$((days / 1461))
  days=$((days - cycles * 1461))
  year=$((days / 365))
  [ "$year" -lt 4 ] || year=3
  days=$((days - year * 365))
  month=$(((days * 5 + 2) / 153))
  # 100 is added to each number for its leading zero
  day=$((days - (month * 153 + 2) / 5 + 101))
  year=$((2000 + cycles * 4 + year))
  month=$((month + 103))
  [ "$month" -le 112 ] || { month=$((month - 12)) && year=$((year + 1)); }
  hour=$(($1 % 86400 / 3600 + 100)) minute=$(($1 % 3600 / 60 + 100)) second=$(($1 % 60 + 100))
  now=$year-${month#1}-${day#1}T${hour#1}:${minute#1}:${second#1}Z
}

# pause: sleeps for a tenth of a second, or for a second if sleep(1) takes no fractions.
pause() { sleep 0.1 2>/dev/null || sleep 1; }

# find_stat: sets $flag and $format for a stat(1) that prints time and name, GNU's and busybox's or that of the BSDs.
find_stat() {
  if stat -c %Y . >/dev/null 2>&1; then
    flag=-c format='%Y %n'
  else
    flag=-f format='%m %N'
    stat "$flag" "$format" . >/dev/null 2>&1
  fi
}

# end_with_child: has TERM end this child shell, and the last process that it has started by then. Another command has to
# follow each `wait`, because mksh runs the trap before the next command only.
end_with_child() {
  # $! is still a child of the shell that has started this one
  earlier_child=$!
  # KILL reaches a child also while it is being started
  trap '[ "$!" = "$earlier_child" ] || kill -s KILL "$!" 2>/dev/null; exit 0' TERM
}

# has_attempt DIR: whether it has one of the files of an attempt; the others may have been deleted while it runs.
has_attempt() {
  for file in "$SJ_SPEC" "$SJ_STARTED" "$SJ_IDENTITY" "$SJ_RECORD"; do
    [ ! -e "$1/$file" ] || return 0
  done
  return 1
}

# has_entries DIR: whether there is anything in it.
has_entries() {
  for entry in "$1"/* "$1"/.[!.]*; do
    [ ! -e "$entry" ] && [ ! -h "$entry" ] || return 0
  done
  return 1
}

# unwritable DIR: sets $why to the reason why no file can be written there; fails if one can. With cat, because the
# printf of shells reports each reason as "I/O error".
unwritable() {
  probe=$1/.probe.$$
  # no link of another account is followed
  why=$({ set -C && emit probe | cat >"$probe"; } 2>&1)
  rm -f "$probe" 2>/dev/null
  why=${why##*: }
  [ -n "$why" ]
}
