"""The local directory of sockets and locks is private to the account."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from luigi_sshjob import RemoteContext, RemoteFileSystem
from luigi_sshjob.errors import ConfigurationError
from luigi_sshjob.ssh.connection import close_shells

from support.settings import configure


def test_a_runtime_directory_replaced_by_another_account_is_not_trusted(host, luigi_cfg):
    """A socket there could respond in the name of the leader."""
    files = RemoteFileSystem(host.alias)
    assert files.exists("/")
    close_shells()
    files.remote_context.close()
    shutil.rmtree(luigi_cfg.runtime_dir)
    luigi_cfg.runtime_dir.mkdir()
    luigi_cfg.runtime_dir.chmod(0o777)
    with pytest.raises(ConfigurationError, match="not private to this account"):
        files.exists("/")
    assert list(luigi_cfg.runtime_dir.iterdir()) == []


def test_a_removed_runtime_directory_is_recreated(host, luigi_cfg):
    files = RemoteFileSystem(host.alias)
    assert files.exists("/")
    files.remote_context.close()
    # ssh may remove its socket at the same time
    shutil.rmtree(luigi_cfg.runtime_dir, ignore_errors=True)
    assert files.exists("/")


def test_a_runtime_directory_open_to_others_is_refused(host, luigi_cfg, tmp_path):
    assert luigi_cfg.runtime_dir.stat().st_mode & 0o777 == 0o700
    shared = Path(os.path.dirname(luigi_cfg.runtime_dir), "r-open")
    shared.mkdir()
    shared.chmod(0o755)
    configure(runtime_dir=shared)
    try:
        with pytest.raises(ConfigurationError, match="not private to this account"):
            RemoteContext(host.alias).check_output(["true"])
    finally:
        shared.rmdir()


def test_missing_parents_are_created_private_whatever_the_umask(host, luigi_cfg):
    umask = os.umask(0o002)
    try:
        configure(runtime_dir=luigi_cfg.runtime_dir / "a" / "b")
        RemoteContext(host.alias).check_output(["true"])
    finally:
        os.umask(umask)
        close_shells()
        RemoteContext(host.alias).close()
    assert (luigi_cfg.runtime_dir / "a").stat().st_mode & 0o777 == 0o700


def test_a_link_in_place_of_the_runtime_directory_is_refused(host, luigi_cfg, tmp_path):
    link = tmp_path / "link"
    link.symlink_to(luigi_cfg.runtime_dir)
    configure(runtime_dir=link)
    with pytest.raises(ConfigurationError, match=rf"is a symbolic link: {link}\n.*{luigi_cfg.runtime_dir}"):
        RemoteContext(host.alias).check_output(["true"])


@pytest.mark.parametrize("through_link", [False, True])
def test_a_runtime_directory_that_another_account_can_replace_is_refused(host, luigi_cfg, through_link):
    above = luigi_cfg.runtime_dir.parent
    shared = above / "shared"
    shared.mkdir()
    try:
        (shared / "r").mkdir(mode=0o700)
        shared.chmod(0o1777)
        entrance = above / "in" if through_link else shared
        if through_link:
            entrance.symlink_to(shared)
        configure(runtime_dir=entrance / "r")
        RemoteContext(host.alias).check_output(["true"])
        RemoteContext(host.alias).close()
        # without the sticky bit anybody can rename what is in it
        shared.chmod(0o777)
        configure(runtime_dir=f"{entrance}/./r")
        with pytest.raises(ConfigurationError, match=f"its parent {entrance} can be written by other accounts"):
            RemoteContext(host.alias).check_output(["true"])
        if os.geteuid() == 0:
            shared.chmod(0o755)
            os.chown(shared, 54321, -1)
            configure(runtime_dir=f"{entrance}/././r")
            with pytest.raises(ConfigurationError, match=f"its parent {entrance} belongs to another account"):
                RemoteContext(host.alias).check_output(["true"])
    finally:
        close_shells()
        (above / "in").unlink(missing_ok=True)
        shutil.rmtree(shared)


def test_a_path_too_long_for_a_socket_is_refused(host, luigi_cfg, tmp_path):
    configure(runtime_dir=tmp_path / ("x" * 80))
    with pytest.raises(ConfigurationError, match="path too long for a control socket"):
        RemoteContext(host.alias).check_output(["true"])
