"""Settings from the extra config and the environment, and names of weights."""

from __future__ import annotations

import pytest

from kdn.engines.sglang.identity import weights_name
from kdn.engines.sglang.settings import Settings
from kdn.errors import FieldError


def test_the_environment_gives_what_the_config_does_not(tmp_path):
    token = tmp_path / "token"
    token.write_text("from-file\n")
    environment = {
        "KDN_ADDRESS": "env:1", "KDN_NAMESPACE": "env-space", "KDN_TOKEN_FILE": str(token),
    }  # fmt: skip
    given = Settings.of({"kdn_address": "config:2", "kdn_timeout": "3"}, environment)
    assert (given.address, given.namespace, given.token) == ("config:2", "env-space", "from-file")
    assert (given.timeout, given.interface_v1) == (3.0, False)
    assert Settings.of({"kdn_token": "own", "interface_v1": 1}, environment).token == "own"
    assert Settings.of(None, {}) == Settings()
    assert Settings.of({"kdn_link": "shm"}, {}).link == "shm"
    with pytest.raises(FieldError, match="kdn_link"):
        Settings.of({"kdn_link": "ipc"}, {})


def test_a_folder_is_named_by_what_it_holds_and_not_by_its_place(tmp_path):
    for name in ("a", "b", "c", "d"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.json").write_text("{}")
        (tmp_path / name / "model.safetensors").write_bytes(bytes(1000))
        (tmp_path / name / "README.md").write_text(name)
    (tmp_path / "c" / "model.safetensors").write_bytes(bytes(999) + b"\1")
    (tmp_path / "d" / "config.json").write_text('{"rope_theta": 1}')
    names = [weights_name(str(tmp_path / name)) for name in "abcd"]
    assert names[0] == names[1]
    assert len(set(names)) == 3
    (tmp_path / "a" / "model.safetensors").rename(tmp_path / "a" / "other.safetensors")
    assert weights_name(str(tmp_path / "a")) not in names


def test_a_hub_repository_is_named_by_the_commit_that_the_cache_holds(tmp_path):
    repository = tmp_path / "models--some--model"
    commit = "0123456789abcdef0123456789abcdef01234567"
    snapshot = repository / "snapshots" / commit
    snapshot.mkdir(parents=True)
    (snapshot / "config.json").write_text("{}")
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text(commit)
    assert weights_name("some/model", None, str(tmp_path)) == f"some/model@{commit}"
    assert weights_name("some/model", commit, str(tmp_path)) == f"some/model@{commit}"
    for unknown in (("some/other", None), ("some/model", "v2"), ("not a repository", None)):
        with pytest.raises(FieldError, match="kdn_model_name"):
            weights_name(*unknown, str(tmp_path))


def test_a_folder_without_weights_has_no_name(tmp_path):
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(FieldError, match="weight files"):
        weights_name(str(tmp_path))
