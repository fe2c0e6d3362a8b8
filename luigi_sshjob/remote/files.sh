# shellcheck shell=sh disable=SC2154
# The verbs of RemoteFileSystem. `refuse` words that the other side knows stand alone.

# fs_exists PATH: fails with 1 where there is nothing, with 2 where that cannot be known.
fs_exists() { [ -e "$1" ] || fs_absent "$1"; }

fs_isdir() { [ -d "$1" ] || fs_absent "$1"; }

fs_isexecutable() { [ -x "$1" ]; }

# fs_absent PATH: below a directory that may not be searched everything looks as if it were not there.
fs_absent() {
  above=$1
  while :; do
    case $above in */*) above=${above%/*} ;; *) return 1 ;; esac
    [ -n "$above" ] || return 1
    [ ! -d "$above" ] || break
  done
  [ ! -x "$above" ] || return 1
  emit "the directory $above may not be searched"
  return 2
}

# fs_exists_many PATH...: a part for each, yes or no.
fs_exists_many() {
  path_index=0
  for path; do
    if [ -e "$path" ]; then part exists "$path_index" yes; else part exists "$path_index" no; fi
    path_index=$((path_index + 1))
  done
}

fs_remove() { rm -r -- "$1"; }

fs_remove_file() {
  [ ! -d "$1" ] || [ -h "$1" ] || refuse "a directory" || return
  rm -- "$1"
}

# fs_mkdir PATH PARENTS RAISE_IF_EXISTS
fs_mkdir() {
  if [ -d "$1" ]; then
    [ "$3" != yes ] || refuse exists
  elif [ -e "$1" ]; then
    [ "$3" != yes ] || refuse exists || return
    refuse not-a-directory
  elif [ "$2" = yes ]; then
    mkdir -p -- "$1"
  elif [ ! -d "$(dirname -- "$1")" ]; then
    refuse no-parent
  else
    mkdir -- "$1"
  fi
}

# fs_listdir PATH: the files below it, each ended by a NUL, the only byte no name has.
fs_listdir() {
  part files 0
  find -L "$1" -type f -exec printf '%s\0' {} +
}

# fs_move SOURCE TARGET: replaces a file, refuses to put something into a directory that is in the way.
fs_move() {
  [ ! -d "$2" ] || refuse exists || return
  mv -f -- "$1" "$2"
}

# fs_rename_new SOURCE TARGET: only where there is nothing yet.
fs_rename_new() {
  [ ! -e "$2" ] || refuse exists || return
  mv -f -- "$1" "$2"
}

# fs_commit TEMPORARY TARGET BYTES: a written file goes into its place if every byte of it has arrived. May be
# called again: what is in its place already is right there.
fs_commit() {
  if [ ! -e "$1" ] && [ -f "$2" ]; then same_size "$2" "$3" && return; fi
  same_size "$1" "$3" || refuse "short: $arrived of $3 bytes arrived" || return
  fs_move "$1" "$2"
}

# same_size FILE BYTES: compared as text, without the blanks wc may pad with: numbers end at 2 GiB in mksh.
same_size() {
  arrived=$(wc -c <"$1") || return
  arrived=${arrived##* }
  [ "$arrived" = "$2" ]
}

fs_discard() { rm -f -- "$1"; }
