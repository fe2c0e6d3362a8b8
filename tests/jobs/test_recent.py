"""The list of recently used hosts."""

from __future__ import annotations

import threading

from luigi_sshjob.jobs.recent import JobLocation, recent_locations, remember


def test_recent_locations_survive_many_threads_and_a_broken_file(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    (tmp_path / "luigi-sshjob").mkdir()
    (tmp_path / "luigi-sshjob" / "hosts.json").write_text("[{]")
    noted = [JobLocation(f"box{number}", "~/jobs") for number in range(15)]
    threads = [threading.Thread(target=remember, args=(place,)) for place in noted]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert set(recent_locations()) == set(noted)
    assert [path.name for path in (tmp_path / "luigi-sshjob").iterdir()] == ["hosts.json"]
