"""Files of pools that are too much for whoever reads them."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from astronomer_remote.api.pools.files import LARGEST_POOL_FILE, from_text, read
from astronomer_remote.api.protocol.errors import InvalidSettings


@pytest.mark.parametrize("ending", ["json", "yaml"])
def test_a_file_of_many_pools_with_a_duplicate_is_read_quickly(tmp_path: Path, ending: str) -> None:
    # To look each name up in a list of all took minutes.
    number = 100_000 if ending == "json" else 5_000
    names = [f'"pool_{index}": 1' for index in [*range(number), 7]]
    path = tmp_path / f"pools.{ending}"
    path.write_text(f"{{{', '.join(names)}}}")
    began = time.process_time()
    with pytest.raises(InvalidSettings, match="'pool_7' is declared twice"):
        read(path)
    assert time.process_time() - began < 10


def test_a_file_that_is_too_large_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "pools.json"
    path.write_text('{"p": 1}' + " " * (LARGEST_POOL_FILE - 8))
    assert [pool.name for pool in read(path)] == ["p"]
    path.write_text('{"p": 1}' + " " * (LARGEST_POOL_FILE - 7))
    with pytest.raises(InvalidSettings, match=r"pools.json is larger than 4194304 bytes"):
        read(path)


def test_a_path_that_is_no_file_does_not_block(tmp_path: Path) -> None:
    pipe = tmp_path / "pools.json"
    os.mkfifo(pipe)
    for path in (pipe, tmp_path):
        with pytest.raises(InvalidSettings, match="is not a file"):
            read(path)


@pytest.mark.parametrize("name", ["pools.json", "pools.yaml"])
def test_a_file_that_is_nested_too_deeply_is_an_error(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_text("[" * 5_000 + "]" * 5_000)
    with pytest.raises(InvalidSettings, match=r"is not (JSON|YAML)"):
        read(path)
    with pytest.raises(InvalidSettings, match="pools must be an object"):
        from_text("[" * 5_000 + "]" * 5_000)
