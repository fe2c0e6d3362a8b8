# shellcheck shell=sh disable=SC2034,SC2154
# The cache of inputs below the base directory. An entry is a directory named after the digest of its content, which all
# jobs share; ".x" marks a program, ".d" a directory, whose digest is that of its archive. It appears whole, by a rename:
#   content   the file, or the directory with its files, read-only
#   verified  made after the content was compared with its digest; attempts have links to that of a directory
#   used      written to whenever a job gets the content

# is_cached BASE ENTRY: whether it is there, and was not written to since it was verified.
is_cached() {
  cached=$1/cache/$2
  # shellcheck disable=SC3013  # -nt is in dash, bash, busybox, mksh and in POSIX since 2024
  [ -e "$cached/content" ] && [ -e "$cached/verified" ] && [ -O "$1/cache" ] && [ ! -h "$1/cache" ] &&
    [ ! "$cached/content" -nt "$cached/verified" ] && is_unwritten
}

# is_unwritten: the same for the files in a directory. Once a minute, see assert_safe, because it takes a process;
# supervisors look again.
is_unwritten() {
  case $cached in *.d) ;; *) return 0 ;; esac
  case $SJ_UNWRITTEN in *"$newline$cached$newline"*) return 0 ;; esac
  [ -z "$(find "$cached/content" -newer "$cached/verified" 2>&1 | head -n 1)" ] || return
  SJ_UNWRITTEN=$SJ_UNWRITTEN$cached$newline
}

