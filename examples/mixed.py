"""Count words on one host, compare the counts on another one, and write a local report.

The texts, which local tasks write, are copied to the first host, the counts from there to the second one, and its
result comes back. ``examples/quickstart.sh --mixed`` runs it on hosts of its own. To run it on yours, with luigi_sshjob
installed::

    PYTHONPATH=examples luigi --module mixed Report --first user@host --second user@other --local-scheduler

Without another host, ``--second localhost`` runs the last job on this machine.
"""

import luigi

from luigi_sshjob import RemoteJobTask

TEXTS = {
    "sea": "the old man and the sea\nthe sea is calm\n",
    "mountain": "the magic mountain\nhigh is the mountain\n",
}


class Text(luigi.Task):
    """A local file."""

    name = luigi.Parameter()
    directory = luigi.Parameter(default="mixed", significant=False)

    def output(self):
        return luigi.LocalTarget(f"{self.directory}/{self.name}.txt")

    def run(self):
        with self.output().open("w") as out:
            out.write(TEXTS[self.name])


class Count(RemoteJobTask):
    """Count each word, on the first host. The text is copied there, and the counts stay there."""

    name = luigi.Parameter()
    host = luigi.Parameter()
    directory = luigi.Parameter(default="mixed", significant=False)
    pause = luigi.IntParameter(default=0, description="seconds, as if the text were long", significant=False)

    def requires(self):
        return Text(self.name, self.directory)

    def command(self):
        return rf"""
set -eu
echo "50 counting words" > "$SSHJOB_PROGRESS"
sleep {self.pause}
tr -s " " "\n" < "$SSHJOB_INPUT" | sort | uniq -c > "$SSHJOB_OUTPUT"
echo "100 done" > "$SSHJOB_PROGRESS"
"""

    def output(self):
        return self.remote_target(f"luigi_sshjob_mixed/{self.name}.counts")


class Compare(RemoteJobTask):
    """Find the words of both texts, on the second host. The counts are copied there, and the result comes back."""

    first = luigi.Parameter()
    host = luigi.Parameter()
    directory = luigi.Parameter(default="mixed", significant=False)

    def requires(self):
        return {name: Count(name, self.first, self.directory) for name in TEXTS}

    def command(self):
        both = "NR == FNR { count[$2] = $1; next } $2 in count { print $1 + count[$2], $2 }"
        return f"""awk '{both}' "$SSHJOB_INPUT_SEA" "$SSHJOB_INPUT_MOUNTAIN" | sort -rn >"$SSHJOB_OUTPUT" """

    def output(self):
        return luigi.LocalTarget(f"{self.directory}/both.txt")


class Report(luigi.Task):
    """A local report."""

    first = luigi.Parameter()
    second = luigi.Parameter(default="localhost")
    directory = luigi.Parameter(default="mixed", significant=False)

    def requires(self):
        return Compare(self.first, self.second, self.directory)

    def output(self):
        return luigi.LocalTarget(f"{self.directory}/report.txt")

    def run(self):
        with self.input().open() as words, self.output().open("w") as out:
            out.write("Words of both texts:\n")
            for line in words:
                count, word = line.split()
                out.write(f"  {count:>3}  {word}\n")
