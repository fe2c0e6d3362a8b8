"""How long questions about paths take, compared with Luigi's own."""

from __future__ import annotations

import contextlib
import subprocess
from pathlib import Path

import luigi.configuration
import luigi.contrib.ssh

from luigi_sshjob import RemoteFileSystem

from benchmarks.host import BenchHost
from benchmarks.local import discarded_stderr, timed
from support.network_proxy import Proxy, through


def exists(bench: BenchHost, delay: float) -> tuple[float, float, float, float]:
    """Seconds per `exists()` of a path: Luigi, an ssh client of the master, this package, `exists_many`."""
    with contextlib.ExitStack() as stack:
        return _exists(bench, *_route(bench, delay, stack))


def _route(bench: BenchHost, delay: float, stack: contextlib.ExitStack) -> tuple[int, Path]:
    # without a delay no proxy either, because it runs in this process and would be measured too
    if not delay:
        return bench.host.port, bench.host.ssh_config
    proxy = Proxy((bench.host.hostname, bench.host.port), delay)
    stack.callback(proxy.close)
    config = bench.root / f"through-{proxy.port}"
    config.write_text(through(proxy, bench.host))
    return proxy.port, config


def _exists(bench: BenchHost, port: int, config: Path) -> tuple[float, float, float, float]:
    luigis = luigi.contrib.ssh.RemoteFileSystem(
        "127.0.0.1",
        port=str(port),
        username=bench.host.username,
        key_file=str(bench.host.key_file),
        no_host_key_check=True,
    )
    luigi.configuration.get_config().set("sshjob", "ssh_config", str(config))
    ours = RemoteFileSystem(bench.host.alias)
    ours.exists("/")
    paths = [f"/tmp/nothing-{number}" for number in range(1000)]
    # ssh warns about a new known host each time
    with discarded_stderr():
        theirs = timed(lambda: [luigis.exists(path) for path in paths[:10]]) / 10
    master = ours.remote_context.connection.transport.master
    client = ["ssh", "-F", config, "-S", master.control_path, bench.host.alias, "test -e /tmp"]
    seconds = (
        theirs,
        timed(lambda: [subprocess.run(client, stdin=subprocess.DEVNULL, check=True) for _ in range(20)]) / 20,
        timed(lambda: [ours.exists(path) for path in paths[:200]]) / 200,
        timed(lambda: ours.exists_many(paths)) / 1000,
    )
    ours.remote_context.close()
    return seconds
