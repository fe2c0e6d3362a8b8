"""The cache of inputs under each common /bin/sh: an entry is whole, is what its name says, and stays while used."""

from __future__ import annotations

import hashlib
import io
import tarfile

import pytest

from luigi_sshjob.jobs.inputs import CachedInput, HostInput
from luigi_sshjob.remote import quoting

NO_LINKS = 'ln() { return 1; }; cp() { [ "$1" != -Rl ] && command cp "$@"; }'
NO_SHA256 = "; ".join(f"{program}() {{ return 127; }}" for program in ("sha256sum", "shasum", "openssl", "sha256"))


def archive(**files: bytes) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.GNU_FORMAT) as tar:
        for name, content in files.items():
            entry = tarfile.TarInfo(f"./{name}")
            entry.size = len(content)
            tar.addfile(entry, io.BytesIO(content))
    return buffer.getvalue()


TREE = archive(a=b"two\n", b=b"three\n")


class Cache:
    """Sends content to a far side."""

    def __init__(self, far_side):
        self.far_side, self.host = far_side, far_side.host
        self.folder = f"{far_side.base}/cache"

    def send(self, content, suffix="", *, digest="", size=-1, before="true", token="a") -> str:
        """The response to a request for an entry, which is `name(content, suffix)`."""
        made = f"{self.folder}/.sshjob-tmp.x.1.1.{token}"
        self.host.run("sh", "-c", f"umask 077; mkdir -p {made} && cat >{made}/content", input=content)
        entry = self.name(content, suffix)
        words = self.far_side.base, entry, f"{made}/content", size if size >= 0 else len(content), digest or entry[:64]
        return self.far_side.call(
            (quoting.Word("eval"), before),
            (quoting.Word("cache_prepare"), self.far_side.base, entry),
            (quoting.Word("cache_add"), *map(str, words)),
        )

    @staticmethod
    def name(content: bytes, suffix: str = "") -> str:
        return hashlib.sha256(content).hexdigest() + suffix

    def names(self, folder: str = ".") -> list[str]:
        return self.host.run("ls", "-A", f"{self.folder}/{folder}").split()

    def remove(self, *names: str, before: str = "true") -> str:
        remove = quoting.Word("cache_remove"), self.far_side.base, *names
        return self.far_side.call((quoting.Word("eval"), before), remove)

    def send_tree(self) -> str:
        """An entry of a directory, made some time ago."""
        self.send(TREE, ".d")
        self.age(self.name(TREE, ".d"))
        return self.name(TREE, ".d")

    def age(self, entry: str) -> None:
        """As if it had been made some time ago: not every find(1) distinguishes times within a second."""
        self.host.run("find", f"{self.folder}/{entry}", "-exec", "touch", "-t", "200001010000", "{}", ";")
        self.host.run("touch", "-t", "200001010001", f"{self.folder}/{entry}/verified")


@pytest.fixture
def cache(far_side):
    return Cache(far_side)


def job_with(far_side, *inputs, command: str, before: tuple[str, ...] = ("true",)) -> str:
    return far_side.submit(command, before, inputs=inputs)


