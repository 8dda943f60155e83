"""Tokens are found where their services keep them, and shown nowhere."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from sdseg.core.credentials import KAGGLE, SYNAPSE, Credential, credential, hidden, redact
from sdseg.core.errors import UserError

VARIABLES = ("KAGGLE_API_TOKEN", "KAGGLE_USERNAME", "KAGGLE_KEY", "KAGGLE_CONFIG_DIR", "SYNAPSE_AUTH_TOKEN")


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
    (tmp_path / ".kaggle").mkdir()
    return tmp_path


def test_without_any_there_is_none(home: Path) -> None:
    assert credential(KAGGLE) is None
    assert credential(SYNAPSE) is None


def test_kaggle(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def expect(token: str, user: str | None = None) -> None:
        assert credential(KAGGLE) == Credential(token, user)

    (home / ".kaggle/kaggle.json").write_text('{"username": "me", "key": "from-json"}')
    expect("from-json", "me")
    (home / ".kaggle/access_token").write_text("from-file\n")
    expect("from-file")
    monkeypatch.setenv("KAGGLE_USERNAME", "you")
    monkeypatch.setenv("KAGGLE_KEY", "from-key")
    expect("from-key", "you")
    monkeypatch.setenv("KAGGLE_API_TOKEN", "from-variable")
    expect("from-variable")
    monkeypatch.setenv("KAGGLE_API_TOKEN", str(home / ".kaggle/access_token"))  # a path, as Kaggle's client has it
    expect("from-file")


def test_synapse(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (home / ".synapseConfig").write_text("[authentication]\nusername = me\nauthtoken = from%file\n")
    assert credential(SYNAPSE) == Credential("from%file")
    monkeypatch.setenv("SYNAPSE_AUTH_TOKEN", "from-variable")
    assert credential(SYNAPSE) == Credential("from-variable")


@pytest.mark.parametrize("text", ["{", "[]", '{"username": "me"}'])
def test_a_broken_file_is_named_and_not_quoted(home: Path, text: str) -> None:
    (home / ".kaggle/kaggle.json").write_text(text)
    with pytest.raises(UserError, match=r"(?s)of no use.*kaggle\.json"):
        credential(KAGGLE)
    (home / ".synapseConfig").write_text("authtoken s3cr3t without section")
    with pytest.raises(UserError, match=r"(?s)of no use.*synapseConfig") as caught:
        credential(SYNAPSE)
    assert "s3cr3t" not in str(caught.value)
    assert caught.value.__cause__ is None


def test_a_credential_does_not_show_itself() -> None:
    assert "s3cr3t" not in repr(Credential("s3cr3t", "me"))


def test_redact() -> None:
    assert redact("token abc in https://x/y?X-Sig=1&b=2 and abc", ("abc",)) == "token *** in https://x/y?… and ***"
    assert redact("is it? yes=no", ()) == "is it? yes=no"
    assert redact("ab and abc", ("ab", "abc", "")) == "*** and ***"


def test_no_log_of_any_library_shows_them(caplog: pytest.LogCaptureFixture) -> None:
    library = logging.getLogger("some.library")
    with caplog.at_level("DEBUG"):
        with hidden(("s3cr3t",)):
            library.debug("header %s to %s", "Bearer s3cr3t", "/x?signature=s3cr3t")
            library.warning("broken %d", "s3cr3t in a wrong format")
            try:
                raise ValueError("s3cr3t in an error")
            except ValueError:
                library.exception("failed")
        library.info("after: %s", "plain")
    assert "s3cr3t" not in caplog.text
    assert "ValueError: *** in an error" in caplog.text
    assert "header Bearer *** to /x?…" in caplog.text
    assert caplog.messages[-1] == "after: plain"
