"""The manifest: provenance that adds up over interrupted attempts, and hashes that change when content does."""

import hashlib
import json
import struct
import subprocess
import sys
from pathlib import Path

import pytest

from raif import manifest as module
from raif.errors import InputError, StoreError
from raif.manifest import (
    ConstitutionEntry,
    InputEntry,
    Manifest,
    ModelEntry,
    SpentEntry,
    file_hash,
    git_revision,
    package_versions,
    weights_fingerprint,
)


def test_a_manifest_survives_its_file(tmp_path: Path) -> None:
    path = tmp_path / "manifest.json"
    manifest = Manifest.begin({"policy": "demo:policy", "train": {"dpo": {"beta": 0.1}}}, seed=3)
    manifest.constitution = ConstitutionEntry(name="demo", version="1", hash="ab")
    manifest.templates["compare"] = "cd"
    manifest.inputs["prompts.jsonl"] = InputEntry(sha256="ef", rows=7)
    manifest.models["judge"] = ModelEntry(spec="demo:judge", identity="demo:judge@1", details={"dtype": "float32"})
    manifest.update_stage("label", status="running", fingerprint="f", counts={"by reason": {"refusal": 2}})
    manifest.save(path)
    assert Manifest.load(path) == manifest
    assert json.loads(path.read_bytes())["raif"] == module.__version__
    assert list(tmp_path.iterdir()) == [path]


def test_what_is_no_manifest_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "manifest.json"
    with pytest.raises(InputError, match="is this a run folder"):
        Manifest.load(path)
    for content, words in (
        (b"{", "damaged"),
        (b"{}", "not a manifest of raif"),
        (b'{"raif": "1", "seed": "x"}', "seed"),
        (b"\xff", "damaged"),
    ):
        path.write_bytes(content)
        with pytest.raises(StoreError, match=words) as caught:
            Manifest.load(path)
        assert str(path) in str(caught.value)
    with pytest.raises(InputError):
        Manifest.load(tmp_path)


def test_keys_of_a_newer_raif_are_kept(tmp_path: Path) -> None:
    path = tmp_path / "manifest.json"
    path.write_bytes(b'{"raif": "9.0", "audit": {"n": 1}, "stages": {"x": {"status": "done", "watts": 3}}}')
    Manifest.load(path).save(path)
    saved = json.loads(path.read_bytes())
    assert (saved["audit"], saved["stages"]["x"]["watts"], saved["raif"]) == ({"n": 1}, 3, "9.0")


def test_a_stage_adds_up_over_its_attempts() -> None:
    manifest = Manifest()
    first = manifest.update_stage("label", status="running", fingerprint="f")
    began = first.started
    first.spend(
        "m", SpentEntry(requests=8, cache_hits=2, prompt_tokens=100, completion_tokens=8, seconds=1.0, cost=0.5)
    )
    manifest.update_stage("label", seconds=1.5)
    manifest.update_stage("label", status="interrupted", counts={"done": 4}, seconds=0.25, note="Ctrl-C")
    assert first.finished is not None
    manifest.update_stage("label", status="running", fingerprint="f")
    assert first.finished is None
    entry = manifest.update_stage(
        "label",
        status="done",
        counts={"done": 8, "ties": 1},
        seconds=0.25,
        note="Ctrl-C",
    )
    entry.spend("m", SpentEntry(requests=3, cache_hits=3, prompt_tokens=40, completion_tokens=3, retries=2, cost=0.25))
    entry.spend("n", SpentEntry(requests=1, cache_hits=1, prompt_tokens=10, completion_tokens=1, cost=None))
    assert entry is first is manifest.stages["label"]
    # 8 + 4 requests, 2 + 4 hits, 100 + 50 and 8 + 4 tokens, 1.5 + 0.25 + 0.25 s
    sums = (entry.requests, entry.cache_hits, entry.prompt_tokens, entry.completion_tokens, entry.seconds)
    assert sums == (12, 6, 150, 12, 2.0)
    # Model by model: 8 + 3 requests of m at 0.5 + 0.25; the price of n is not known, and stays so.
    assert (entry.models["m"].requests, entry.models["m"].retries, entry.models["m"].cost) == (11, 2, 0.75)
    assert entry.models["n"].plus(entry.models["m"]).cost is None
    assert (entry.counts, entry.attempts, entry.notes) == ({"done": 8, "ties": 1}, 2, ["Ctrl-C"])
    assert entry.started == began
    assert entry.status == "done"
    assert entry.finished is not None


def test_other_work_begins_afresh() -> None:
    manifest = Manifest()
    manifest.update_stage("label", status="done", fingerprint="f").spend("m", SpentEntry(requests=5))
    entry = manifest.update_stage("label", status="running", fingerprint="g")
    assert (entry.requests, entry.attempts, entry.fingerprint) == (0, 1, "g")


