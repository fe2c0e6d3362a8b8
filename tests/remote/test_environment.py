"""What rc files export changes neither the scripts of the host nor the local programs, and reaches the jobs."""

from __future__ import annotations

import pytest

from luigi_sshjob import RemoteContext, RemoteFileSystem

from support.settings import both_transports

# As rc files of bash do it, where /bin/sh is a bash: each of these commands is used by the scripts.
TRAPS = "cat chmod cp date dd find grep id kill ln ls mkdir mv nohup ps rm sed setsid sleep sort stat tail tar test wc"
RC_FILE = """
set -u
export SHELLOPTS CDPATH=/etc GREP_OPTIONS=--color=always TAR_OPTIONS='--exclude=* -v' BASH_ENV=/trap ENV=/trap
for name in cd {traps}; do eval "$name() {{ echo trapped; return 1; }}; export -f $name"; done
load() {{ echo "loaded $1"; }}
export -f load
"""


@pytest.fixture
def trapped_bench(special_bench):
    """A host with bash as /bin/sh, and an rc file that exports functions."""
    bench = special_bench()
    bench.host.run("ln", "-sf", "bash", "/bin/sh", user="root")
    bench.host.run("dd", "of=.bashrc", input=RC_FILE.format(traps=TRAPS))
    return bench


@both_transports
@pytest.mark.needs_docker
def test_exported_functions_and_variables_change_no_script(trapped_bench, tmp_path, monkeypatch):
    bench = trapped_bench
    files = RemoteFileSystem(bench.host.alias)
    # the functions are there, and a job may use them
    assert RemoteContext(bench.host.alias).check_output(["rm x; true"]) == b"trapped\n"
    outcome, log = bench.run("load it; rm x; echo $CDPATH $BASH_ENV; true", time_limit=60)
    assert (outcome.state, log) == ("succeeded", b"loaded it\ntrapped\n/trap\n")
    # also of the local tar
    monkeypatch.setenv("TAR_OPTIONS", "--exclude=* -v")
    (tmp_path / "sent").mkdir()
    (tmp_path / "sent" / "file").write_text("content\n")
    files.put(str(tmp_path / "sent"), "tree")
    files.get("tree", str(tmp_path / "received"))
    assert (tmp_path / "received" / "file").read_text() == "content\n"
    assert [path.rpartition("/")[2] for path in files.listdir("tree")] == ["file"]
    files.copy("tree/file", "tree/copy")
    files.move("tree/copy", "moved")
    with files.reader("moved") as reader:
        assert reader.read() == b"content\n"
    files.remove("tree")
    assert not files.exists("tree")
    job = bench.submit("command sleep 300").job
    assert bench.monitor.cancel(job, grace=1).state == "cancelled"
