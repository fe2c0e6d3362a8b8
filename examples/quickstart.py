"""Count the words of some licences on a remote host, merge the counts there, and write a local report.

``examples/quickstart.sh`` runs it on its own host. To run it on your host, with luigi_sshjob installed::

    PYTHONPATH=examples luigi --module quickstart Report --host user@host --local-scheduler --workers 3
"""

import shlex

import luigi

from luigi_sshjob import RemoteJobTask

LICENCES = "/usr/share/common-licenses"  # on every Debian and Ubuntu machine


def shell_path(path):
    """Quote a path for the shell, except a leading ``~/``."""
    if path.startswith("~/"):
        return "~/" + shlex.quote(path[2:])
    return shlex.quote(path)


class LicenceJob(RemoteJobTask):
    """Base class of both jobs: the host, and the directory of results and job records."""

    # where a job runs does not change its result; insignificant parameters are not in its name
    host = luigi.Parameter(significant=False)
    directory = luigi.Parameter(significant=False)
    environment = {"LC_ALL": "C"}

    @property
    def base_dir(self):
        return f"{self.directory}/.luigi-sshjob"


class WordCount(LicenceJob):
    """Count each word of one licence: lines of ``count word``."""

    licence = luigi.Parameter()
    pause = luigi.IntParameter(significant=False)

    def command(self):
        return rf"""
set -eu
text={LICENCES}/{shlex.quote(self.licence)}
if [ ! -r "$text" ]; then
  echo "cannot read $text on $(hostname): choose other files with --licences; this host has: $(ls {LICENCES} 2>&1)" >&2
  exit 66
fi
for part in 1 2 3 4 5; do
  echo "part $part of 5" >&2
  echo "$((20 * part - 20)) part $part of 5" > "$SSHJOB_PROGRESS"
  awk "NR % 5 == $part - 1" "$text" | tr A-Z a-z | tr -cs a-z '\n' | sed '/^$/d'
  sleep {self.pause}
done | sort | uniq -c > "$SSHJOB_OUTPUT"
echo "found $(wc -l < "$SSHJOB_OUTPUT") different words"
echo "100 done" > "$SSHJOB_PROGRESS"
"""

    def output(self):
        return self.remote_target(f"{self.directory}/{self.licence}.count")


class CommonWords(LicenceJob):
    """Merge the counts on the host: lines of ``count word`` with the most common words."""

    licences = luigi.ListParameter()
    letters = luigi.IntParameter(description="ignore words with fewer letters")
    top = luigi.IntParameter(description="number of words in the report")
    pause = luigi.IntParameter(significant=False)

    def requires(self):
        return [self.clone(WordCount, licence=licence) for licence in self.licences]

    def command(self):
        counts = " ".join(shell_path(target.path) for target in self.input())
        return rf"""
set -eu
set -- {counts}
echo "merging the counts of $# licences"
totals=$(awk -v files=$# '
  FNR == 1 {{
    progress = ENVIRON["SSHJOB_PROGRESS"]
    printf "%d merging %s\n", 100 * merged / files, FILENAME > progress
    close(progress)
    merged++
  }}
  length($2) >= {self.letters} {{ total[$2] += $1 }}
  END {{ for (word in total) print total[word], word }}
' "$@")
echo "$(echo "$totals" | wc -l) different words of {self.letters} letters or more"
echo "$totals" | sort -k1,1nr -k2 | head -n {self.top} > "$SSHJOB_OUTPUT"
echo "100 done" > "$SSHJOB_PROGRESS"
"""

    def output(self):
        return self.remote_target(f"{self.directory}/{self.task_id}.txt")


class Report(luigi.Task):
    """A local task that reads the remote result through its target."""

    host = luigi.Parameter(significant=False)
    directory = luigi.Parameter(
        default="~/luigi-sshjob-quickstart", description="directory on the host for all files", significant=False
    )
    licences = luigi.ListParameter(default=("GPL-3", "LGPL-2.1", "Apache-2.0", "MPL-2.0", "GFDL-1.3", "Artistic"))
    letters = luigi.IntParameter(default=5)
    top = luigi.IntParameter(default=10)
    pause = luigi.IntParameter(
        default=2, description="seconds for each fifth of a licence, as if it were long", significant=False
    )
    result = luigi.Parameter(default="common-words.txt", description="local file of the report")

    def requires(self):
        return self.clone(CommonWords)

    def run(self):
        with self.input().open("r") as remote:
            rows = [line.split() for line in remote]
        files = shlex.join(self.licences)
        with self.output().open("w") as report:
            report.write(f"The {len(rows)} most common words of {self.letters} letters or more in ")
            report.write(f"{len(self.licences)} licences:\n\n")
            for count, word in rows:
                report.write(f"{count:>8}  {word}\n")
            report.write("\nTo check one count by hand, on a machine with the same files:\n\n")
            report.write(f"    cd {LICENCES}\n    cat {files} |\n")
            report.write(f"      tr -cs A-Za-z '\\n' | grep -cix {rows[0][1]}\n")

    def output(self):
        return luigi.LocalTarget(self.result)
