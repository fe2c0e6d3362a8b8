# shellcheck shell=sh disable=SC2034

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
