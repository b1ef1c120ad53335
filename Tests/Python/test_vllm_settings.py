"""Settings of the vLLM connector, its counters, and what it says of them."""

from __future__ import annotations

import pathlib
import pickle
import subprocess
import sys
from typing import Any

import pytest

from kdn.engines.vllm.metadata import ChunkLoad, RequestLoad, StepPlan, StepReport
from kdn.engines.vllm.settings import Settings
from kdn.engines.vllm.stats import MEANINGS, Counts, summed
from kdn.errors import FieldError


def test_without_settings_the_defaults_hold() -> None:
    assert Settings.of({}, {}) == Settings(address="127.0.0.1:9440")
    assert Settings.of({"other_connector": 1}, {}) == Settings()


def test_the_environment_names_the_server_unless_a_setting_does() -> None:
    environment = {"KDN_ADDRESS": "cache:9440"}
    assert Settings.of({}, environment).address == "cache:9440"
    assert Settings.of({"kdn_address": "near:1"}, environment).address == "near:1"


def test_files_for_tls_reach_the_client_and_belong_to_a_tls_address(tmp_path: pathlib.Path) -> None:
    given = {"kdn_address": "tls://cache:9443", "kdn_ca": str(tmp_path / "none.pem")}
    with pytest.raises(FieldError, match="ca"):
        Settings.of(given, {}).client()
    with pytest.raises(FieldError, match="ca"):
        Settings.of({"kdn_ca": "ca.pem"}, {}).client()


@pytest.mark.parametrize("fidelity", [None, "exact", "high", "balanced", "small", "archive"])
def test_the_fidelity_reaches_the_client(fidelity: str | None) -> None:
    with Settings.of({"kdn_fidelity": fidelity}, {}).client() as client:
        assert client.fidelity == fidelity
    with pytest.raises(FieldError, match="fidelity"):
        Settings.of({"kdn_fidelity": "best"}, {})


def test_a_deadline_is_a_number_and_excludes_loads_by_layer() -> None:
    settings = Settings.of({"kdn_deadline": "0.25", "kdn_prefill_rate": 9000}, {})
    assert (settings.deadline, settings.prefill_rate) == (0.25, 9000.0)
    assert not settings.takes_layers and Settings().takes_layers
    assert not Settings.of({"kdn_fidelity": "small"}, {}).takes_layers
    for wrong in ({"kdn_deadline": 0}, {"kdn_deadline": "soon"}, {"kdn_prefill_rate": 10}):
        with pytest.raises(FieldError, match="kdn_"):
            Settings.of(wrong, {})


@pytest.mark.parametrize("link", ["auto", "tcp", "unix", "shm", "rdma"])
def test_the_link_reaches_the_client(link: str) -> None:
    with Settings.of({"kdn_link": link}, {}).client() as client:
        assert client._dialler.choice == link
    with pytest.raises(FieldError, match="link"):
        Settings.of({"kdn_link": "tcp", "kdn_address": "unix:///run/kdn"}, {}).client()


def test_a_token_is_not_shown() -> None:
    assert "secret" not in repr(Settings.of({"kdn_token": "secret"}, {}))


def test_numbers_may_come_as_text() -> None:
    given = {"kdn_chunk_tokens": "128", "kdn_timeout": "2.5", "kdn_streams": 4.0}
    settings = Settings.of(given, {})
    assert (settings.chunk_tokens, settings.timeout, settings.streams) == (128, 2.5, 4)


@pytest.mark.parametrize(
    "wrong",
    [
        {"kdn_adress": "host:1"},
        {"kdn_chunk_tokens": 15},
        {"kdn_chunk_tokens": 4097},
        {"kdn_chunk_tokens": 100.5},
        {"kdn_chunk_tokens": True},
        {"kdn_chunk_tokens": "many"},
        {"kdn_load": "eager"},
        {"kdn_save": "none"},
        {"kdn_link": "ipc"},
        {"kdn_mode": "fast"},
        {"kdn_after_reset": "maybe"},
        {"kdn_timeout": 0},
        {"kdn_timeout": -1},
        {"kdn_lookup_timeout": float("nan")},
        {"kdn_lookup_timeout": 3601},
        {"kdn_streams": 0},
        {"kdn_save_queue_bytes": 0},
        {"kdn_namespace": 7},
        {"kdn_token": "t", "kdn_token_file": "f"},
        {"kdn_token_file": "/nonexistent/token"},
    ],
)
def test_a_wrong_setting_is_named(wrong: dict[str, Any]) -> None:
    with pytest.raises(FieldError) as error:
        Settings.of(wrong, {})
    assert error.value.field in wrong


def test_a_token_is_read_from_its_file(tmp_path: pathlib.Path) -> None:
    (tmp_path / "token").write_text("secret\n")
    assert Settings.of({"kdn_token_file": str(tmp_path / "token")}, {}).token == "secret"


def test_the_package_is_imported_without_vllm_and_torch() -> None:
    code = (
        "import sys, kdn.engines.vllm, kdn.engines.vllm.settings, kdn.engines.vllm.scheduler;"
        "assert not {'vllm', 'torch'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, env={"PYTHONPATH": ":".join(sys.path)})


def test_counts_are_taken_by_interval_and_kept_in_total() -> None:
    counts = Counts()
    counts.add("load_objects", 3)
    assert counts.take() == {"load_objects": 3}
    assert counts.take() == {}
    counts.add("load_objects")
    assert counts.take() == {"load_objects": 1}
    assert counts.total == {"load_objects": 4}


def test_a_cause_without_a_counter_of_its_own_is_another() -> None:
    counts = Counts()
    counts.add("lookup_purged")
    assert counts.total == {"lookup_other": 1}
    assert all(meaning.endswith(".") for meaning in MEANINGS.values())


def test_counts_of_ranks_add_up() -> None:
    assert summed({"a": 1, "b": 2}, {"b": 3, "c": 4}) == {"a": 1, "b": 5, "c": 4}


def test_a_plan_and_a_report_survive_the_way_to_another_process() -> None:
    load = RequestLoad("r", (0,), (ChunkLoad(bytes(32), (((1, 2),),)),), 5)
    plan = StepPlan(3, True, [load], [])
    assert pickle.loads(pickle.dumps(plan)) == plan
    report = StepReport(1, {3: 1}, {bytes(32): 1}).merged(StepReport(1, {3: 1}))
    assert (report.ranks, report.steps, report.stored) == (2, {3: 2}, {bytes(32): 1})
