"""A host that takes Kerberos tickets only; its KDC is in the same container."""

from __future__ import annotations

import time

import pytest

from luigi_sshjob import RemoteContext
from luigi_sshjob.errors import LoginRefused

from support.control_master import end_masters
from support.login_hosts import KerberosHost
from support.session import SESSION
from support.settings import configure

pytestmark = pytest.mark.needs_docker


@pytest.fixture
def kerberos_host(luigi_cfg, pytestconfig, tmp_path, monkeypatch):
    made = KerberosHost(tmp_path / "kerberos", pytestconfig.stash[SESSION].docker)
    made.start()
    (tmp_path / "krb5.conf").write_text(made.client_config())
    monkeypatch.setenv("KRB5_CONFIG", str(tmp_path / "krb5.conf"))
    monkeypatch.setenv("KRB5CCNAME", f"FILE:{tmp_path}/tickets")
    path = tmp_path / "config"
    path.write_text(f"GSSAPIAuthentication yes\n{made.ssh_config.read_text()}")
    configure(ssh_config=path)
    yield made
    end_masters(luigi_cfg.runtime_dir, made)
    made.stop()


def test_a_ticket_is_needed_for_the_login_only_and_an_absent_one_is_named(kerberos_host, tmp_path):
    context = RemoteContext(kerberos_host.alias)
    before = kerberos_host.log_text().count("Connection from")
    with pytest.raises(LoginRefused, match="there is no valid Kerberos ticket: No Kerberos credentials") as caught:
        context.check_output(["true"])
    assert (caught.value.code, "run kinit" in caught.value.next_step) == ("no-kerberos-ticket", True)
    assert kerberos_host.log_text().count("Connection from") == before + 1
    expired = kerberos_host.ticket("-l", "2s")
    time.sleep(4)
    (tmp_path / "tickets").write_bytes(kerberos_host.ticket())
    # another configuration, because the refusal of this one is remembered for a while
    path = tmp_path / "another"
    path.write_text(f"ServerAliveInterval 7\n{(tmp_path / 'config').read_text()}")
    configure(ssh_config=path)
    context = RemoteContext(kerberos_host.alias)
    assert context.check_output(["echo in"]) == b"in\n"
    (tmp_path / "tickets").write_bytes(expired)
    assert context.check_output(["echo in"]) == b"in\n"
    context.close()
    with pytest.raises(LoginRefused, match="there is no valid Kerberos ticket: Ticket expired"):
        context.check_output(["true"])
