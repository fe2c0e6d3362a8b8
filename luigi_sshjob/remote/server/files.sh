# shellcheck shell=sh disable=SC2154
# The verbs of RemoteFileSystem.

# fs_exists PATH: fails with 1 where nothing exists, with 2 where that cannot be determined.
fs_exists() { [ -e "$1" ] || absent_status "$1"; }

fs_isdir() { [ -d "$1" ] || absent_status "$1"; }

absent_status() {
  is_absent "$1"
  [ -n "$unsearchable" ] || return 1
  refuse directory-not-searchable "no permission to search the directory $unsearchable"
  return 2
}

# fs_exists_many PATH...: a part for each: yes, no, unknown, or stuck if its file system does not respond, see limited.sh.
fs_exists_many() {
  path_index=0
  for path; do
    path_exists=yes unsearchable=
    if is_stuck "$path"; then
      path_exists=stuck
    elif is_absent "$path"; then
      path_exists=no
    fi
    [ -z "$unsearchable" ] || path_exists=unknown
    part exists "$path_index" "$path_exists"
    path_index=$((path_index + 1))
  done
}

# fs_missing PATH...: a part for each that does not exist.
fs_missing() {
  path_index=0
  for path; do
    [ -e "$path" ] || { refresh_directory "${path%/*}" && [ -e "$path" ]; } || part missing "$path_index"
    path_index=$((path_index + 1))
  done
}

# fs_reach PATH...: looks at each; before a request without a time limit.
fs_reach() {
  for path; do [ -e "$path" ]; done
  return 0
}

# fs_stat PATH: size in bytes, modification time in seconds since 1970, mode, allocated blocks of 512 bytes, then device
# and inode and the exact modification time, to notice a change. "-" is unknown. With GNU's and busybox's stat, or that
# of the BSDs.
fs_stat() {
  [ -e "$1" ] || refuse no-such-file "no such file on the host: $1" || return
  { stat -Lc '%s %Y %a %b %d.%i %z' "$1" || stat -Lf '%z %m %Lp %b %d.%i %Fm' "$1"; } 2>/dev/null && return
  listed=$(ls -lidnL "$1") || return
  # inode, mode, links, user, group, size and a date (POSIX)
  # shellcheck disable=SC2086
  set -f && set -- $listed && set +f
  emit "$6 - - - $1 $7 $8 $9"
}

# fs_version PATH: prints "directory", or the version of a file, see print_version.
fs_version() {
  [ -e "$1" ] || refuse no-such-file "no such file on the host: $1" || return
  if [ -d "$1" ]; then emit directory; else print_version "$1"; fi
}

# fs_tree_version DIRECTORY: prints the version of the files in it; that may take long.
fs_tree_version() { print_version "$1"; }

# print_version PATH: prints "settled" or "recent", then a text that differs when the file or directory has changed. If it
# is recent, a change that follows may not be seen in that text: times have a granularity of up to 2 seconds, and the
# kernel's are some milliseconds late.
print_version() {
  version_at=$(date +%s)
  version_state=$(list_state "$1") || version_at=0
  # in awk, because numbers end at 2 GiB in mksh
  emit "$version_state" | awk -v now="$version_at" '$1 + 3 > now { recent = 1 } END { print recent ? "recent" : "settled" }'
  if [ -d "$1" ]; then emit "$version_state" | checksum_of_input; else emit "$version_state"; fi
}

# fs_sha256 FILE: prints 64 digits, then other text.
fs_sha256() {
  sha256_of "$1" ||
    refuse no-checksum-program "the host has no sha256sum, shasum or openssl that can read the file: $1"
}

# openssl first: it is several times faster than the sha256sum of many systems
sha256_of() {
  { openssl dgst -sha256 -r <"$1" || sha256sum <"$1" || shasum -a 256 <"$1" || sha256 <"$1"; } 2>/dev/null
}

# fs_digest FILE: prints "sha256" and 64 digits; on a host without a program for that "cksum", a CRC and the size (POSIX).
fs_digest() {
  file_digest=$(sha256_of "$1") && emit "sha256 ${file_digest%%[!0-9a-f]*}" && return
  file_digest=$(cksum <"$1") && emit "cksum $file_digest"
}

# fs_glob PATTERN: a part for each path that matches.
fs_glob() {
  pattern=$1 separators=$IFS
  IFS=
  # shellcheck disable=SC2086
  set -- $pattern
  IFS=$separators
  for found; do
    [ -e "$found" ] || [ -h "$found" ] || continue
    part path 0
    emit "$found"
  done
}

fs_remove() { rm -r -- "$1"; }

fs_remove_file() {
  [ ! -d "$1" ] || [ -h "$1" ] || refuse is-a-directory "the path is a directory: $1" || return
  rm -- "$1"
}