@pytest.mark.parametrize("links", ["hard links", "no hard links"])
def test_a_job_gets_files_and_directories_under_their_own_names(far_side, cache, links):
    cache.send(b"one\n")
    cache.send(archive(a=b"two\n", b=b"three\n"), ".d")
    cache.send(b"#!/bin/sh\necho four\n", ".x")
    name = "a 'b\n$(x).txt"
    directory = job_with(
        far_side,
        CachedInput("SSHJOB_INPUT_0", cache.name(b"one\n"), name),
        HostInput("SSHJOB_INPUT_1", far_side.base),
        CachedInput("SSHJOB_INPUT_2", cache.name(archive(a=b"two\n", b=b"three\n"), ".d"), "tree"),
        CachedInput("SSHJOB_INPUT_3", cache.name(b"#!/bin/sh\necho four\n", ".x"), "program"),
        command='cat "$SSHJOB_INPUT_0" "$SSHJOB_INPUT_2/a" "$SSHJOB_INPUT_2/b"; "$SSHJOB_INPUT_3"; '
        'echo "${SSHJOB_INPUT_0##*/}"; echo "$SSHJOB_INPUT_1"',
        before=("true",) if links == "hard links" else ("eval", quoting.quote(NO_LINKS)),
    )
    assert far_side.supervise(directory).succeeded
    log = far_side.host.run("cat", f"{directory}/log")
    assert log == f"one\ntwo\nthree\nfour\n{name}\n{far_side.base}\n"
    modes = far_side.host.run("stat", "-c", "%a", f"{directory}/inputs/0/{name}", f"{directory}/inputs/2/program")
    assert modes.split() == ["400", "500"]


def test_content_that_arrived_damaged_or_cut_never_becomes_an_entry(cache):
    assert "token part refused 0 incomplete-file" in cache.send(b"short", size=6)
    assert "token part refused 0 checksum-mismatch" in cache.send(b"other", digest=cache.name(b"another"))
    assert not [name for name in cache.names() if not name.startswith(".")]


def test_without_a_program_for_sha256_the_posix_cksum_is_compared(far_side, cache):
    assert "token part refused 0 no-checksum-program" in cache.send(b"content\n", before=NO_SHA256)
    if not far_side.host.run(*far_side.argv, "-c", "command -v cksum || true"):
        pytest.skip("this host has no cksum, either")
    assert "token part refused 0 checksum-mismatch" in cache.send(b"content\n", digest="1 8", before=NO_SHA256)
    cksum = far_side.host.run("sh", "-c", "cksum", input=b"content\n").strip()
    assert "refused" not in cache.send(b"content\n", digest=cksum, before=NO_SHA256)
    assert cache.name(b"content\n") in cache.names()


def test_sending_again_is_harmless(cache):
    for _ in range(2):
        response = cache.send(archive(a=b"x"), ".d")
        assert "refused" not in response
    assert "part lacking" not in response
    assert cache.names() == [cache.name(archive(a=b"x"), ".d")]


def test_an_entry_that_was_written_to_is_sent_again_and_jobs_keep_what_they_had(far_side, cache):
    cache.send(b"right\n")
    entry = cache.name(b"right\n")
    directory = job_with(far_side, CachedInput("SSHJOB_INPUT", entry, "x"), command='cat "$SSHJOB_INPUT"')
    content = f"{cache.folder}/{entry}/content"
    cache.host.run("sh", "-c", f"touch -t 200001010000 {cache.folder}/{entry}/verified; chmod u+w {content}")
    assert f"token part lacking 0 {entry}\n" in cache.send(b"right\n")
    assert cache.host.run("cat", content) == "right\n"
    assert cache.host.run("stat", "-c", "%h", content) == "1\n"
    assert far_side.supervise(directory).succeeded
    assert far_side.host.run("cat", f"{directory}/log") == "right\n"


@pytest.mark.parametrize("suffix", ["", ".d"])
def test_an_entry_is_removed_only_when_no_attempt_has_it(far_side, cache, suffix):
    content = archive(a=b"x") if suffix else b"x"
    cache.send(content, suffix)
    entry = cache.name(content, suffix)
    directory = job_with(far_side, CachedInput("SSHJOB_INPUT", entry, "x"), command='ls "$SSHJOB_INPUT"')
    assert "part removed" not in cache.remove(entry)
    assert far_side.supervise(directory).succeeded
    far_side.call((quoting.Word("job_collect"), directory, "a test"), (quoting.Word("job_discard"), directory))
    assert f"token part removed 0 {entry}\n" in cache.remove(entry)
    assert cache.names() == []


