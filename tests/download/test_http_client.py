"""Fetching from a server that breaks off, lies, redirects and sends pages."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from sdseg.core.errors import UserError
from sdseg.download.accounts import Address
from sdseg.download.http_client import Patience, fetch
from tests.helpers.download_site import DATA, Answer, Handler, Site, page, redirect, serve, status

SHA256 = "sha256:" + hashlib.sha256(DATA).hexdigest()
MD5 = "md5:" + hashlib.md5(DATA).hexdigest()
QUICK = Patience(attempts=4, pause=0.01, longest=0.05, connect=2, read=2)


def get(
    site: Site, target: Path, *answers: Answer, checksum: str | None = SHA256, size: int | None = None
) -> str | None:
    site.answers["/data.zip"] = list(answers)
    return fetch(
        lambda: Address(f"{site.url}/data.zip?key=secret"), target, size=size, checksum=checksum, patience=QUICK
    )


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return tmp_path / "hérunter geladen" / "data.zip"


def left_over(target: Path) -> list[str]:
    return sorted(path.name for path in target.parent.iterdir()) if target.parent.exists() else []


@pytest.mark.parametrize("checksum", [SHA256, MD5, None])
def test_a_file_arrives_whole_and_leaves_nothing_beside_it(site: Site, target: Path, checksum: str | None) -> None:
    assert get(site, target, serve(), checksum=checksum, size=len(DATA)) == checksum
    assert target.read_bytes() == DATA
    assert left_over(target) == ["data.zip"]
    assert site.ranges == [None]


def test_a_broken_connection_is_resumed_where_it_broke(site: Site, target: Path) -> None:
    get(site, target, serve(cut=30_000), serve(cut=30_000), serve())
    assert target.read_bytes() == DATA
    assert site.ranges == [None, "bytes=30000-", "bytes=60000-"]
    assert [each.headers.get("If-Range") for each in site.asked] == [None, '"one"', '"one"']


def test_a_later_run_continues_what_an_earlier_one_left(site: Site, target: Path) -> None:
    with pytest.raises(UserError, match=r"(?s)in 4 attempts; the last one: .*50,000 bytes are kept and continued from"):
        get(site, target, serve(cut=50_000), status(503))
    assert left_over(target) == ["data.zip.part", "data.zip.part.json"]
    site.asked.clear()
    get(site, target, serve())
    assert target.read_bytes() == DATA
    assert site.ranges == ["bytes=50000-"]


def test_a_complete_part_needs_no_further_request(site: Site, target: Path) -> None:
    with pytest.raises(UserError, match="not the file expected"):
        get(site, target, serve(), checksum="sha256:" + "0" * 64)
    with pytest.raises(UserError, match="attempts"):
        get(site, target, serve(cut=len(DATA) - 1), status(503))
    with (target.parent / "data.zip.part").open("ab") as stream:
        stream.write(DATA[-1:])
    site.asked.clear()
    get(site, target, serve())
    assert site.asked == []
    assert target.read_bytes() == DATA


def test_a_file_that_changed_in_between_is_started_anew(site: Site, target: Path) -> None:
    new = DATA[::-1]
    wanted = "sha256:" + hashlib.sha256(new).hexdigest()
    get(site, target, serve(cut=30_000), serve(new, etag='"two"'), checksum=wanted)
    assert target.read_bytes() == new


@pytest.mark.parametrize("wrong", ["bytes 0-102399/102400", "bytes 30000-102398/102399", "nonsense"])
def test_a_part_that_does_not_fit_is_not_put_behind(site: Site, target: Path, wrong: str) -> None:
    get(site, target, serve(cut=30_000), status(206, Content_Range=wrong, ETag='"one"'), serve())
    assert target.read_bytes() == DATA
    assert site.ranges == [None, "bytes=30000-", None]


def test_a_server_without_ranges_starts_from_the_first_byte(site: Site, target: Path) -> None:
    get(site, target, serve(cut=30_000, ranges=False), serve(ranges=False))
    assert target.read_bytes() == DATA
    with pytest.raises(UserError, match="in 4 attempts"):  # and breaking off at one byte each time is no progress
        get(site, target.with_name("other"), serve(cut=30_000, ranges=False))


def test_progress_gives_new_patience(site: Site, target: Path) -> None:
    get(site, target, *[serve(cut=10_000)] * 10, serve())  # more breaks than attempts
    assert target.read_bytes() == DATA


@pytest.mark.parametrize("code", [429, 500, 502, 503, 504])
def test_a_server_in_trouble_is_asked_again(site: Site, target: Path, code: int) -> None:
    get(site, target, status(code), status(code), serve())
    assert target.read_bytes() == DATA
    assert len(site.asked) == 3


def test_pauses_grow_and_a_server_may_ask_for_one(site: Site, target: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pauses: list[float] = []
    monkeypatch.setattr("sdseg.download.http_client.time.sleep", pauses.append)
    site.answers["/data.zip"] = [status(503), status(503), status(503, Retry_After="7"), status(503), serve()]
    patience = Patience(attempts=6, pause=1, longest=6)
    fetch(lambda: Address(f"{site.url}/data.zip"), target, patience=patience)
    assert pauses == [1, 2, 6, 6]  # 7 was asked for, 8 comes next: both held to the longest


@pytest.mark.parametrize("code", [400, 404, 410])
def test_what_is_not_there_is_asked_for_once(site: Site, target: Path, code: int) -> None:
    with pytest.raises(UserError, match=f"the server answered {code}"):
        get(site, target, status(code))
    assert len(site.asked) == 1
    assert not target.exists()


def test_what_is_forbidden_is_said(site: Site, target: Path) -> None:
    with pytest.raises(UserError, match="the server forbids it"):
        get(site, target, status(403))


def test_an_address_that_expired_is_asked_for_anew(site: Site, target: Path) -> None:
    site.answers |= {"/old": [serve(cut=30_000), status(403)], "/new": [serve()]}
    given = iter(["old", "new"])
    fetch(lambda: Address(f"{site.url}/{next(given)}"), target, checksum=SHA256, patience=QUICK)
    assert target.read_bytes() == DATA
    assert [each.path for each in site.asked] == ["/old", "/old", "/new"]
    assert site.ranges[-1] == "bytes=30000-"


@pytest.mark.parametrize(
    "answer", [page(), page(kind="application/zip"), page(b"\n <HTML>", "application/octet-stream")]
)
def test_a_page_instead_of_a_file_is_refused(site: Site, target: Path, answer: Answer) -> None:
    with pytest.raises(UserError, match=r"a web page instead of 'data\.zip'"):
        get(site, target, answer, checksum=None)
    assert not any(path.stat().st_size for path in target.parent.iterdir())
    assert len(site.asked) == 1


def test_a_redirect_is_followed_and_one_to_a_login_is_refused(site: Site, target: Path) -> None:
    site.answers |= {"/moved": [serve()], "/login": [page()]}
    get(site, target, redirect("/moved"))
    assert target.read_bytes() == DATA
    with pytest.raises(UserError, match=r"(?s)a web page instead.*/login"):
        get(site, target.with_name("other"), redirect("/login"))
    with pytest.raises(UserError, match="redirects"):
        get(site, target.with_name("other"), redirect("/data.zip"))


def test_wrong_bytes_are_thrown_away(site: Site, target: Path) -> None:
    with pytest.raises(UserError, match=r"(?s)not the file expected: sha256:[0-9a-f]{64} instead of sha256:"):
        get(site, target, serve(DATA[:-1] + b"?"))
    assert left_over(target) == []


def test_bytes_of_another_file_left_by_an_earlier_run_do_not_stay(site: Site, target: Path) -> None:
    wrong = b"?" * len(DATA)
    with pytest.raises(UserError, match="attempts"):
        get(site, target, serve(wrong, cut=30_000), status(503))
    get(site, target, serve())  # the same validator, as of a careless server
    assert target.read_bytes() == DATA


def test_a_truncated_file_is_told_by_its_length(site: Site, target: Path) -> None:
    with pytest.raises(UserError, match=r"has 50,000 bytes where 102,400 were expected: cut short"):
        get(site, target, serve(DATA[:50_000]), checksum=None, size=len(DATA))
    assert left_over(target) == []


def test_the_owners_checksum_wins_over_the_registrys(site: Site, target: Path) -> None:
    site.answers["/data.zip"] = [serve()]
    found = fetch(lambda: Address(f"{site.url}/data.zip", len(DATA), MD5), target, checksum="md5:" + "0" * 32)
    assert found == MD5


def test_no_server_at_all(target: Path) -> None:
    gone = Site()
    gone.shutdown()
    gone.server_close()
    with pytest.raises(UserError, match=r"(?s)the connection failed \(ConnectionError\).*check the network"):
        fetch(lambda: Address(f"{gone.url}/data.zip"), target, patience=QUICK)


def test_the_query_of_an_address_is_never_shown(site: Site, target: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("INFO", logger="sdseg"), pytest.raises(UserError, match="attempts") as caught:
        get(site, target, status(503))
    assert "attempt 2" in caplog.text
    assert "secret" not in caplog.text + str(caught.value)


@pytest.mark.parametrize("old", [b"", b"{", b'{"validator": 3}', b'{"validator": "x", "total": 5}'])
def test_a_part_whose_note_is_of_no_use_is_started_anew(site: Site, target: Path, old: bytes) -> None:
    target.parent.mkdir(parents=True)
    (target.parent / "data.zip.part").write_bytes(b"?" * 1000)
    (target.parent / "data.zip.part.json").write_bytes(old)
    get(site, target, serve())
    assert site.ranges == [None]
    assert target.read_bytes() == DATA


def test_a_full_disk_is_told(site: Site, target: Path) -> None:
    if not Path("/dev/full").exists():
        pytest.skip("no /dev/full here")
    target.parent.mkdir(parents=True)
    (target.parent / "data.zip.part").symlink_to("/dev/full")
    (target.parent / "data.zip.part.json").write_text('{"validator": "", "total": 102400}')
    with pytest.raises(UserError, match=r"(?s)cannot write: No space left on device.*data\.zip\.part.*make room"):
        get(site, target, serve())


def test_more_than_the_disk_holds_is_not_begun(site: Site, target: Path) -> None:
    huge = 1 << 60
    with pytest.raises(UserError, match=r"needs 1,152,921,504,606,846,976 bytes more; [\d,]+ are free"):
        get(site, target, lambda handler: handler.begin(200, huge))


def test_a_folder_that_cannot_be_written(site: Site, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match=r"(?s)cannot write: .*file.*choose a folder you may write to"):
        get(site, tmp_path / "file" / "data.zip", serve())
    if os.geteuid() != 0:  # root may write everywhere
        (tmp_path / "locked").mkdir(mode=0o555)
        with pytest.raises(UserError, match="cannot write: Permission denied"):
            get(site, tmp_path / "locked" / "data.zip", serve())
    assert site.asked == []


def test_killed_in_the_middle_it_is_continued(site: Site, target: Path) -> None:
    slow, stop = b"x" * 3_000_000, threading.Event()

    def hang(handler: Handler) -> None:
        stop.wait(30)

    site.answers["/data.zip"] = [serve(slow, cut=1_500_000), hang]
    code = (
        "import sys; from pathlib import Path\n"
        "from sdseg.download.accounts import Address\nfrom sdseg.download.http_client import Patience, fetch\n"
        "fetch(lambda: Address(sys.argv[1]), Path(sys.argv[2]), patience=Patience(pause=0.01))"
    )
    words = [sys.executable, "-c", code, f"{site.url}/data.zip", str(target)]
    process = subprocess.Popen(words)
    while len(site.asked) < 2 and process.poll() is None:
        time.sleep(0.02)
    process.kill()
    process.wait()
    stop.set()
    site.asked.clear()
    get(site, target, serve(slow), checksum="sha256:" + hashlib.sha256(slow).hexdigest())
    assert site.ranges == ["bytes=1500000-"]
    assert target.read_bytes() == slow
