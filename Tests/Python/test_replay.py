"""`kdn bench replay`: scores against a second implementation, and traces that are refused."""

from __future__ import annotations

import json
import os
import pathlib
import random
import subprocess

import pytest
from conftest import ROOT
from replay_reference import Requests, Score, belady, lru, segments

FAILED, USAGE = 2, 64
PAGE = 4096
# A record is the block and a page; behind three pages of header, footer and trailer five fit.
BLOCK = 8 * PAGE
RECORDS = 5
SEGMENT = (3 + 9 * RECORDS) * PAGE + 512 * RECORDS


def binary() -> str:
    """The kdn that the environment variable KDN names, or the one that was built last."""
    if "KDN" in os.environ:
        return os.environ["KDN"]
    built = [ROOT / ".build" / build / "kdn" for build in ("release", "debug")]
    found = [path for path in built if path.exists()]
    assert found, "no kdn: build it, or name one in the environment variable KDN"
    return str(found[0])


def replay(trace: str | bytes, *flags: str) -> subprocess.CompletedProcess[bytes]:
    text = trace if isinstance(trace, bytes) else trace.encode()
    return subprocess.run(
        [binary(), "bench", "replay", "-", *flags], input=text, capture_output=True, timeout=60
    )


def chains(seed: int, requests: int = 220) -> Requests:
    """Requests that share prefixes: most go on from, or branch off, one before; few are new."""
    choose = random.Random(seed)
    made: Requests = []
    blocks = 0
    for _ in range(requests):
        earlier = choose.choice(made[-40:]) if made and choose.random() < 0.8 else []
        kept = earlier[: choose.randint(0, len(earlier))] if choose.random() < 0.5 else earlier
        more = choose.randint(0 if kept else 1, 6)
        made.append([*kept, *range(blocks, blocks + more)])
        blocks += more
    return made


def text_of(requests: Requests, names: random.Random) -> str:
    """As JSON lines; ids are any numbers of 64 bits, not those that count up."""
    ids: dict[int, int] = {}
    lines = []
    for place, request in enumerate(requests):
        for block in request:
            ids.setdefault(block, names.getrandbits(64))
        line = {
            "timestamp": 40 * place,
            "input_length": 512 * len(request),
            "output_length": 3,
            "hash_ids": [ids[block] for block in request],
        }
        lines.append(json.dumps(line))
    return "\n".join(lines) + "\n"


def scores(trace: str, segment_count: int, *flags: str) -> dict[str, Score]:
    result = replay(
        trace, "--json", "--block-bytes", str(BLOCK), "--segment", str(SEGMENT),
        "--capacity", str(segment_count * SEGMENT), *flags,
    )
    assert result.returncode == 0, result.stderr.decode()
    lines = [json.loads(line) for line in result.stdout.splitlines()]
    return {
        line["policy"]: Score(line["blocks_hit"], line["blocks_stored"], line["blocks_written"])
        for line in lines
        if line["kind"] == "replay"
    }


@pytest.mark.parametrize("segment_count", [4, 7, 20])
@pytest.mark.parametrize("seed", range(6))
def test_scores_are_those_of_a_second_implementation(seed, segment_count):
    requests = chains(seed)
    found = scores(text_of(requests, random.Random(seed)), segment_count)
    blocks = segment_count * SEGMENT // BLOCK
    assert found["LRU"] == lru(requests, blocks)
    assert found["Belady"] == belady(requests, blocks)
    log = (requests, segment_count, RECORDS)
    assert found["FIFO"] == segments(*log, reinserts=False)
    assert found["reinsertion"] == segments(*log, reinserts=True)
    assert found["reinsertion"].written > found["reinsertion"].stored


@pytest.mark.parametrize("saved", [0, 1, 9])
def test_savings_of_the_allowance_are_those_asked_for(saved):
    requests = chains(99)
    found = scores(text_of(requests, random.Random(9)), 8, "--saved-segments", str(saved))
    expected = segments(requests, 8, RECORDS, reinserts=True, saved=saved)
    assert found["reinsertion"] == expected


def test_all_policies_hit_alike_when_nothing_has_to_go():
    requests = chains(7)
    found = scores(text_of(requests, random.Random(7)), 400)
    blocks = {block for request in requests for block in request}
    hits = {score.hit for score in found.values()}
    assert hits == {lru(requests, len(blocks)).hit}
    for name in ("reinsertion", "FIFO", "LRU", "S3-FIFO"):
        assert found[name].stored == found[name].written == len(blocks)