def test_a_job_whose_input_was_deleted_does_not_run(far_side, cache):
    cache.send(b"x")
    entry = cache.name(b"x")
    directory = job_with(far_side, CachedInput("SSHJOB_INPUT", entry, "x"), command="echo ran")
    far_side.host.run("rm", f"{directory}/inputs/0/x")
    outcome = far_side.supervise(directory)
    assert (outcome.state, outcome.exit_code) == ("failed", 126)
    assert outcome.reason == f"the input {directory}/inputs/0/x was deleted before the command started"


def test_a_claim_without_its_inputs_is_refused_before_anything_is_made(far_side, cache):
    cache.send(b"x")
    far_side.submit("true")
    entries = cache.name(b"x"), cache.name(b"y"), cache.name(b"z", ".d")
    words = "Other", "nohup", far_side.library.rpartition("/")[2], "0", "", "d", "s", "c", "e", ""
    pairs = [word for entry in entries for word in (entry, "name")]
    response = far_side.call((quoting.Word("job_submit"), far_side.base, *words, *pairs))
    assert [line for line in response.splitlines() if "part" in line] == [
        f"token part lacking 0 {entry}" for entry in entries[1:]
    ]
    assert far_side.host.run("ls", "-A", f"{far_side.base}/jobs").split() == [".used.Task", "Task"]


PROJECT = archive(program=b"#!/bin/sh\necho ran\n", file=b"x\n")


def with_project(far_side, cache, command: str, **options) -> str:
    cache.send(b"one\n")
    cache.send(PROJECT)
    inputs = [CachedInput("SSHJOB_INPUT", cache.name(b"one\n"), "one")]
    return far_side.submit(command, inputs=inputs, project=cache.name(PROJECT), working_directory="", **options)


def test_each_attempt_has_a_copy_of_the_project_that_it_may_change(far_side, cache):
    directory = with_project(
        far_side,
        cache,
        'cat "$SSHJOB_INPUT" file; sh program; echo changed >file; [ "$PWD" = "$SSHJOB_PROJECT" ] && echo here',
    )
    assert far_side.supervise(directory).succeeded
    assert far_side.host.run("cat", f"{directory}/log") == "one\nx\nran\nhere\n"
    assert far_side.host.run("cat", f"{directory}/project/file") == "changed\n"
    content = f"{cache.folder}/{cache.name(PROJECT)}/content"
    assert far_side.host.run("cat", content).encode() == PROJECT
    shown = far_side.call((quoting.Word("job_show"), directory))
    assert f"token part project 0 \n{directory}/project\n" in shown
    assert f"token part working_directory 0 \n{directory}/project\n" in shown


def test_a_requeued_attempt_gets_the_project_again(far_side, cache):
    directory = with_project(far_side, cache, "cat file; ls")
    # of a run that was killed while it extracted, or later
    far_side.host.run("sh", "-c", f"mkdir -p {directory}/project/sub; echo half >{directory}/project/sub/file")
    far_side.host.run("chmod", "-R", "a-w", f"{directory}/project")
    assert far_side.supervise(directory).succeeded
    assert far_side.host.run("cat", f"{directory}/log") == "x\nfile\nprogram\n"


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        ("rm {0}/inputs/1/project", "the project {0}/inputs/1/project was deleted before the command started"),
        (
            "chmod u+w {0}/inputs/1/project; echo x >{0}/inputs/1/project",
            "the project cannot be extracted in {0}/project: ",
        ),
    ],
)
def test_a_job_without_its_project_does_not_run(far_side, cache, damage, reason):
    directory = with_project(far_side, cache, "echo ran")
    far_side.host.run("sh", "-c", damage.format(directory))
    outcome = far_side.supervise(directory)
    assert (outcome.state, outcome.exit_code) == ("failed", 126)
    assert outcome.reason.startswith(reason.format(directory))
    assert "ran" not in far_side.host.run("cat", f"{directory}/log").splitlines()


