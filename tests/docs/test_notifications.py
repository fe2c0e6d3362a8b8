"""The mails of notifications.rst, with a real mail server."""

from __future__ import annotations

import types

import luigi
import pytest

from luigi_sshjob.errors import LoginNeeded

from support.doc_examples import blocks
from support.retried_tasks import DIE
from support.smtp_server import MailServer
from support.worker_runs import set_option

COUNT = 20


@pytest.fixture
def mails():
    server = MailServer()
    set_option("email", receiver="team@example.org", sender="luigi@example.org", force_send="true")
    set_option("smtp", host="127.0.0.1", port=server.port)
    yield server.messages
    server.close()
    for section in ("email", "smtp"):
        luigi.configuration.get_config().remove_section(section)


@pytest.fixture
def recipe() -> type:
    """The class of the page."""
    module = types.ModuleType("mailing")
    (block,) = (block for block in blocks("python", "notifications.rst") if "class Mailing" in block.text)
    exec(compile(block.text, "notifications.rst", "exec"), vars(module))
    return module.Mailing


# of Luigi, about its own defaults
@pytest.mark.filterwarnings("ignore:Parameter")
def test_many_jobs_that_a_host_loses_are_one_mail(luigi_cfg, host, text_folder, build, recipe, mails, short_pauses):
    class LostOnce(recipe):
        number = luigi.IntParameter()

        def command(self):
            return f'echo {self.number} >>{text_folder}/ledger; [ "${{SSHJOB_ID##*/}}" = 2 ] || {{ {DIE}; }}'

    tasks = [LostOnce(host.alias, number) for number in range(COUNT)]
    assert build(*tasks, workers=4)
    assert len(host.run("cat", f"{text_folder}/ledger").split()) == 2 * COUNT
    (mail,) = mails
    assert (mail["To"], mail["From"]) == ("team@example.org", "luigi@example.org")
    assert mail["Subject"] == f"{host.alias} has lost jobs"
    # a login is another matter, once for all tasks, too
    error = LoginNeeded("a person has to log in", host=host.alias, next_step="log in")
    for task in tasks:
        task.prepare_run().report_unreachable(error)
    assert [mail["Subject"] for mail in mails[1:]] == [f"{host.alias} needs a login"]
    assert "Next: log in" in mails[1].get_payload()[0].get_payload(decode=True).decode()