# fs_mkdir PATH PARENTS RAISE_IF_EXISTS
fs_mkdir() {
  if [ -e "$1" ] && [ "$3" = yes ]; then
    refuse exists "the path already exists: $1"
  elif [ -d "$1" ]; then
    return 0
  elif [ -e "$1" ]; then
    refuse not-a-directory "the path exists and is not a directory: $1"
  elif [ "$2" = yes ]; then
    mkdir -p -- "$1"
  elif [ ! -d "$(dirname -- "$1")" ]; then
    refuse no-parent "the parent directory does not exist: $1"
  else
    mkdir -- "$1"
  fi
}

# fs_listdir PATH: the files below it, each terminated by a NUL, the only byte that a path cannot contain.
fs_listdir() {
  part files 0
  # what find says must not be taken for a path
  { words=$(find -L "$1" -type f -exec printf '%s\0' {} + 2>&1 >&3); } 3>&1 ||
    refuse not-listed "the directory cannot be listed completely: $words"
}

# fs_prepare DIRECTORY: creates it, and removes old temporary files from it.
fs_prepare() { fs_mkdir "$1" yes no && sweep_directory "$1"; }

# sweep_directory DIRECTORY: removes temporary files whose writer died at least a day ago; a writer that has lost its
# connection continues on a new one.
sweep_directory() {
  for leftover in "$1"/.sshjob-tmp.*.*.*; do
    if [ ! -O "$leftover" ] || [ -h "$leftover" ]; then continue; fi
    # a writer that has reconnected has another name, and writes to the file in the directory
    holder_lives "${leftover##*/.sshjob-tmp.}" ||
      [ -n "$(find "$leftover/content" -prune ! -mtime +0 2>/dev/null)" ] || remove_old "$leftover"
  done
  return 0
}

# fs_copy SOURCE TARGET TOKEN: the copy appears whole or not at all; it replaces a file.
fs_copy() {
  [ ! -d "$2" ] || refuse exists "the path already exists: $2" || return
  case $2 in */*) copy=${2%/*} ;; *) copy=. ;; esac
  copy=$copy/.sshjob-tmp.$SJ_SELF.$3
  private_directory "$copy" || return
  cp -R -H -- "$1" "$copy/content" && put_in_place "$copy/content" "$2" && return
  remove_private "$copy"
  return 1
}

# put_in_place TEMPORARY TARGET: renames it, and removes the private directory that contained it.
put_in_place() {
  [ ! -d "$2" ] || refuse exists "the path already exists: $2" || return
  rename_over "$1" "$2" || refuse not-replaced "the file cannot be put in place: $2: $why" || return
  rmdir -- "${1%/*}" 2>/dev/null || true
}

# fs_move SOURCE TARGET: replaces a file; refuses an existing directory, because mv would move the source into it.
fs_move() {
  [ ! -d "$2" ] || refuse exists "the path already exists: $2" || return
  mv -f -- "$1" "$2"
}

# fs_rename_new SOURCE TARGET: refuses an existing path.
fs_rename_new() {
  [ ! -e "$2" ] || refuse exists "the path already exists: $2" || return
  mv -f -- "$1" "$2"
}

# fs_commit TEMPORARY TARGET BYTES [MODE [TIME]]: renames a written file if all its bytes have arrived, and sets its
# mode and time, see chmod and touch -t (in UTC). Idempotent: the file may have been renamed before. BYTES is empty if
# the size is unknown; then it is not idempotent.
fs_commit() {
  if [ -e "$1" ] || [ ! -f "$2" ] || [ -z "$3" ]; then
    [ -z "$3" ] || assert_size "$1" "$3" || return
    [ -z "${4-}" ] || [ -h "$1" ] || chmod -- "$4" "$1" || return
    # before the rename, after which it may be another file
    [ -z "${5-}" ] || TZ=UTC0 touch -t "$5" "$1" || return
    put_in_place "$1" "$2"
  else
    assert_size "$2" "$3"
  fi
}

# fs_stretch FILE BYTES: extends the file to that size, with a hole at its end.
fs_stretch() { dd if=/dev/null of="$1" bs=1 seek="$2" 2>&1; }

# assert_size FILE BYTES: compares text, because numbers end at 2 GiB in mksh.
assert_size() {
  arrived=$(size_of "$1")
  [ "$arrived" = "$2" ] || refuse incomplete-file "the file on the host is incomplete: $arrived of $2 bytes arrived"
}

# size_of FILE: prints its size in bytes. Counts them only if there is no stat, because busybox's wc reads the whole
# file.
size_of() {
  { stat -Lc %s "$1" || stat -Lf %z "$1"; } 2>/dev/null && return
  counted=$(wc -c <"$1") || return
  # wc may pad with blanks
  emit "${counted##* }"
}

# fs_discard TEMPORARY: removes it with the private directory that contains it.
fs_discard() {
  case ${1%/*} in */.sshjob-tmp.* | .sshjob-tmp.*) remove_private "${1%/*}" ;; esac
}