def test_versions_are_found_without_importing_anything_heavy() -> None:
    code = (
        "import sys; from raif.manifest import Manifest; found = Manifest.begin().versions;"
        "assert found['torch'] and found['python'], found;"
        "assert not {'torch', 'transformers', 'trl', 'datasets'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60, cwd=Path(__file__).resolve().parents[1])
    assert package_versions()["python"].count(".") == 2


def test_the_revision_is_that_of_the_checkout_alone(tmp_path: Path) -> None:
    assert git_revision(tmp_path) is None
    git = [
        "git",
        "-C",
        str(tmp_path),
        "-c",
        "user.name=t",
        "-c",
        "user.email=t@example.org",
        "-c",
        "init.defaultBranch=m",
    ]
    subprocess.run([*git, "init", "-q"], check=True)
    assert git_revision(tmp_path) is None  # no commit yet
    (tmp_path / "a").write_text("1")
    subprocess.run([*git, "add", "a"], check=True)
    subprocess.run([*git, "commit", "-qm", "1"], check=True)
    head = subprocess.run([*git, "rev-parse", "HEAD"], check=True, capture_output=True, text=True).stdout.strip()
    subprocess.run([*git, "tag", "v1"], check=True)
    assert git_revision(tmp_path) == head
    (tmp_path / "a").write_text("2")
    assert git_revision(tmp_path) == f"{head}-dirty"
    (tmp_path / "inside").mkdir()
    assert git_revision(tmp_path / "inside") is None


def test_file_hash(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"abc")
    # FIPS 180-2, appendix B.1
    assert file_hash(path) == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    with pytest.raises(InputError, match="no such file"):
        file_hash(tmp_path / "absent")


def test_the_hash_of_a_folder_covers_names_and_contents(tmp_path: Path) -> None:
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "c").write_bytes(b"abc")
    (tmp_path / "a").write_bytes(b"")
    # name, NUL, hash, newline of each file, sorted by name
    empty, abc = hashlib.sha256(b"").hexdigest(), hashlib.sha256(b"abc").hexdigest()
    assert file_hash(tmp_path) == hashlib.sha256(f"a\0{empty}\nb/c\0{abc}\n".encode()).hexdigest()
    before = file_hash(tmp_path)
    (tmp_path / ".lock").write_bytes(b"x")
    assert file_hash(tmp_path) == before
    (tmp_path / "a").rename(tmp_path / "d")
    assert file_hash(tmp_path) != before


def safetensors(path: Path, size: int, middle: bytes = b"\0") -> None:
    """A file of the format: the header's length, the header, and ``size`` bytes, ``middle`` in the middle of them."""
    header = json.dumps({"w": {"dtype": "U8", "shape": [size], "data_offsets": [0, size]}}).encode()
    data = bytearray(size)
    data[size // 2 : size // 2 + len(middle)] = middle
    path.write_bytes(struct.pack("<Q", len(header)) + header + data)


def model(folder: Path) -> Path:
    folder.mkdir()
    (folder / "config.json").write_text('{"hidden_size": 8}')
    (folder / "tokenizer.json").write_text("{}")
    (folder / "chat_template.jinja").write_text("{{ messages }}")
    safetensors(folder / "model.safetensors", 1000)
    return folder


def test_the_fingerprint_changes_with_all_that_shapes_an_answer(tmp_path: Path) -> None:
    folder = model(tmp_path / "one")
    fingerprint = weights_fingerprint(folder)
    assert len(fingerprint) == 16
    assert weights_fingerprint(model(tmp_path / "elsewhere")) == fingerprint
    (folder / "README.md").write_text("words")
    (folder / "optimizer.pt").write_bytes(b"x")
    assert weights_fingerprint(folder) == fingerprint
    seen = {fingerprint}
    for change in (
        lambda: (folder / "config.json").write_text('{"hidden_size": 16}'),
        lambda: (folder / "tokenizer.json").write_text('{"a": 1}'),
        lambda: (folder / "chat_template.jinja").write_text("{{ other }}"),
        lambda: safetensors(folder / "model.safetensors", 1000, b"\1"),
        lambda: safetensors(folder / "adapter_model.safetensors", 10),
    ):
        change()
        assert weights_fingerprint(folder) not in seen
        seen.add(weights_fingerprint(folder))


def test_large_weights_are_sampled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Above the limit, a change in the middle is out of sight (documented); size, header and both ends are in it."""
    monkeypatch.setattr(module, "_WHOLE", 3 << 20)
    folder = model(tmp_path / "one")
    weights = folder / "model.safetensors"
    size = 4 << 20

    def fingerprint(change: bytes = b"", at: int = 0, longer: int = 0) -> str:
        safetensors(weights, size + longer)
        with weights.open("r+b") as file:
            file.seek(at, 2 if at < 0 else 0)
            file.write(change)
        module._fingerprints.clear()
        return weights_fingerprint(folder)

    whole = fingerprint()
    assert fingerprint(b"\1", size // 2) == whole
    assert fingerprint(b"\1", 1000) != whole
    assert fingerprint(b"\1", -1000) != whole
    assert fingerprint(b"I8", 17) != whole  # in the header: {"w": {"dtype": "U8" begins at byte 8
    assert fingerprint(longer=1) != whole


def test_the_fingerprint_is_computed_once_for_unchanged_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = model(tmp_path / "one")
    fingerprint = weights_fingerprint(folder)
    monkeypatch.setattr(module, "file_hash", lambda path: pytest.fail("hashed again"))
    assert weights_fingerprint(folder) == fingerprint


def test_a_folder_without_safetensors_has_no_fingerprint(tmp_path: Path) -> None:
    (tmp_path / "pytorch_model.bin").write_bytes(b"x")
    with pytest.raises(InputError, match="safetensors"):
        weights_fingerprint(tmp_path)