def test_a_full_process_table_while_the_project_is_extracted_loses_nothing(far_side, cache):
    host, tools = far_side.host, f"{far_side.base}/tools"
    prlimit = host.run("sh", "-c", "command -v prlimit || true").strip()
    if not prlimit or host.run("id", "-u").strip() == "0":
        pytest.skip("the host has no prlimit, or root has no process limit")
    directory = with_project(far_side, cache, "ls")
    filling = f"""#!/bin/sh
        PATH=${{PATH#*:}}
        [ "$1" != project ] || [ -e {tools}/filled ] || {{
          limit=$({prlimit} --nproc --output=SOFT --noheadings --raw)
          {prlimit} --pid "$PPID" --nproc=0: && : >{tools}/filled
          {{ sleep 1; {prlimit} --pid "$PPID" --nproc="$limit": ; }} >/dev/null 2>&1 &
        }}
        exec mkdir "$@"
    """
    host.run("mkdir", tools)
    host.run("sh", "-c", f"cat >{tools}/mkdir && chmod 755 {tools}/mkdir", input=filling)
    path = host.run(*far_side.argv, "-c", 'echo "$PATH"').strip()
    environment = ["env", f"PATH={tools}:{path}", *far_side.argv[2 * (far_side.argv[0] == "env") :]]
    host.run("timeout", "40", *environment, f"{far_side.library}/supervise.sh", directory, "0022")
    assert host.run("ls", f"{tools}/filled")
    outcome = far_side.outcome(directory)
    assert outcome.succeeded, outcome.reason
    assert host.run("cat", f"{directory}/log") == "file\nprogram\n"


POISON = 'chmod u+w "{0}"; echo bad >"{0}"'


def test_a_claim_makes_one_link_for_a_directory_and_the_supervisor_the_others(far_side, cache):
    entry = cache.send_tree()
    directory = job_with(far_side, CachedInput("SSHJOB_INPUT", entry, "x"), command='cat "$SSHJOB_INPUT"/*')
    assert far_side.host.run("ls", "-A", f"{directory}/inputs") == "0.entry\n"
    shown = far_side.call((quoting.Word("job_show"), directory))
    assert f"token part input 0 SSHJOB_INPUT\n{directory}/inputs/0/x\n" in shown
    assert far_side.supervise(directory).succeeded
    assert far_side.host.run("cat", f"{directory}/log") == "two\nthree\n"
    links = far_side.host.run("stat", "-c", "%h", f"{directory}/inputs/0/x/a", f"{directory}/inputs/0.entry")
    assert links.split() == ["2", "2"]


def test_a_supervisor_copies_a_directory_where_cp_makes_no_links(far_side, cache):
    directory = job_with(far_side, CachedInput("SSHJOB_INPUT", cache.send_tree(), "x"), command='cat "$SSHJOB_INPUT"/*')
    far_side.host.run("sed", "-i", "s/cp -Rl/false/", f"{far_side.library}/supervise.sh")
    assert far_side.supervise(directory).succeeded
    assert far_side.host.run("cat", f"{directory}/log") == "two\nthree\n"
    assert far_side.host.run("stat", "-c", "%h", f"{directory}/inputs/0/x/a") == "1\n"


def test_a_requeued_attempt_gets_its_directories_again(far_side, cache):
    directory = job_with(far_side, CachedInput("SSHJOB_INPUT", cache.send_tree(), "x"), command='ls "$SSHJOB_INPUT"')
    partial = f"{directory}/inputs/0/x"
    far_side.host.run("sh", "-c", f"mkdir -p {partial}/sub; echo half >{partial}/sub/half; chmod -R a-w {partial}")
    assert far_side.supervise(directory).succeeded
    assert far_side.host.run("cat", f"{directory}/log") == "a\nb\n"


