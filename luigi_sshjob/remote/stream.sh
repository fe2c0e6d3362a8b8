# shellcheck shell=sh disable=SC2154
# Streams of bytes, each in a session of its own. A line before the first byte reports that the file or directory was
# opened. An error ends the session with a status other than 0.

# the C locale makes messages of the shell searchable
LC_ALL=C
unset TAR_OPTIONS

# temporary_in DIRECTORY TOKEN: creates a private directory there, enters it and sets $temporary to its name, which
# identifies this process, see sweep_directory in files.sh, and which nobody can guess.
temporary_in() {
  host_identity
  process_start $$ || start=
  temporary=.sshjob-tmp.$boot.$$.$start.$2
  private_directory "$1/$temporary" && cd -P -- "$1/$temporary" && [ -O . ]
}

# receive_file DIRECTORY TOKEN [private]: writes standard input to a new file in a private directory there, and prints its
# path. A private file is readable by its owner only, until fs_commit sets its mode.
receive_file() {
  temporary_in "$1" "$2" || exit
  [ "${3-}" != private ] || umask 077
  # exclusive: if others may rename the directory, this may be another one
  set -C
  exec 3>content && printf '%s\n' "$temporary/content" && exec cat >&3
}

# resume_file FILE BLOCKS: writes standard input to the file from that block of 64 KiB on. At its offset, not at the
# end: bytes of the previous, interrupted writer may still arrive there.
resume_file() {
  [ -f "$1" ] && [ ! -h "$1" ] && printf '%s\n' "${1##*/}" && exec dd of="$1" bs=65536 seek="$2" conv=notrunc
}

# receive_tree DIRECTORY TOKEN PRESERVE [MODE]: extracts the archive on standard input to a new directory in a private one
# there, and prints its path. Owners are never restored. MODE is for a tar that does not set the mode of an existing
# directory (busybox).
receive_tree() {
  temporary_in "$1" "$2" && mkdir tree || exit
  [ -z "${4-}" ] || chmod -- "$4" tree || exit
  cd tree && printf '%s\n' "$temporary/tree" || exit
  extract "$3"
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
  # reading from a FIFO would wait, and a device may have no end
  [ -f "$1" ] || {
    printf '%s\n' "$1: not a regular file, but a FIFO, socket or device" >&2
    exit 1
  }
  exec 3<"$1" && echo open || exit
  if [ "$2" = 1 ]; then exec cat <&3; else exec tail -c "+$2" <&3; fi
}

# send_tree DIRECTORY: prints its content as an archive; the line before has the number of files and their size in bytes.
send_tree() {
  report_absent "$1"
  cd -- "$1" || exit
  special=$(find . ! -type f ! -type d ! -type l -print 2>/dev/null)
  [ -z "$special" ] || {
    printf '%s\n' "a FIFO, socket or device cannot be copied: $special" >&2
    exit 1
  }
  # a line break in a name may only raise the numbers
  totals=$(find . -exec ls -lnd -- {} + 2>/dev/null | awk '
    { count++ } /^-/ { size += $5 } END { printf "%.0f %.0f\n", count, size }')
  printf '%s\n' "open $totals" && exec tar -cf - .
}