def test_s3_fifo_lets_a_scan_pass_that_empties_lru():
    """Blocks used again and again, each followed by many that are used once."""
    hot = [[block] for block in range(10)]
    requests: Requests = hot * 3
    fresh = 1000
    for _ in range(30):
        requests += [[fresh + place] for place in range(60)]
        fresh += 60
        requests += hot
    found = scores(text_of(requests, random.Random(1)), 10)
    # The ten blocks are hit twice at first by both, and by S3-FIFO in each of the rounds after.
    assert found["LRU"].hit == 20
    assert found["S3-FIFO"].hit == 20 + 30 * 10


def test_default_capacities_are_fractions_of_all_blocks(tmp_path: pathlib.Path):
    path = tmp_path / "trace.jsonl"
    path.write_text(text_of([list(range(640))], random.Random(2)))
    result = subprocess.run(
        [binary(), "bench", "replay", str(path), "--json", "--block-bytes", str(BLOCK),
         "--segment", str(SEGMENT)],
        capture_output=True, timeout=60,
    )
    lines = [json.loads(line) for line in result.stdout.splitlines()]
    capacities = {line["capacity_bytes"] for line in lines if line["kind"] == "replay"}
    assert capacities == {640 * BLOCK // part for part in (16, 8, 4, 2)}
    assert lines[0]["blocks"] == lines[0]["blocks_asked"] == 640


def test_the_table_shows_what_json_tells():
    trace = text_of(chains(3), random.Random(3))
    flags = ("--block-bytes", str(BLOCK), "--segment", str(SEGMENT), "--capacity", "1MiB")
    table = [line.split() for line in replay(trace, *flags).stdout.decode().splitlines()[2:]]
    lines = [json.loads(line) for line in replay(trace, "--json", *flags).stdout.splitlines()[1:]]
    shown = [(row[1], float(row[2])) for row in table]
    assert shown == [(line["policy"], round(line["hit_ratio"], 4)) for line in lines]


@pytest.mark.parametrize(
    ("line", "field"),
    [
        ("", "line"),
        ("{", "line"),
        ("[]", "line"),
        ("7", "line"),
        ('{"hash_ids":[1]} 2', "line"),
        ('{"hash_ids":[18446744073709551616]}', "hash_ids"),
        ('{"timestamp":0}', "hash_ids"),
        ('{"hash_ids":null}', "hash_ids"),
        ('{"hash_ids":3}', "hash_ids"),
        ('{"hash_ids":{"a":1}}', "hash_ids"),
        ('{"hash_ids":[]}', "hash_ids"),
        ('{"hash_ids":[1,-1]}', "hash_ids"),
        ('{"hash_ids":[1,null]}', "hash_ids"),
        ('{"hash_ids":[1,1.5]}', "hash_ids"),
        ('{"hash_ids":[1,"2"]}', "hash_ids"),
        ('{"hash_ids":[1,1]}', "hash_ids"),
        ('{"hash_ids":[2]}', "hash_ids"),
        (json.dumps({"hash_ids": list(range(10, 10 + 65_537))}), "hash_ids"),
        ('{"hash_ids":[1],"x":"' + "y" * (1 << 20) + '"}', "line"),
        ("\udcff", "line"),
    ],
)
def test_a_line_that_is_none_is_refused_with_its_number(line, field):
    good = b'{"hash_ids":[1,2]}\n'
    result = replay(good + line.encode("utf-8", "surrogateescape") + b"\n" + good)
    assert result.returncode == FAILED
    assert result.stdout == b""
    message = result.stderr.decode()
    assert message.startswith(f"kdn: line 2: {field}: ")
    assert len(message.splitlines()) == 1


def test_a_trace_without_lines_and_a_missing_file_are_refused():
    assert replay("").returncode == FAILED
    missing = subprocess.run(
        [binary(), "bench", "replay", "/nowhere/at/all"], capture_output=True, timeout=60
    )
    assert missing.returncode == FAILED
    assert b"/nowhere/at/all" in missing.stderr


@pytest.mark.parametrize(
    "flags",
    [
        ("--capacity", "3MiB", "--segment", "1MiB", "--block-bytes", "4KiB"),
        ("--capacity", "8MiB", "--segment", "1MiB", "--block-bytes", "1MiB"),
        ("--capacity", "much"),
        ("--block-bytes", "0"),
        ("--segment", "32GiB"),
        ("--saved-segments", "-1"),
        ("--saved-segments", "1025"),
        ("--hot-uses", "-1"),
    ],
)
def test_sizes_that_make_no_cache_are_wrong_usage(flags):
    result = replay('{"hash_ids":[1,2]}\n', *flags)
    assert result.returncode == USAGE, result.stderr
    assert result.stdout == b""
