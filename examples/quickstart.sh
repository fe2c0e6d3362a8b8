#!/bin/sh
# Runs the pipeline of quickstart.py: real jobs over SSH as ordinary Luigi tasks.
#
#   examples/quickstart.sh              on a throwaway sshd, which is removed afterwards
#   examples/quickstart.sh user@host    on your host, reached like `ssh user@host`
set -eu

say() { printf '==> %s\n' "$*"; }
fail() {
  printf 'quickstart: %s\n' "$*" >&2
  exit 1
}

case $# in
  0) host=quickstart embedded=yes ;;
  1) host=$1 embedded= ;;
  *) host=- embedded= ;;
esac
case $host in
  '' | -*)
    echo 'usage: examples/quickstart.sh [user@host]' >&2
    exit 2
    ;;
esac

# The PATH of an ordinary user often lacks the directories of sshd and useradd.
PATH=$PATH:/usr/sbin:/sbin
examples=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd -P)
root=$(dirname -- "$examples")
venv=$examples/.venv
python=$venv/bin/python
folder='' server='' account='' uid='' luigi_pid='' sshd_pid='' policy=''

as_root() {
  if [ "$(id -u)" -eq 0 ]; then "$@"; else sudo "$@"; fi
}

quietly() {
  "$@" >"$folder/output" 2>&1 </dev/null && return
  cat "$folder/output" >&2
  fail "command failed: $*"
}

wait_until_fails() { # wait_until_fails SECONDS TEST...: wait until TEST fails
  tries=$(($1 * 10))
  shift
  while "$@" 2>/dev/null; do
    [ "$tries" -gt 0 ] || return 1
    tries=$((tries - 1))
    sleep 0.1
  done
}

# Processes on the throwaway host. Jobs are detached, so they are found in /proc: by their account, by their HOME (not
# readable for root in some containers), or by their parent sshd. Zombies have no VmSize.
host_processes() {
  {
    [ -z "$uid" ] || grep -lsE "^Uid:[[:space:]]+${uid}[[:space:]]" /proc/[0-9]*/status
    [ -z "$sshd_pid" ] || grep -lsE "^PPid:[[:space:]]+${sshd_pid}\$" /proc/[0-9]*/status
    grep -lsF "HOME=$server/home" /proc/[0-9]*/environ
  } | sed 's|[a-z]*$|status|' | sort -u | xargs -r grep -ls '^VmSize:'
}

host_has_processes() { [ -n "$(host_processes)" ]; }

