"""Hostile files and odd values get one line: the short form of tests/stress/attack.py."""

import sys

import attack
import pytest


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
@pytest.mark.parametrize(
    ("kind", "count"),
    [("pickles", 1), ("headers", 50), ("flags", 15), ("painter", 30), ("config", 4), ("lines", 12)],
)
def test_no_attack_gets_through(
    kind: str, count: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    command = ["attack.py", "--only", kind, "--count", str(count)]
    monkeypatch.setattr(sys, "argv", command)
    with pytest.raises(SystemExit) as leaving:
        attack.main()
    output = capsys.readouterr().out
    assert not leaving.value.code, output
    table = output.splitlines()[-1].split()
    assert table[0] == kind
    assert int(table[1]) >= count