def test_a_tree_that_a_job_has_written_to_is_sent_again(far_side, cache):
    entry = cache.send_tree()
    directory = job_with(far_side, CachedInput("SSHJOB_INPUT", entry, "x"), command=POISON.format("$SSHJOB_INPUT/a"))
    assert far_side.supervise(directory).succeeded
    assert cache.host.run("cat", f"{cache.folder}/{entry}/content/a") == "bad\n"
    assert f"token part lacking 0 {entry}\n" in cache.send(TREE, ".d")
    assert cache.host.run("cat", f"{cache.folder}/{entry}/content/a") == "two\n"


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (POISON.format("{0}/content/a"), "the entry of the cache has changed: {0}/content/a"),
        ("rm -r {0}", "cp: "),
    ],
)
def test_a_tree_that_has_changed_since_the_claim_does_not_run(far_side, cache, damage, reason):
    entry = cache.send_tree()
    directory = job_with(far_side, CachedInput("SSHJOB_INPUT", entry, "x"), command="echo ran")
    far_side.host.run("sh", "-c", damage.format(f"{cache.folder}/{entry}"))
    outcome = far_side.supervise(directory)
    assert (outcome.state, outcome.exit_code) == ("failed", 126)
    reason = reason.format(f"{cache.folder}/{entry}")
    assert outcome.reason.startswith(f"the input {directory}/inputs/0/x cannot be linked: {reason}")
    assert "ran" not in far_side.host.run("cat", f"{directory}/log").splitlines()


FASTER = 'rename_over() { case $2 in */content) mkdir "$2"; why=x; return 1 ;; *) mv "$1" "$2" ;; esac; }'


@pytest.mark.parametrize("before", ["mkdir -p {0}/tree.99/x", "mkdir -p {0}/tree.$$/x", FASTER])
def test_an_entry_has_nothing_of_a_repeated_extraction(cache, before):
    before = before.replace("{0}", f"{cache.folder}/.sshjob-tmp.x.1.1.a")
    assert "refused" not in cache.send(TREE, ".d", before=before)
    assert cache.names(cache.name(TREE, ".d")) == ["content", "used", "verified"]


def test_an_entry_is_replaced_as_often_as_it_was_written_to(cache):
    entry = cache.send_tree()
    for token in "bc":
        cache.age(entry)
        cache.host.run("sh", "-c", POISON.format(f"{cache.folder}/{entry}/content/a"))
        assert "refused" not in cache.send(TREE, ".d", token=token)
        assert cache.host.run("cat", f"{cache.folder}/{entry}/content/a") == "two\n"
    assert cache.names() == [entry, f"{entry}.b", f"{entry}.c"]
    assert {tuple(cache.names(name)) for name in cache.names()} == {("content", "used", "verified")}


def test_an_entry_that_is_sent_again_during_its_removal_stays_as_it_is(cache):
    entry = cache.send_tree()
    sent = 'mkdir "$cache/${1##*/}" && true >"$cache/${1##*/}/new"'
    used = f"is_linked() {{ case $1 in */.stage.*) {sent} ;; *) return 1 ;; esac; }}"
    assert "part removed" not in cache.remove(entry, before=used)
    assert cache.names(entry) == ["new"]


@pytest.mark.parametrize("lost", ["", "verified", "used", "content"])
def test_an_entry_that_has_lost_a_file_is_listed_and_removed(far_side, cache, lost):
    entry = cache.send_tree()
    if lost:
        cache.host.run("rm", "-r", f"{cache.folder}/{entry}/{lost}")
    listed = far_side.call((quoting.Word("cache_list"), far_side.base))
    assert f" {entry}\n" in listed if lost == "used" else f" {entry}/used\n" in listed
    assert f"token part removed 0 {entry}\n" in cache.remove(entry)
    assert cache.names() == []


def test_without_a_stat_no_entry_is_listed_and_that_is_no_error(far_side, cache):
    cache.send_tree()
    lost = quoting.Word("eval"), "stat() { return 127; }"
    response = far_side.call(lost, (quoting.Word("cache_list"), far_side.base))
    assert response.rstrip().endswith("end 1 0")
    assert "used" not in response
