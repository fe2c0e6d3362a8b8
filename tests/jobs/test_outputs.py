"""A success is what Luigi will see: the outputs exist where `complete()` looks for them."""

from __future__ import annotations

import luigi

from luigi_sshjob import RemoteJobTask
from luigi_sshjob.jobs.spec import Output


class Relative(RemoteJobTask):
    host = luigi.Parameter()
    folder = luigi.Parameter()

    def command(self):
        return f'echo run >>~/{self.folder}-ledger; pwd; echo x >"$SSHJOB_OUTPUT"'

    def output(self):
        return self.remote_target(f"{self.folder}-made/out")

    @property
    def base_dir(self):
        return self.folder


def test_relative_paths_are_below_the_home_even_if_an_rc_file_leaves_it(bench, build):
    host = bench.host
    saved = host.run("sh", "-c", "cat .bashrc 2>/dev/null || true")
    host.run("sh", "-c", "mkdir scratch && { echo 'cd ~/scratch'; cat; } >.bashrc", input=saved)
    try:
        for _ in range(3):
            assert build(Relative(host.alias, bench.folder))
        assert host.run("cat", f"{bench.folder}-ledger") == "run\n"
        assert host.run("cat", f"{bench.folder}-made/out") == "x\n"
        with Relative(host.alias, bench.folder).output().open() as made:
            assert made.read() == "x\n"
        assert host.run("ls", "scratch") == ""
    finally:
        host.run("sh", "-c", f"cat >.bashrc; rm -r scratch {bench.folder}-*", input=saved)


def test_an_output_that_existed_before_does_not_count_as_made(bench):
    there = f"{bench.folder}/there"
    outputs = (Output("SSHJOB_OUTPUT", f"~/{there}"),)
    for make, change in (
        (f"echo old >{there}", f"echo new >~/{there}"),
        (f"mkdir -p {there}/below && echo old >{there}/below/file", f"echo new >~/{there}/below/file"),
    ):
        bench.host.run("sh", "-c", f"mkdir -p {bench.folder} && rm -rf {there} && {make}")
        outcome, _ = bench.run("true", outputs=outputs)
        assert outcome.state == "failed"
        assert "existed before, and was not changed" in outcome.reason
        assert bench.run(change, outputs=outputs)[0].succeeded
