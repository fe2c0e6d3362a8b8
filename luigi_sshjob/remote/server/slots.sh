# shellcheck shell=sh disable=SC2034,SC2154
# What a host has to share among jobs, who holds it and who waits for it; common/slots.sh describes the files.

# slots_show BASE DIRECTORY SETTING: responds with a part "directory", parts "supply NAME:COUNT FROM", for each file that a
# process holds a part "slots NAME" with its beginning, and a part "times NOW" with lines "TIME OWNER NAME"; both are
# unknown on a host without stat(1). DIRECTORY may be empty.
slots_show() {
  set_slots_place "$1" "$2"
  part directory 0
  emit "$slots_place"
  command -v flock >/dev/null 2>&1 || refuse no-flock "the host has no program flock, which slots need" || return
  read_supply || refuse bad-supply "the supply of slots cannot be used: $slots_place/supply $why" || return
  show_supply "$3"
  [ -d "$slots_place" ] || return 0
  ! is_inaccessible "$slots_place" || refuse directory-not-searchable "no permission to read the directory of slots: $slots_place" || return
  set --
  for file in "$slots_place"/1?????????.ticket "$slots_place"/1?????????.grant; do
    if slot_number "$file" && is_held "$file"; then set -- "$@" "${file##*/}"; fi
  done
  for file; do
    part slots 0 "$file"
    dd if="$slots_place/$file" bs=8192 count=1 2>/dev/null
  done
  part times 0 "$(date +%s)"
  if [ $# -gt 0 ] && find_stat; then
    case $flag in -c) format='%Y %U %n' ;; *) format='%m %Su %N' ;; esac
    (cd "$slots_place/" && stat "$flag" "$format" "$@" 2>/dev/null) || :
  fi
}

is_inaccessible() { [ ! -r "$1" ] || [ ! -x "$1" ]; }

# show_supply SETTING: of all resources that are declared, and of those that can be found.
show_supply() {
  shown=' '
  for want in $given_supply $1 gpu:0 cpu:0; do
    case $shown in *" ${want%:*} "*) continue ;; esac
    shown="$shown${want%:*} "
    find_supply "${want%:*}" "$1"
    [ -n "$supply" ] || { supply_from=found && supply=$(within 10 list_devices "${want%:*}" | count_devices "${want%:*}"); }
    [ -z "$supply" ] || part supply 0 "${want%:*}:$supply $supply_from"
  done
}
