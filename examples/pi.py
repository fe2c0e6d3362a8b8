"""Estimate pi with many small jobs and one that merges their results, on a host or a cluster.

On a host, with luigi_sshjob installed::

    PYTHONPATH=examples luigi --module pi Pi --host user@host --local-scheduler --workers 8

On a cluster whose login node is the host, with one setting in Luigi's configuration::

    [sshjob]
    launcher = slurm

or ``sge``, or ``htcondor``.
"""

import luigi

from luigi_sshjob import RemoteJobTask


class Sample(RemoteJobTask):
    """Count how many random points of a square are inside its circle."""

    host = luigi.Parameter()
    directory = luigi.Parameter(default="luigi_sshjob_pi")
    seed = luigi.IntParameter()
    points = luigi.IntParameter(default=100_000)

    # only used on a cluster; add the options that yours requires: {"partition": "short", "account": "physics"}
    sbatch_options = {"mem": "50M", "time": "5"}
    sge_options = {"l": {"h_rt": 300}}
    condor_options = {"request_memory": "50M"}
    # up to this many jobs share a job array, because some sites limit submissions
    batch = 8

    def command(self):
        return f"""
set -eu
awk -v seed={self.seed} -v points={self.points} 'BEGIN {{
  srand(seed)
  for (i = 0; i < points; i++) if (rand() ^ 2 + rand() ^ 2 < 1) inside++
  print inside, points
}}' >"$SSHJOB_OUTPUT"
echo "sampled on $(uname -n)"
"""

    def output(self):
        return self.remote_target(f"{self.directory}/sample-{self.seed}-{self.points}")


class Pi(RemoteJobTask):
    """Merge all samples into one estimate."""

    host = luigi.Parameter()
    directory = luigi.Parameter(default="luigi_sshjob_pi")
    samples = luigi.IntParameter(default=8)
    sbatch_options = {"mem": "50M", "time": "5"}

    def requires(self):
        return [Sample(host=self.host, directory=self.directory, seed=seed) for seed in range(self.samples)]

    def command(self):
        counts = " ".join(target.path for target in self.input())
        merge = "{ inside += $1; points += $2 } END { print 4 * inside / points }"
        return f"awk '{merge}' {counts} >\"$SSHJOB_OUTPUT\""

    def output(self):
        return self.remote_target(f"{self.directory}/pi-{self.samples}")
