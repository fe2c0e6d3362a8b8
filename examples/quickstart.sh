#!/bin/sh
# Shows a pipeline of jobs over SSH that survives the end of Luigi; takes about half a minute.
set -eu

usage() {
  cat <<'END'
usage: examples/quickstart.sh [--mixed] [--keep] [-- OPTION...]
       examples/quickstart.sh user@host [-- OPTION...]
       examples/quickstart.sh --stop

Runs a pipeline of remote jobs, kills Luigi in the middle of it, and runs it
again: on an sshd of its own, or on your host, reached like `ssh user@host`.
It installs missing Debian packages, and Luigi into examples/.venv.

--mixed  run local tasks and jobs on two hosts, each an sshd of its own
--keep   keep what was started, and print how to use it
--stop   remove what was kept
OPTION   of the pipeline in examples/quickstart.py, for example --letters 9,
         with --mixed of the one in examples/mixed.py
END
}

say() { printf '==> %s\n' "$*"; }
fail() {
  printf 'quickstart: %s\n' "$*" >&2
  exit 1
}

check_arguments() {
  for word; do
    case $word in
      -h | --help) usage && exit ;;
      --) return ;;
      --mixed | --keep | --stop) given="$given $word" ;;
      '' | -*) given=unknown ;;
      *) embedded='' given="$given host" ;;
    esac
  done
}
embedded=yes given=''
check_arguments "$@"
case $given in
  '' | ' --mixed' | ' --keep' | ' --mixed --keep' | ' --keep --mixed' | ' --stop' | ' host') ;;
  *)
    usage >&2
    exit 2
    ;;
esac

# The PATH of an ordinary user often lacks the directory of sshd.
PATH=$PATH:/usr/sbin:/sbin
examples=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd -P)
root=$(dirname -- "$examples")
venv=$examples/.venv
python=$venv/bin/python
output='' policy='' packages='' bring_sshd=''

as_root() {
  if [ "$(id -u)" -eq 0 ]; then "$@"; else sudo "$@"; fi
}

quietly() {
  "$@" >"$output" 2>&1 </dev/null && return
  cat "$output" >&2
  fail "command failed: $*"
}

allow_services() {
  [ -z "$policy" ] || as_root rm -f "$policy"
  policy=''
}

clean_up() {
  status=$?
  trap '' HUP INT TERM
  set +e
  allow_services
  [ -z "$output" ] || rm -f -- "$output"
  [ "$status" -le 128 ] || say 'interrupted'
  exit "$status"
}
trap clean_up EXIT
trap 'exit 129' HUP
trap 'exit 130' INT
trap 'exit 143' TERM
output=$(mktemp /tmp/sshjob.XXXXXX)

need() {
  say "missing: $1 ($2)"
  packages="$packages $1"
}

install_packages() {
  command -v apt-get >/dev/null || fail "apt-get not found; install these packages and run this again:$packages"
  if [ "$(id -u)" -ne 0 ] && ! command -v sudo >/dev/null; then
    fail "root or sudo is required. As root, run: apt-get install --no-install-recommends$packages"
  fi
  say "installing with apt-get:$packages"
  # sudo may prompt here; the output of the next commands is hidden.
  as_root true
  if [ -n "$bring_sshd" ] && [ ! -e /usr/sbin/policy-rc.d ]; then
    # Debian's packages run this file before they start a service; 101 means no.
    policy=/usr/sbin/policy-rc.d
    printf '#!/bin/sh\nexit 101\n' >"$output"
    as_root install -m 755 "$output" "$policy"
  fi
  quietly as_root apt-get -q update
  # shellcheck disable=SC2086 # a list of package names
  quietly as_root env DEBIAN_FRONTEND=noninteractive apt-get -q -y --no-install-recommends \
    -o DPkg::Lock::Timeout=300 install $packages
  allow_services
  if [ -n "$bring_sshd" ] && [ -d /run/systemd/system ]; then
    say 'disabling the system-wide sshd of openssh-server, which is not needed'
    for unit in ssh.service ssh.socket; do
      as_root systemctl --quiet disable --now "$unit" 2>/dev/null || :
    done
  fi
}

python3 -c 'import ensurepip, venv' 2>/dev/null ||
  need python3-venv 'creates a virtual environment for Luigi and luigi_sshjob'
command -v ssh-keygen >/dev/null ||
  need openssh-client 'connects to the host'
if [ -n "$embedded" ] && [ ! -x /usr/sbin/sshd ]; then
  bring_sshd=yes
  need openssh-server 'provides the sshd of the host, on loopback only'
fi
[ -z "$packages" ] || install_packages

python3 -c 'import sys; sys.exit(sys.version_info < (3, 10))' 2>/dev/null ||
  fail "luigi_sshjob requires Python 3.10 or newer, but $(command -v python3) is $(python3 -V 2>&1)"

# Fails for an incomplete environment, after an upgrade of Python, and in a moved checkout.
installed() {
  cmp -s "$root/setup.cfg" "$venv/installed.cfg" &&
    "$python" -I - "$root" <<'END' 2>/dev/null
import os, sys, luigi, luigi_sshjob
sys.exit(not os.path.realpath(luigi_sshjob.__file__).startswith(os.path.join(sys.argv[1], "")))
END
}

if ! installed; then
  say "installing Luigi and this checkout into $venv"
  quietly python3 -m venv --clear "$venv"
  quietly "$python" -m pip install --quiet --disable-pip-version-check --editable "$root"
  cp "$root/setup.cfg" "$venv/installed.cfg"
fi

rm -f -- "$output"
# Python prints a traceback for Ctrl-C until examples/demo handles it, which then unblocks it.
exec env --block-signal=INT "$python" "$examples/demo" "$@"
