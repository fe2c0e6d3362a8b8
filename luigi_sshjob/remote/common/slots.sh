# shellcheck shell=sh disable=SC2034,SC2154
# Slots: what a host has to share among jobs, who holds it and who waits for it, as locked files of one directory. A file
# counts only while a process has it locked exclusively (flock); the kernel frees it with the last such process. Files
# whose lock is gone mean nothing, so nothing has to be repaired after a kill or a restart. The files:
#   NUMBER.ticket   a job that waits; first-come order is that of the numbers; its first line is what the job needs
#   NUMBER.grant    a job that has its slots; its first line is what it holds, such as "gpu:0 gpu:2"
#   mutex           locked for the moment in which a ticket or a grant is made, or files are removed
#   supply          optional, of the administrator: what there is, such as "gpu:4 cpu:32"
# The directory may be shared by several accounts, and have the sticky bit. So files of others are opened only for
# reading, their content is bounded and never evaluated, and each account removes its own.

# set_slots_place BASE DIRECTORY: sets $slots_place to that directory, by default to one of this boot of the machine, because
# several machines may share the base directory.
set_slots_place() {
  slots_private=$1/slots/${boot%%.*}
  slots_place=${2:-$slots_private}
}

# is_held FILE: whether a process has it locked exclusively. By a shared lock, so that processes which look at the same
# moment are not taken for holders.
is_held() {
  [ -f "$1" ] && [ ! -h "$1" ] || return 1
  # also if it cannot be opened now, unless it was removed meanwhile
  held=1
  { test_lock 7<"$1"; } 2>/dev/null
  [ "$held" -ne 0 ] && [ -f "$1" ]
}

test_lock() {
  flock -n -s 7
  held=$?
}

# slot_number FILE: sets $slot_number to the number in its name; fails for another name. All have ten digits, fewer than
# numbers in shells may have.
slot_number() {
  slot_number=${1##*/} slot_number=${slot_number%.*}
  case $slot_number in 1?????????) ;; *) return 1 ;; esac
  case $slot_number in *[!0-9]*) return 1 ;; esac
}

# read_slots FILE: sets $slots_read to its first line; fails unless that is a list of words like gpu:0.
read_slots() {
  slots_read=
  if [ -O "$1" ]; then
    read -r slots_read <"$1"
  else
    slots_read=$(dd if="$1" bs=8192 count=1 2>/dev/null)
    # a line that is longer was cut
    case $slots_read in *"$newline"*) slots_read=${slots_read%%"$newline"*} ;; *) return 1 ;; esac
  fi
  case $slots_read in '' | *[!a-z0-9_:\ ]*) return 1 ;; esac
}

# read_supply: sets $given_supply to the administrator's file in one line; fails with $why if it cannot be used. It has
# to belong to root or to the owner of the directory, because others may be able to create files there.
read_supply() {
  given_supply='' why=''
  [ -e "$slots_place/supply" ] || return 0
  # shellcheck disable=SC2012,SC2046  # of names that cannot be strange, only the numbers are read
  set -- $(cd "$slots_place/" && ls -ldn . supply | while read -r _ _ owner _; do emit "$owner"; done)
  if [ ! -f "$slots_place/supply" ] || [ -h "$slots_place/supply" ] || [ $# -ne 2 ]; then
    why='is not a file'
  elif [ "$2" != 0 ] && [ "$1" != "$2" ]; then
    why='belongs neither to root nor to the owner of the directory'
  else
    given_supply=$(dd if="$slots_place/supply" bs=4096 count=1 2>/dev/null | tr '\n\t' '  ')
    is_supply "$given_supply" || why='is not a list like "gpu:4 cpu:32"'
  fi
  [ -z "$why" ]
}

# is_supply TEXT: whether it is a list of words like gpu:4, and nothing that a shell would expand.
is_supply() {
  case $1 in *[!a-z0-9_:\ ]*) return 1 ;; esac
  for given in $1; do
    case $given in [a-z]*:[0-9]*) ;; *) return 1 ;; esac
    case ${given#*:} in *[!0-9]* | ??????*) return 1 ;; esac
  done
}

# find_supply NAME [SETTING]: sets $supply to how many there are on this host, and $supply_from to where that is from: the
# administrator, the setting, or a look at the host that was stored. To nothing if it is unknown.
find_supply() {
  supply='' supply_from=''
  for given in ${2-}; do [ "${given%%:*}" != "$1" ] || supply=${given#*:} supply_from=setting; done
  for given in $given_supply; do [ "${given%%:*}" != "$1" ] || supply=${given#*:} supply_from=administrator; done
  [ -z "$supply" ] || return 0
  { read -r supply <"$slots_private/found.$1"; } 2>/dev/null
  [ -z "$supply" ] || supply_from=found
}

# list_devices NAME: prints what the host says about this resource, see count_devices. nvidia-smi may take seconds.
list_devices() {
  case $1 in
    # with a driver that hangs it does not end
    gpu) if command -v timeout >/dev/null; then timeout 60 nvidia-smi -L; else nvidia-smi -L; fi ;;
    # whatever limits the variable is for, they are not those of other jobs
    cpu) (unset OMP_NUM_THREADS OMP_THREAD_LIMIT && nproc) || getconf _NPROCESSORS_ONLN ;;
  esac 2>/dev/null
}

# count_devices NAME: prints their number from the output of list_devices on standard input; nothing if there are none.
count_devices() {
  devices=0
  while IFS= read -r device; do
    case $1/$device in
      gpu/'GPU '[0-9]*) devices=$((devices + 1)) ;;
      cpu/*[!0-9]* | cpu/) ;;
      cpu/*) devices=$device ;;
    esac
  done
  [ "$devices" -eq 0 ] || emit "$devices"
}
