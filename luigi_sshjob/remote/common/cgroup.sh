# shellcheck shell=sh disable=SC2034,SC2154,SC3045
# Control groups (cgroup v2) for limited jobs. Version 1 is not used: there an account cannot have groups of its own.

# own_cgroup: sets $own_cgroup to the path of this process's control group; to nothing if there is none of version 2.
own_cgroup() {
  own_cgroup=
  [ -e /sys/fs/cgroup/cgroup.controllers ] && [ -r /proc/self/cgroup ] || return 0
  while IFS= read -r cgroup_line; do
    case $cgroup_line in 0::*) own_cgroup=${cgroup_line#0::} ;; esac
  done </proc/self/cgroup
}

# find_limiter: sets $limiter to what can limit a job as a whole on this machine: "systemd scope", "cgroup" or nothing; and
# $account_id. Changes nothing. A job that is limited itself cannot start jobs outside of its limit.
find_limiter() {
  limiter='' account_id=$(id -u)
  own_cgroup
  case $own_cgroup in
    '' | */sshjob-*) ;;
    *)
      if [ -d /run/systemd/system ]; then
        ! may_have_scope || limiter='systemd scope'
      else
        ! may_divide_root || limiter=cgroup
      fi
      ;;
  esac
}

# may_have_scope: whether a scope of systemd would outlive the logins of the account, and could limit anything. Without
# lingering, systemd ends the account's manager, and with it all of its scopes, after the last logout.
may_have_scope() {
  # busctl itself waits for a bus that does not respond
  command -v busctl >/dev/null 2>&1 && command -v timeout >/dev/null 2>&1 || return
  if [ "$account_id" -eq 0 ]; then
    has_controllers /sys/fs/cgroup/cgroup.controllers
  else
    [ -e "/var/lib/systemd/linger/$(id -un)" ] && [ -S "/run/user/$account_id/bus" ] &&
      has_controllers "/sys/fs/cgroup/user.slice/user-$account_id.slice/user@$account_id.service/cgroup.controllers"
  fi
}

# has_controllers FILE: whether the list has one that limits a job; sets $cgroup_controllers to it.
has_controllers() {
  cgroup_controllers=
  { read -r cgroup_controllers <"$1"; } 2>/dev/null
  case " $cgroup_controllers " in *' memory '* | *' cpu '*) ;; *) return 1 ;; esac
}

# may_divide_root: whether groups with limits can be made below the root, which may be that of a container. A process that
# is deeper in the tree is in a container that sees the tree of its host. A group with processes cannot be divided, unless
# it is the root of the machine, which has no type.
may_divide_root() {
  case $own_cgroup in /*/*) return 1 ;; esac
  [ -w /sys/fs/cgroup/cgroup.procs ] || return
  has_controllers /sys/fs/cgroup/cgroup.subtree_control || [ ! -e /sys/fs/cgroup/cgroup.type ] ||
    ! read -r _ </sys/fs/cgroup/cgroup.procs || return
  has_controllers /sys/fs/cgroup/cgroup.controllers
}

# limits_address_space: whether the kernel keeps `ulimit -v`: with less than any program needs, no program must start.
limits_address_space() {
  { (ulimit -v 256) && ! (ulimit -v 256 && exec /bin/sh -c :); } 2>/dev/null
}

# remove_group GROUP: with the groups that the job has made in it, unless processes are left.
remove_group() { [ ! -d "$1" ] || find "$1" -depth -type d -exec rmdir {} \; 2>/dev/null; }