signal_host_processes() {
  for found in $(host_processes); do
    found=${found#/proc/}
    kill -s "$1" "${found%/status}" 2>/dev/null || :
  done
}

# It has its own session, so its task processes are in its group.
luigi_lives() { kill -s 0 -- "-$luigi_pid" || kill -s 0 "$luigi_pid"; }

end_luigi() {
  [ -n "$luigi_pid" ] || return 0
  [ -n "$embedded" ] || say "running jobs on $host continue; run this again and Luigi attaches to them"
  kill -s INT "$luigi_pid" 2>/dev/null
  wait_until_fails 10 luigi_lives || kill -s KILL -- "-$luigi_pid" "$luigi_pid" 2>/dev/null
  wait "$luigi_pid"
}

end_masters() {
  find "$folder/run" -type s 2>/dev/null | while IFS= read -r socket; do
    master=$(ssh -O check -S "$socket" "$host" 2>&1 </dev/null | sed -n 's/.*(pid=\([0-9]*\)).*/\1/p')
    [ -n "$master" ] || continue
    ssh -O exit -S "$socket" "$host" >/dev/null 2>&1 </dev/null
    wait_until_fails 5 kill -s 0 "$master" || kill "$master" 2>/dev/null
  done
}

end_server() {
  if [ -n "$server" ]; then
    signal_host_processes TERM
    wait_until_fails 3 host_has_processes || signal_host_processes KILL
    wait_until_fails 3 host_has_processes || say "still running: $(host_processes | tr '\n' ' ')"
    if [ -n "$sshd_pid" ]; then
      kill "$sshd_pid" 2>/dev/null
      wait "$sshd_pid"
    fi
    rm -rf -- "$server"
  fi
  if id "$account" >/dev/null 2>&1; then
    # -f, because a zombie counts as a process of the account.
    userdel -f "$account" 2>/dev/null
    ! id "$account" >/dev/null 2>&1 || say "could not remove the account $account; remove it with: userdel -f $account"
  fi
}

allow_services() {
  [ -z "$policy" ] || as_root rm -f "$policy"
  policy=''
}

clean_up() {
  status=$?
  trap '' HUP INT TERM
  set +e
  end_luigi
  end_masters
  end_server
  allow_services
  [ -z "$folder" ] || rm -rf -- "$folder"
  [ "$status" -le 128 ] || say 'interrupted: everything that this run created here is removed'
  exit "$status"
}
trap clean_up EXIT
trap 'exit 129' HUP
trap 'exit 130' INT
trap 'exit 143' TERM

# Not $TMPDIR, because the path of a control socket is limited to 104 bytes.
folder=$(mktemp -d /tmp/sshjob.XXXXXX)

packages=''
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
  if [ -n "$bring_sshd" ] && [ ! -e /usr/sbin/policy-rc.d ]; then
    # Debian's packages run this file before they start a service; 101 means no.
    policy=/usr/sbin/policy-rc.d
    printf '#!/bin/sh\nexit 101\n' >"$folder/policy"
    as_root install -m 755 "$folder/policy" "$policy"
  fi
  # sudo may prompt here; the output of the next commands is hidden.
  as_root true
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

bring_sshd=''
python3 -c 'import ensurepip, venv' 2>/dev/null ||
  need python3-venv 'creates a virtual environment for Luigi and luigi_sshjob'
command -v ssh-keygen >/dev/null ||
  need openssh-client 'connects to the host'
if [ -n "$embedded" ] && [ ! -x /usr/sbin/sshd ]; then
  bring_sshd=yes
  need openssh-server 'provides the sshd of the host, unprivileged and on loopback only'
fi
[ -z "$packages" ] || install_packages

python3 -c 'import sys; sys.exit(sys.version_info < (3, 10))' ||
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

as_account=''

make_server() {
  server=$(mktemp -d /tmp/sshjob.XXXXXX)
  mkdir "$server/home"
  ssh-keygen -q -t ed25519 -N '' -C quickstart -f "$server/host_key"
  ssh-keygen -q -t ed25519 -N '' -C quickstart -f "$folder/client_key"
  cp "$folder/client_key.pub" "$server/authorized_keys"
  printf '%s %s\n' "$host" "$(cat "$server/host_key.pub")" >"$folder/known_hosts"

  login=$(id -un) || fail "user id $(id -u) has no account here, and sshd requires one"
  if [ "$(id -u)" -eq 0 ]; then
    login=sshjob-demo-$$
    ! id "$login" >/dev/null 2>&1 || fail "the account $login already exists"
    say "creating the temporary account $login, so that jobs do not run as root"
    # Set first, so that a signal during useradd does not leave the account behind.
    account=$login
    useradd --system --user-group --no-create-home --home-dir "$server/home" --shell /bin/sh "$account"
    uid=$(id -u "$account")
    as_account="setpriv --reuid $uid --regid $(id -g "$account") --init-groups"
  fi
}

configure_server() { # configure_server PORT
  # StrictModes would reject /tmp as a parent directory. HOME keeps the jobs of an ordinary user out of the real home.
  cat >"$server/sshd_config" <<END
ListenAddress 127.0.0.1:$1
PidFile $server/sshd.pid
HostKey $server/host_key
AuthorizedKeysFile $server/authorized_keys
AuthenticationMethods publickey
AllowUsers $login
StrictModes no
UsePAM no
PermitUserRC no
X11Forwarding no
SetEnv HOME=$server/home
END
  cat >"$folder/ssh_config" <<END
Host $host
  HostName 127.0.0.1
  Port $1
  User $login
  IdentityFile $folder/client_key
  IdentitiesOnly yes
  IdentityAgent none
  HostKeyAlias $host
  StrictHostKeyChecking yes
  UserKnownHostsFile $folder/known_hosts
  GlobalKnownHostsFile /dev/null
END
  [ -z "$account" ] || chown -R "$account:$account" "$server"
}

# Succeeds when sshd listens; fails if it exited, for example because the port is in use.
server_listens() {
  tries=100
  until [ -s "$server/sshd.pid" ]; do
    kill -s 0 "$sshd_pid" 2>/dev/null && [ "$tries" -gt 0 ] || return 1
    tries=$((tries - 1))
    sleep 0.1
  done
}

start_server() {
  for attempt in 1 2 3 4 5; do
    port=$("$python" -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
    configure_server "$port"
    # shellcheck disable=SC2086 # a command's words, or none
    $as_account /usr/sbin/sshd -D -e -f "$server/sshd_config" >/dev/null 2>"$folder/sshd.log" </dev/null &
    sshd_pid=$!
    if server_listens; then
      say "started an unprivileged sshd for this run: $login@127.0.0.1 port $port"
      return
    fi
    kill "$sshd_pid" 2>/dev/null || :
    wait "$sshd_pid" || :
    sshd_pid=''
  done
  cat "$folder/sshd.log" >&2
  fail "sshd did not start on any of $attempt ports"
}

mkdir -m 700 "$folder/run"
cat >"$folder/luigi.cfg" <<END
[core]
log_level = INFO
# The default, /tmp/luigi, is shared by all accounts, and only the first can write to it.
lock_pid_dir = $folder/lock

# By default Luigi exits with 0 after a failure.
[retcode]
already_running = 10
missing_data = 20
not_run = 25
task_failed = 30
scheduling_error = 35
unhandled_exception = 40

[sshjob]
runtime_dir = $folder/run
END

if [ -n "$embedded" ]; then
  make_server
  start_server
  echo "ssh_config = $folder/ssh_config" >>"$folder/luigi.cfg"
  # do not record a host that is removed afterwards
  export XDG_STATE_HOME="$folder"
fi

say "running the pipeline of examples/quickstart.py on $host"
export LUIGI_CONFIG_PATH="$folder/luigi.cfg" PYTHONPATH="$examples"
# Its own session, so that end_luigi alone passes on Ctrl-C. A background command of a shell ignores SIGINT, hence
# --default-signal.
setsid env --default-signal=INT "$python" -m luigi --module quickstart Report \
  --host "$host" --result "$folder/result.txt" --local-scheduler --workers 2 </dev/null &
luigi_pid=$!
status=0
wait "$luigi_pid" || status=$?
luigi_pid=''

if [ "$status" -ne 0 ]; then
  say "the pipeline failed with exit status $status; see the log above"
  exit "$status"
fi
echo
cat "$folder/result.txt"
echo
if [ -n "$embedded" ]; then
  say "logins that sshd accepted for all of it: $(grep -c '^Accepted ' "$folder/sshd.log")"
  say 'The host, its account and its files are now removed. The pipeline is examples/quickstart.py.'
  say 'To run it on your host: examples/quickstart.sh user@host'
else
  say "Results, job records and logs are in ~/luigi-sshjob-quickstart on $host; nothing else is left there."
  say 'Run this again: the results exist, so nothing runs twice. The pipeline is examples/quickstart.py.'
  say "To remove it: ssh $host rm -r luigi-sshjob-quickstart"
fi
