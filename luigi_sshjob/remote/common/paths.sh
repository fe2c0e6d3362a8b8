# shellcheck shell=sh disable=SC2034,SC2154

# is_absent PATH: whether nothing exists there. Below a directory without search permission everything looks absent;
# then fails, and sets $unsearchable to that directory.
is_absent() {
  unsearchable='' above=$1
  [ ! -e "$1" ] || return
  while :; do
    case $above in */*) above=${above%/*} ;; *) return 0 ;; esac
    [ -n "$above" ] || return 0
    [ ! -d "$above" ] || break
  done
  [ -x "$above" ] || { unsearchable=$above && return 1; }
}

# private_directory PATH: creates a directory that no other account can write to, whatever the umask and the default ACL
# there; fails if anything exists at the path, also a link.
private_directory() {
  (umask 077 && mkdir -m 700 -- "$1") || return
  # some mkdir -m clear the setgid bit, which passes the group on to the files in it
  [ ! -g "${1%/*}" ] || chmod g+s -- "$1" 2>/dev/null || true
}

# remove_private PATH: removes a directory of private_directory with its content; leaves links and other accounts' alone.
remove_private() {
  [ -d "$1" ] && [ ! -h "$1" ] && [ -O "$1" ] || return 0
  remove_tree "$1"
}

# remove_tree PATH: as rm -rf, also if a job has made directories in it read-only.
remove_tree() {
  rm -rf -- "$1" 2>/dev/null && return
  find "$1" -type d -exec chmod u+rwx -- {} \; 2>/dev/null
  rm -rf -- "$1"
}

# rename_over SOURCE TARGET: replaces a file, or a link itself, also one that leads to a directory; refuses an existing
# directory, because mv would move the source into it. Sets $why if it fails.
rename_over() {
  locked=
  # only who can write to a directory can move it to another one
  if [ -d "$1" ] && [ ! -h "$1" ] && [ ! -w "$1" ]; then locked=yes && chmod u+w -- "$1"; fi
  why=$(LC_ALL=C mv -fT -- "$1" "$2" 2>&1) || {
    case $why in
      *'llegal option'* | *'nvalid option'* | *'nrecognized option'*) ;;
      *) false ;;
    esac && { [ ! -h "$2" ] || rm -f -- "$2"; } &&
      { [ ! -d "$2" ] || { why='a directory is there' && false; }; } && why=$(mv -f -- "$1" "$2" 2>&1)
  } || {
    why=${why##*: }
    [ -z "$locked" ] || chmod u-w -- "$1"
    if [ -k "${2%/*}" ] && [ ! -O "$2" ] && { [ -e "$2" ] || [ -h "$2" ]; }; then
      why="another account owns it, and only the owner may replace it in a directory with the sticky bit"
    fi
    return 1
  }
  [ -z "$locked" ] || chmod u-w -- "$2"
}

# extract PRESERVE: extracts the archive on standard input to the current directory; with PRESERVE also modes and times.
# Owners are never restored.
extract() {
  if [ -n "$1" ]; then
    tar -xpof -
  elif [ -O / ]; then
    # the tar of root restores modes by default
    tar -xmof - --no-same-permissions
  else
    tar -xmof -
  fi
}

# remove_unfinished PRIVATE FINAL: removes the private directory of an output that was not finished. First puts back an
# old output directory that was moved there to be replaced; fails if it cannot, as this is the only copy then.
remove_unfinished() {
  if [ ! -e "$2" ] && [ ! -h "$2" ] && [ -O "$1" ] && [ -e "$1/.sshjob-replaced" ]; then
    rename_over "$1/.sshjob-replaced" "$2" || return
  fi
  remove_private "$1"
}

# list_state PATH: prints a line for the file, or for each below the directory: the time of its last change in seconds since
# 1970, then what differs when it was written or replaced. Without a stat(1) fails, and prints times in minutes.
list_state() (
  if ! find_stat; then
    { if [ -d "$1" ]; then ls -lniRA -- "$1/."; else ls -lniL -- "$1"; fi; } 2>/dev/null
    return 1
  fi
  # the time of the change (ctime) cannot be set by a program
  case $flag in -c) format='%Z %i %s %y %z %n' ;; *) format='%c %i %z %Fm %Fc %N' ;; esac
  if [ -d "$1" ]; then
    find "$1/." -exec stat "$flag" "$format" -- {} +
  else
    stat -L "$flag" "$format" -- "$1"
  fi 2>/dev/null
)

# fingerprint PATH: prints a text that differs when the file, or a file below the directory, was written or replaced.
fingerprint() { list_state "$1" | checksum_of_input; }

# some busybox have no cksum, and the BSDs no sha256sum
checksum_of_input() { sha256sum 2>/dev/null || cksum; }