# lacks_inputs DIGESTS SPEC COMMAND ENVIRONMENT SETUP [ENTRY NAME]...: whether the cache in $base lacks one of the entries;
# responds with a part for each that it lacks.
lacks_inputs() {
  shift 5
  lacks=
  while [ $# -ge 2 ]; do
    is_cached "$base" "$1" || {
      lacks=yes
      part lacking 0 "$1"
    }
    shift 2
  done
  [ -n "$lacks" ]
}

# link_inputs DIR DIGESTS SPEC COMMAND ENVIRONMENT SETUP [ENTRY NAME]...: gives the attempt its inputs, as hard links. So
# they cost no space, and files stay when the entry is removed or replaced. What the file system cannot link is copied.
link_inputs() {
  linked_number=0 linked_directory=$1/$SJ_INPUTS
  shift 6
  [ $# -eq 0 ] || mkdir "$linked_directory" || return
  while [ $# -ge 2 ]; do
    entry=$base/cache/$1 linked=$linked_directory/$linked_number
    link_entry "$2" || return
    emit . 2>/dev/null >"$entry/used" || true
    linked_number=$((linked_number + 1))
    shift 2
  done
}

# link_entry NAME: of a directory only one link, which keeps the entry, however many files it has: its supervisor makes the
# others, see link_trees.
link_entry() {
  if [ ! -d "$entry/content" ]; then
    mkdir "$linked" && { ln "$entry/content" "$linked/$1" 2>/dev/null || cp -p "$entry/content" "$linked/$1"; }
  elif ! ln "$entry/verified" "$linked.entry" 2>/dev/null; then
    # the last is false if the entry was removed meanwhile
    mkdir "$linked" && cp -R "$entry/content" "$linked/$1" && [ -e "$entry/verified" ]
  fi
}

# cache_prepare BASE ENTRY: before content is sent. Responds with a part "lacking" unless it is there already.
cache_prepare() {
  privately own_directory "$1" && privately own_directory "$1/cache" || return
  is_cached "$1" "$2" || part lacking 0 "$2"
  sweep_directory "$1/cache"
}

# cache_add BASE ENTRY TEMPORARY BYTES DIGEST: makes an entry of a file that was sent, if it is complete and its sha256 is
# DIGEST. DIGEST may also be a POSIX cksum, for a host without a program for sha256. Idempotent.
cache_add() {
  privately add_entry "$@"
}

add_entry() {
  # the response to an earlier request was lost, or another client was faster
  is_cached "$1" "$2" || make_entry "$@" || is_cached "$1" "$2" || return
  # of other requests for the same, which were killed or are too late
  for leftover in "$1/cache/$2"/tree.*; do remove_private "$leftover"; done
  fs_discard "$3"
  # it would be sent again and again
  is_cached "$1" "$2" || refuse not-verified "the time of an entry is later than that of its check: $1/cache/$2"
}

# make_entry: as cache_add. An earlier request may still be doing the same.
make_entry() {
  copied=$3 made=${3%/*} entry=$1/cache/$2
  [ -e "$copied" ] || refuse no-such-file "no such file on the host: $copied" || return
  if [ ! -d "$copied" ]; then
    assert_size "$copied" "$4" && assert_digest "$copied" "$5" || return
  fi
  case $2 in
    *.d) [ -d "$copied" ] || extract_entry || return ;;
    *.x) chmod 500 "$copied" || return ;;
    *) chmod 400 "$copied" || return ;;
  esac
  emit "$5" >"$made/verified" && emit . >"$made/used" || return
  ! rename_over "$made" "$entry" || return 0
  # another client was faster, or this one was written to since it was verified; supervisors may still be using it
  is_cached "$1" "$2" || { [ -e "$entry" ] && rename_over "$entry" "$entry.${made##*.}" && rename_over "$made" "$entry"; } ||
    refuse not-replaced "the file cannot be put in place: $entry: $why"
}

# extract_entry: replaces the archive by its content.
extract_entry() {
  remove_private "$made/tree.$$"
  mkdir "$made/tree.$$" || return
  why=$({ cd "$made/tree.$$" && extract '' <"$copied" && find . -type f -exec chmod a-w -- {} +; } 2>&1) ||
    refuse not-extracted "the archive of an input cannot be extracted in $made: $why" || return
  rm -f "$copied"
  rename_over "$made/tree.$$" "$copied" && return
  remove_private "$made/tree.$$"
  # another request was faster
  [ -d "$copied" ] || refuse not-replaced "the file cannot be put in place: $copied: $why"
}

# assert_digest FILE DIGEST
assert_digest() {
  case $2 in
    *' '*)
      found_digest=$(cksum <"$1") ||
        refuse no-checksum-program "the host has no cksum that can read the file: $1" || return
      ;;
    *)
      found_digest=$(fs_sha256 "$1") || {
        emit "$found_digest"
        return 1
      }
      ;;
  esac
  case "$found_digest " in
    "$2 "*) ;;
    *) refuse checksum-mismatch "checksum mismatch after the copy: $1: $2 was sent, $found_digest has arrived" ;;
  esac
}

# cache_list BASE: the current time, then a line "TIME ENTRY/used" for each entry, "TIME ENTRY" if it has lost that file;
# none on a host without stat(1).
cache_list() {
  part entries 0 "$(date +%s)"
  [ ! -d "$1/cache" ] || (
    cd "$1/cache" || exit
    find_stat || exit 0
    for entry in *; do
      if [ -e "$entry/used" ]; then emit "$entry/used"; else emit "$entry"; fi
    done | xargs -n 500 stat "$flag" "$format" 2>/dev/null || :
  )
}

# cache_remove BASE ENTRY...: removes those that no job uses; responds with a part for each that was removed.
cache_remove() {
  own_directory "$1/cache" || return
  sweep "$1"
  cache=$1/cache aside=$1/lib/.stage.$SJ_SELF
  shift
  privately mkdir -p "$aside" || return
  for entry; do
    ! remove_entry "$entry" || part removed 0 "$entry"
  done
  remove_private "$aside"
}

# remove_entry ENTRY: looks for links again after it was moved aside, when no job can get another one. Not only then, because
# the supervisors of jobs that have one must find it.
remove_entry() {
  ! is_linked "$cache/$1" && rename_over "$cache/$1" "$aside/$1" || return
  if is_linked "$aside/$1"; then
    # fails if another client has sent it again; then that one is kept
    rename_over "$aside/$1" "$cache/$1"
    return 1
  fi
  remove_private "$aside/$1"
}

# is_linked DIRECTORY: whether attempts have links to this entry, or that is unknown.
is_linked() {
  [ -e "$1/content" ] || return
  in_use=$(find "$1"/* -prune -type f -links +1 2>&1) || return 0
  [ -n "$in_use" ]
}
