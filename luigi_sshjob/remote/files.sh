# shellcheck shell=sh disable=SC2154
# The verbs of RemoteFileSystem. `refuse` words that the other side knows begin with the word alone.

fs_exists() { [ -e "$1" ]; }

fs_isdir() { [ -d "$1" ]; }

# fs_exists_many PATH...: a line for each, yes or no.
fs_exists_many() {
  for path; do
    if [ -e "$path" ]; then emit yes; else emit no; fi
  done
}

fs_remove() { rm -r -- "$1"; }

fs_remove_file() { rm -- "$1"; }

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
fs_listdir() { find -L "$1" -type f -exec printf '%s\0' {} +; }

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

# fs_commit TEMPORARY TARGET BYTES: a written file goes into its place if every byte of it has arrived.
fs_commit() {
  arrived=$(wc -c <"$1") || return
  # as text, without the blanks that wc may pad with: numbers end at 2 GiB in mksh
  [ "${arrived##* }" = "$3" ] || refuse "short: $arrived of $3 bytes arrived" || return
  fs_move "$1" "$2"
}

fs_discard() { rm -f -- "$1"; }
