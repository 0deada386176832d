"""The list of releases, and the command line."""

from __future__ import annotations

from pathlib import Path

import pytest

from cellspec.errors import SpecError
from simulations.releases import command
from simulations.releases.release_list import read_list
from tests.releases.toy import LIST


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ('version = "2.0"', 'version = "1.0"', "release '1.0' is listed twice"),
        ('version = "2.0"', 'version = "../2"', "releases.1.version: "),
        ('name = "outer"', 'name = "inner"', "entry point 'inner' is listed twice"),
        ("public = true", "publik = true", "entry_points.1.publik: "),
        ('package = "toy"', "", "package: Field required"),
        ("[[entry_points]]", "[entry_points", "not TOML"),
    ],
)
def test_a_list_that_cannot_be_used_is_refused_in_one_line(
    tmp_path: Path, old: str, new: str, said: str
) -> None:
    listed = tmp_path / "toy.toml"
    listed.write_text(LIST.replace(old, new, 1))
    with pytest.raises(SpecError) as caught:
        read_list(listed)
    assert str(caught.value).startswith(f"{listed}: ")
    assert said in str(caught.value)


@pytest.mark.parametrize(
    "arguments",
    [["--release=9.9"], ["--door=back"], ["--entry-point=back"], ["/nowhere/list.toml"]],
)
def test_a_command_line_that_cannot_be_used_ends_with_2(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert command.main(arguments) == 2
    assert len(capsys.readouterr().err.splitlines()) == 1


def test_a_list_may_still_call_its_entry_points_doors(tmp_path: Path) -> None:
    new, old = tmp_path / "new.toml", tmp_path / "old.toml"
    new.write_text(LIST)
    old.write_text(LIST.replace("[[entry_points]]", "[[doors]]"))
    assert read_list(old) == read_list(new)
