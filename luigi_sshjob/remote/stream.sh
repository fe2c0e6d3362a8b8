# shellcheck shell=sh disable=SC2154
# Streams of bytes, each in a session of its own. A line before the first byte reports that the file or directory was
# opened. An error ends the session with a status other than 0.

# the C locale makes messages of the shell searchable
LC_ALL=C
unset TAR_OPTIONS

# temporary_in DIRECTORY: sets $temporary to a name there that identifies this process, see sweep_directory in files.sh.
# It does not contain the final name, which may have the maximum length.
temporary_in() {
  host_identity
  process_start $$ || start=
  temporary=$1/.sshjob-tmp.$boot.$$.$start
}

# receive_file DIRECTORY [private]: writes standard input to a new file there, and prints its name. A private file is
# readable by its owner only, until fs_commit sets its mode.
receive_file() {
  temporary_in "$1"
  [ "${2-}" != private ] || umask 077
  exec 3>"$temporary" && printf '%s\n' "${temporary##*/}" && exec cat >&3
}

# resume_file FILE BLOCKS: writes standard input to the file from that block of 64 KiB on. At its offset, not at the
# end: bytes of the previous, interrupted writer may still arrive there.
resume_file() {
  [ -e "$1" ] && printf '%s\n' "${1##*/}" && exec dd of="$1" bs=65536 seek="$2" conv=notrunc
}

# receive_tree DIRECTORY TAR_OPTIONS [MODE]: extracts the archive on standard input to the directory `tree` in a new
# private directory there, and prints the name of the latter, whose age is real: tar may set that of `tree` to the past,
# see sweep_directory. MODE is for a tar that does not set the mode of an existing directory (busybox).
receive_tree() {
  temporary_in "$1"
  (umask 077 && mkdir -- "$temporary") && mkdir -- "$temporary/tree" || return
  [ -z "${3-}" ] || chmod -- "$3" "$temporary/tree" || return
  cd -- "$temporary/tree" && printf '%s\n' "${temporary##*/}" &&
    exec tar "$2" -
}

# report_absent PATH: ends the session with the line "missing" if nothing exists there.
report_absent() { ! is_absent "$1" || { echo missing && exit 1; }; }

# send_file FILE BYTE: prints the file from that byte on; the first byte has number 1.
send_file() {
  report_absent "$1"
  # opening a directory would succeed
  [ ! -d "$1" ] || {
    printf '%s\n' "$1: Is a directory" >&2
    exit 1
  }
  exec 3<"$1" && echo open || exit
  if [ "$2" = 1 ]; then exec cat <&3; else exec tail -c "+$2" <&3; fi
}

# send_tree DIRECTORY: prints its content as an archive.
send_tree() {
  report_absent "$1"
  cd -- "$1" && echo open && exec tar -cf - .
}
