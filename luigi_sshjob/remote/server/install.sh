# shellcheck shell=sh disable=SC2034,SC2154
# Installs the supervisor.

# install_supervisor BASE HASH [NAME TEXT]...: installs the supervisor's files at BASE/lib/HASH, all or none.
install_supervisor() { privately install_files "$@"; }

install_files() {
  base=$1 hash=$2
  shift 2
  own_directory "$base" && own_directory "$base/lib" || return 1
  library=$base/lib/$hash stage=$base/lib/.stage.$SJ_SELF
  # several tasks found them missing at the same time
  ! has_scripts "$library" || return 0
  write_scripts "$@" && move_scripts
  rm -rf "$stage"
  has_scripts "$library" && return
  unwritable "$base/lib"
  refuse scripts-not-installed "cannot install the scripts of luigi_sshjob: $library${why:+: $why}"
}

# write_scripts [NAME TEXT]...: writes them to the stage.
write_scripts() {
  mkdir -p "$stage/$hash" || return
  while [ $# -ge 2 ]; do
    emit "$2" >"$stage/$hash/$1" || return
    shift 2
  done
  find_timer "$stage/usage"
  emit "$timer" >"$stage/$hash/timer"
}

# move_scripts: from the stage. If there is a damaged directory, or another client was faster, the files replace those one
# by one, so that none is missing at any moment: a supervisor may be starting.
move_scripts() {
  mv "$stage/$hash" "$base/lib/" 2>/dev/null && return
  for script in "$stage/$hash"/*; do
    installed=$library/${script##*/}
    if [ -h "$installed" ] || [ -d "$installed" ]; then rm -rf "$installed"; fi
  done
  mv -f "$stage/$hash"/* "$library/"
}

# find_timer FILE: sets $timer to a time(1) that reports peak memory and signals (GNU, busybox), or to nothing. It
# writes to FILE.
find_timer() {
  for timer in /usr/bin/time /bin/time; do
    [ -x "$timer" ] && "$timer" -f %M -o "$1" true 2>/dev/null && [ -s "$1" ] && return
  done
  timer=
}

# own_directory PATH: creates it if it does not exist; refuses one of another account.
own_directory() {
  # with a mode, because a default ACL of the parent has precedence over the umask
  # shellcheck disable=SC2174  # its parents get the umask
  [ -d "$1" ] || mkdir -p -m 700 "$1" || return 1
  is_own "$1" || refuse "$danger_code" "$danger"
}
