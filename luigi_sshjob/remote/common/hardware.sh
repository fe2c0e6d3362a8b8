# shellcheck shell=sh disable=SC2034
# What stays the same when a machine restarts. On Linux only builtins are used.

# hardware_identity: sets $hardware to three words that stay the same when this machine restarts: its machine id, the id
# of its container and the addresses of its network cards. A word is "-" if it is unknown.
hardware_identity() {
  machine_id='' addresses=''
  if [ -r /proc/self/mountinfo ]; then
    { read -r machine_id </etc/machine-id; } 2>/dev/null
    # virtual interfaces have no device
    for device in /sys/class/net/*/device; do
      [ -e "$device" ] && read -r address <"${device%/device}/address" && addresses=$addresses,$address
    done
    container_id
  else
    container=''
    machine_id=$(sysctl -n kern.hostuuid 2>/dev/null)
  fi
  hardware="${machine_id:--} ${container:--} ${addresses:--}"
}

# container_id: sets $container to the directory of the root file system, see proc(5), /proc/pid/mountinfo. Docker and
# Podman name it after a random number, which no two containers share.
container_id() {
  container='' hex='[0-9a-f][0-9a-f][0-9a-f][0-9a-f]'
  while read -r _ _ _ root mount_point options; do
    [ "$mount_point" = / ] || continue
    case $options in *[,\ ]upperdir=*) root=${options##*[,\ ]upperdir=} && root=${root%%,*} ;; esac
    # shellcheck disable=SC2254  # a pattern
    case $root in */ostree/*) ;; *$hex$hex$hex$hex$hex$hex$hex$hex*) container=${root%% *} ;; esac
    return
  done </proc/self/mountinfo
}
