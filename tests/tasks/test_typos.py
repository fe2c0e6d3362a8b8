"""A name in a task or in the configuration that nothing reads is reported, with the name that was probably meant."""

from __future__ import annotations

import logging

import luigi
import pytest

from luigi_sshjob import RemoteJobTask, config
from luigi_sshjob.destination import Destination

from support.luigi_command import finished


def warnings_of(task: RemoteJobTask, caplog: pytest.LogCaptureFixture) -> list[str]:
    task.prepare_run()
    return [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]


class Declared(RemoteJobTask):
    host = "box"

    def command(self):
        return "true"


def test_a_misspelt_attribute_is_reported_once_with_the_right_spelling(luigi_cfg, caplog):
    class Misspelt(Declared):
        time_limt = 3600
        work_directory = luigi.Parameter(default="~")

    class Derived(Misspelt):
        pass

    assert warnings_of(Misspelt(), caplog) == [
        "Misspelt.time_limt is not read by luigi_sshjob: did you mean time_limit?",
        "Misspelt.work_directory is not read by luigi_sshjob: did you mean working_directory?",
    ]
    caplog.clear()
    assert warnings_of(Derived(), caplog) == []


def test_an_attribute_that_belongs_elsewhere_is_reported_with_its_place(luigi_cfg, caplog):
    class Elsewhere(Declared):
        key_file = "~/.ssh/cluster"
        max_sessions = 3

    option, setting = warnings_of(Elsewhere(), caplog)
    assert 'an option of the connection is written as ssh_options = {"key_file": …}' in option
    assert "it is a setting, so write it in [sshjob] or [sshjob.HOST]" in setting


def test_attributes_of_the_users_own_are_not_reported(luigi_cfg, caplog):
    class Own(Declared):
        port = luigi.IntParameter(default=5432)
        book = luigi.Parameter(default="moby-dick")
        chapters = ("one", "two")
        _hosts = ("box",)
        resources = {"gpu": 1}

    class Chosen(Declared):
        hosts = ("box", "rack")
        key_file = "id_box"

        @property
        def host(self):
            return self.hosts[0]

        @property
        def ssh_options(self):
            return {"username": "me"}

    assert warnings_of(Own(), caplog) == []
    assert warnings_of(Chosen(), caplog) == []


@pytest.mark.parametrize(
    ("section", "name", "misspelt"),
    [
        ("gpubx", "gpubox", True),
        ("GPUBox", "gpubox", True),
        ("box.example.org", "box", True),
        ("me@gpubox", "gpubox", True),
        ("me@gpubox", "you@gpubox", False),
        ("gpu1", "gpu2", False),
        ("node-a", "node-b", False),
        ("prod-gpu", "prod-cpu", False),
        ("10.0.0.1", "10.1.2.3", False),
        ("box.example.org", "box.other.org", False),
        ("archive", "gpubox", False),
    ],
)
def test_a_section_that_no_host_uses_is_misspelt_if_its_name_is_similar(luigi_cfg, section, name, misspelt):
    parser = luigi.configuration.get_config()
    parser.add_section(f"sshjob.{section}")
    parser.set(f"sshjob.{section}", "base_dir", "elsewhere")
    found = config.misspelt_section(Destination.parse(name, {}))
    assert found == (f"sshjob.{section}" if misspelt else None)


def test_a_section_that_another_host_uses_is_not_misspelt(luigi_cfg):
    parser = luigi.configuration.get_config()
    parser.add_section("sshjob.alphabox")
    parser.set("sshjob.alphabox", "base_dir", "elsewhere")
    assert config.misspelt_section(Destination.parse("alpabox", {}))
    assert config.get_settings("alphabox").base_dir == "elsewhere"
    assert config.misspelt_section(Destination.parse("alpabox", {})) is None


MODULE = """\
import luigi
from luigi_sshjob import RemoteJobTask

class Overridden(RemoteJobTask):
    host = luigi.Parameter()

    def command(self):
        return "true"

    def run(self):
        print("everything is done here")
"""


def test_a_run_that_never_submits_a_job_is_reported_in_luigis_log(host, start_luigi, tmp_path, monkeypatch):
    (tmp_path / "overridden.py").write_text(MODULE)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    text = finished(start_luigi("Overridden", "--module", "overridden", "--host", host.alias, "--local-scheduler"))
    assert "no job was submitted, because Overridden.run does not call super().run()" in text
