# shellcheck shell=sh disable=SC2154
# The far end of a stream of bytes: what a session of its own runs. It says a line before the first byte, so that the
# other side knows at once what cannot be opened. Whoever fails ends the session with a status that is not 0.

# temporary_in DIRECTORY: sets $temporary to a name there that tells who writes, see sweep_directory in files.sh. It does
# not hold the name that the file will have, which may be as long as a name can be.
temporary_in() {
  machine_identity
  process_start $$ || start=
  temporary=$1/.sshjob-tmp.$machine.$$.$start
}

# receive_file DIRECTORY [private]: standard input becomes a new file there, whose name is said; a private one is nobody
# else's to read until fs_commit gives it another mode.
receive_file() {
  temporary_in "$1"
  [ "${2-}" != private ] || umask 077
  exec 3>"$temporary" && printf '%s\n' "${temporary##*/}" && exec cat >&3
}

# resume_file FILE BLOCKS: standard input goes on in the file behind so many blocks of 64 KiB. Written where it belongs,
# not at the end: the writer before, cut off, may still have bytes on their way to the same places.
resume_file() {
  [ -e "$1" ] && printf '%s\n' "${1##*/}" && exec dd of="$1" bs=65536 seek="$2" conv=notrunc
}

# receive_tree DIRECTORY TAR_OPTIONS [MODE]: the archive on standard input becomes the directory `tree` in a new one there, whose name
# is said: tar may make the times of its own as old as they were, see sweep_directory. Nobody else gets into the new one,
# where not everything has the permissions that it will have. MODE is for a tar that gives none to a directory that is
# there, as that of busybox.
receive_tree() {
  temporary_in "$1"
  (umask 077 && mkdir -- "$temporary") && mkdir -- "$temporary/tree" || return
  [ -z "${3-}" ] || chmod -- "$3" "$temporary/tree" || return
  cd -- "$temporary/tree" && printf '%s\n' "${temporary##*/}" &&
    exec tar "$2" -
}

# report_absent PATH: ends the session with the line "missing" if nothing exists there.
report_absent() { ! is_absent "$1" || { echo missing && exit 1; }; }

# send_file FILE BYTE: writes the file to standard output, beginning at that byte; the first one has number 1.
send_file() {
  report_absent "$1"
  # for a directory that would succeed
  [ ! -d "$1" ] || {
    printf '%s\n' "$1: Is a directory" >&2
    exit 1
  }
  exec 3<"$1" && echo open || exit
  if [ "$2" = 1 ]; then exec cat <&3; else exec tail -c "+$2" <&3; fi
}

# send_tree DIRECTORY: writes its content to standard output, as an archive.
send_tree() {
  report_absent "$1"
  cd -- "$1" && echo open && exec tar -cf - .
}
