"""The model file: what goes in comes out, and whatever is not whole, honest and of this format is refused in plain words."""

from __future__ import annotations

import ast
import hashlib
import io
import json
import struct
import warnings
import zipfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save

from amiss import artifact
from amiss.artifact import FORMAT, Artifact
from amiss.errors import BadModelFile, CannotWrite

SEAL = b"amiss-sha256:"


def made(**changes: Any) -> Artifact:
    parts: dict[str, Any] = {
        "description": {"method": "patchcore", "fields": {"size": 96}, "facts": {"samples": ["a", "ä"]}},
        "arrays": {"bank": np.arange(12, dtype=np.float32).reshape(3, 4), "rows": np.zeros((3, 3), np.int32)},
        "graphs": {"backbone": b"\x08\x08graph"},
        "goldens": {"image_0": np.zeros((2, 2, 3), np.uint8), "scores": np.array([1.5])},
    }
    return Artifact(**{**parts, **changes})


@pytest.fixture
def model(tmp_path: Path) -> Path:
    path = tmp_path / "part.amiss"
    artifact.write(path, made())
    return path


def same(one: Artifact, other: Artifact) -> bool:
    def arrays(a: Any, b: Any) -> bool:
        return set(a) == set(b) and all(a[k].dtype == b[k].dtype and np.array_equal(a[k], b[k]) for k in a)

    kept = ("method", "fields", "facts", "calibration", "origin")
    return (
        all(one.description.get(key) == other.description.get(key) for key in kept)
        and dict(one.graphs) == dict(other.graphs)
        and arrays(one.arrays, other.arrays)
        and arrays(one.goldens, other.goldens)
    )


# -- files made by hand, with a seal that fits ------------------------------------------------------------------------


def members() -> dict[str, bytes]:
    """Everything but the description."""
    return {"state.safetensors": save({"bank": np.ones((2, 2), np.float32)}), "backbone.onnx": b"graph"}


def described(contents: dict[str, bytes], **changes: Any) -> bytes:
    digests = {key: hashlib.sha256(value).hexdigest() for key, value in contents.items()}
    description = {"format": FORMAT, "method": "patchcore", "fields": {}, "facts": {}, "digests": digests}
    return json.dumps({**description, **changes}).encode()


def zipped(entries: list[tuple[str, bytes]], compression: int = zipfile.ZIP_STORED) -> bytes:
    buffer = io.BytesIO()
    with warnings.catch_warnings(), zipfile.ZipFile(buffer, "w", compression) as archive:
        warnings.simplefilter("ignore")  # about duplicate names, which are the point of one test
        for name, content in entries:
            archive.writestr(zipfile.ZipInfo(name), content, compression)
        archive.comment = SEAL + b"0" * 64
    return buffer.getvalue()


def sealed(content: bytes) -> bytes:
    """With the digest of everything before it written at the end."""
    body = content[: -len(SEAL) - 64]
    return body + SEAL + hashlib.sha256(body).hexdigest().encode()


def honest(**changes: Any) -> list[tuple[str, bytes]]:
    return [("model.json", described(members(), **changes)), *members().items()]


def refused(folder: Path, content: bytes, reason: str) -> None:
    path = folder / "made.amiss"
    path.write_bytes(content)
    with pytest.raises(BadModelFile, match=reason) as caught:
        artifact.read(path)
    assert "made.amiss: " in str(caught.value)


# -- round trip --------------------------------------------------------------------------------------------------------


def test_what_is_written_is_read_again(model: Path) -> None:
    again = artifact.read(model)
    assert same(again, made()) and again.description["format"] == FORMAT


def test_a_file_made_by_hand_is_read_as_well(tmp_path: Path) -> None:
    path = tmp_path / "made.amiss"
    path.write_bytes(sealed(zipped(honest())))
    found = artifact.read(path)
    assert found.arrays["bank"].tolist() == [[1, 1], [1, 1]] and found.graphs == {"backbone": b"graph"}


def test_goldens_and_graphs_may_be_missing(tmp_path: Path) -> None:
    bare = made(graphs={}, goldens={})
    artifact.write(tmp_path / "m.amiss", bare)
    assert same(artifact.read(tmp_path / "m.amiss"), bare)


@pytest.mark.parametrize("array", [np.float32(3).reshape(()), np.empty((0, 5), np.float32), np.arange(12).reshape(3, 4).T])
def test_arrays_of_any_layout_survive(tmp_path: Path, array: Any) -> None:
    artifact.write(tmp_path / "m.amiss", made(arrays={"a": array}))
    found = artifact.read(tmp_path / "m.amiss").arrays["a"]
    assert found.shape == array.shape and found.dtype == array.dtype
    np.testing.assert_array_equal(found, array)


def test_the_same_content_gives_the_same_bytes(tmp_path: Path) -> None:
    for name in "ab":
        artifact.write(tmp_path / name, made())
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    assert artifact.file_digest(tmp_path / "a") == hashlib.sha256((tmp_path / "b").read_bytes()).hexdigest()


def test_any_zip_program_opens_a_model_file(model: Path) -> None:
    with zipfile.ZipFile(model) as archive:
        assert archive.testzip() is None
        assert sorted(archive.namelist()) == ["backbone.onnx", "goldens.safetensors", "model.json", "state.safetensors"]
        assert all(info.compress_type == zipfile.ZIP_STORED for info in archive.infolist())
        assert archive.comment.startswith(SEAL)


def test_paths_may_be_text_or_path_objects(tmp_path: Path) -> None:
    artifact.write(str(tmp_path / "m.amiss"), made())
    assert same(artifact.read(str(tmp_path / "m.amiss")), artifact.read(tmp_path / "m.amiss"))


# -- writing -----------------------------------------------------------------------------------------------------------


class Full:
    """A disk that is full from the second member on."""

    def __init__(self, error: BaseException) -> None:
        self.error, self.written, self.real = error, 0, zipfile.ZipFile.open

    def __call__(self, archive: zipfile.ZipFile, *arguments: Any, **named: Any) -> Any:
        self.written += 1
        if self.written == 2:
            raise self.error
        return self.real(archive, *arguments, **named)


@pytest.mark.parametrize(
    ("error", "raised"),
    [(OSError(28, "No space left"), CannotWrite), (KeyboardInterrupt(), KeyboardInterrupt), (MemoryError(), MemoryError)],
)
@pytest.mark.parametrize("old", [True, False])
def test_when_writing_fails_midway_the_old_file_stays_whole_and_nothing_else_is_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: BaseException, raised: type[BaseException], old: bool
) -> None:
    path = tmp_path / "part.amiss"
    if old:
        artifact.write(path, made())
    before = [(p.name, p.read_bytes()) for p in tmp_path.iterdir()]
    full = Full(error)
    monkeypatch.setattr(zipfile.ZipFile, "open", lambda *arguments, **named: full(*arguments, **named))
    with pytest.raises(raised):
        artifact.write(path, made(graphs={}))
    assert full.written == 2
    assert [(p.name, p.read_bytes()) for p in tmp_path.iterdir()] == before


def test_a_full_disk_is_named_with_the_way_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    full = Full(OSError(28, "No space left on device"))
    monkeypatch.setattr(zipfile.ZipFile, "open", lambda *arguments, **named: full(*arguments, **named))
    with pytest.raises(CannotWrite, match=r"part\.amiss: .*No space left on device.*choose another --out"):
        artifact.write(tmp_path / "part.amiss", made())


def blocked(folder: Path) -> list[Path]:
    (folder / "file").write_text("no folder")
    (folder / "folder.amiss").mkdir()
    return [folder / "file" / "m.amiss", folder / "missing" / "m.amiss", folder / "folder.amiss"]


@pytest.mark.parametrize("which", range(3), ids=["in a file", "in a folder that is missing", "on a folder"])
def test_where_nothing_can_be_written_the_error_says_so(tmp_path: Path, which: int) -> None:
    target = blocked(tmp_path)[which]
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(CannotWrite, match=r"m\.amiss: cannot write|folder\.amiss: cannot write"):
        artifact.write(target, made())
    assert sorted(tmp_path.rglob("*")) == before


def test_a_forbidden_folder_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def forbidden(**options: Any) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("tempfile.NamedTemporaryFile", forbidden)
    with pytest.raises(CannotWrite, match="Permission denied"):
        artifact.write(tmp_path / "m.amiss", made())


# -- damage ------------------------------------------------------------------------------------------------------------


def test_no_changed_byte_goes_unnoticed(model: Path) -> None:
    content, original = model.read_bytes(), artifact.read(model)
    rng = np.random.default_rng(0)
    edges = [*range(64), *range(len(content) - 200, len(content))]  # headers, central directory, seal
    for place in {*edges, *rng.integers(0, len(content), 300).tolist()}:
        damaged = bytearray(content)
        damaged[place] ^= int(rng.integers(1, 256))
        model.write_bytes(bytes(damaged))
        with suppress(BadModelFile):
            assert same(artifact.read(model), original), f"byte {place} changed the content"


def test_several_changed_bytes_are_no_better(model: Path) -> None:
    content = model.read_bytes()
    rng = np.random.default_rng(1)
    directory = content.index(b"PK\x01\x02")
    for _ in range(300):
        damaged = bytearray(content)
        for place in rng.integers(directory, len(content), 4):
            damaged[place] ^= int(rng.integers(1, 256))
        model.write_bytes(bytes(damaged))
        with pytest.raises(BadModelFile):
            artifact.read(model)


def test_a_resealed_file_with_a_changed_byte_is_refused_or_unchanged(model: Path) -> None:
    """Whoever can compute a seal still meets the digests, and never another exception."""
    content, original = model.read_bytes(), artifact.read(model)
    rng = np.random.default_rng(2)
    for place in {*rng.integers(0, len(content) - 77, 300).tolist(), *range(content.index(b"PK\x01\x02"), len(content) - 77)}:
        damaged = bytearray(content)
        damaged[place] ^= int(rng.integers(1, 256))
        model.write_bytes(sealed(bytes(damaged)))
        try:
            found = artifact.read(model)
        except BadModelFile:
            continue
        assert dict(found.graphs) == dict(original.graphs)
        assert all(np.array_equal(found.arrays[key], original.arrays[key]) for key in original.arrays)


def test_a_file_cut_anywhere_is_refused(model: Path) -> None:
    content = model.read_bytes()
    for length in {*range(0, len(content), 17), *range(len(content) - 120, len(content))}:
        model.write_bytes(content[:length])
        with pytest.raises(BadModelFile):
            artifact.read(model)


@pytest.mark.parametrize("extra", [b"\0", b"more", b"PK\x05\x06"])
def test_bytes_after_the_end_are_refused(model: Path, extra: bytes) -> None:
    model.write_bytes(model.read_bytes() + extra)
    with pytest.raises(BadModelFile):
        artifact.read(model)


def test_bytes_before_the_start_are_refused(model: Path) -> None:
    model.write_bytes(b"#!/bin/sh\n" + model.read_bytes())
    with pytest.raises(BadModelFile, match="seal"):
        artifact.read(model)


@pytest.mark.parametrize(
    "content", [b"", b"hello, I am a text file\n", b"\x89PNG\r\n", b"PK\x05\x06" + b"\0" * 18, b"[" * 100_000]
)
def test_a_file_of_another_kind_is_refused(tmp_path: Path, content: bytes) -> None:
    refused(tmp_path, content, "not a whole model file")


def test_a_missing_file_and_a_folder_are_named(tmp_path: Path) -> None:
    with pytest.raises(BadModelFile, match=r"nowhere\.amiss: No such file or directory; check the path"):
        artifact.read(tmp_path / "nowhere.amiss")
    with pytest.raises(BadModelFile, match="check the path"):
        artifact.read(tmp_path)


# -- forgery -----------------------------------------------------------------------------------------------------------


def test_a_newer_format_asks_for_an_upgrade(tmp_path: Path) -> None:
    refused(tmp_path, sealed(zipped(honest(format=FORMAT + 1))), rf"format {FORMAT + 1}, .* upgrade amiss")


@pytest.mark.parametrize("version", [None, "1", 0, -3, 1.5, [1], {}])
def test_a_format_that_never_was_is_refused(tmp_path: Path, version: Any) -> None:
    refused(tmp_path, sealed(zipped(honest(format=version))), "not one amiss wrote")


@pytest.mark.parametrize("text", [b"", b"[]", b"null", b"{", b"\xff\xfe", b"[" * 100_000, b'"format"'])
def test_a_description_that_is_no_description_is_refused(tmp_path: Path, text: bytes) -> None:
    refused(tmp_path, sealed(zipped([("model.json", text), *members().items()])), "made")


@pytest.mark.parametrize("lacking", ["method", "fields", "facts", "digests"])
@pytest.mark.parametrize("value", [None, 3])
def test_a_description_with_a_part_missing_is_refused(tmp_path: Path, lacking: str, value: Any) -> None:
    refused(tmp_path, sealed(zipped(honest(**{lacking: value}))), f"its description lacks '{lacking}'")


@pytest.mark.parametrize(
    "name", ["../evil.json", "/etc/evil.json", "a/b.json", "evil.py", "evil.pkl", "evil", "EVIL.JSON", "evil.json\n", ""]
)
def test_a_member_that_does_not_belong_is_refused_by_name(tmp_path: Path, name: str) -> None:
    refused(tmp_path, sealed(zipped([*honest(), (name, b"{}")])), "does not belong in a model file")


def test_a_compressed_member_is_refused(tmp_path: Path) -> None:
    refused(tmp_path, sealed(zipped(honest(), zipfile.ZIP_DEFLATED)), "not stored plainly")


def patched(content: bytes, edit: Callable[[bytearray, int], None]) -> bytes:
    """With the central directory's entry of the first array member edited, and sealed again."""
    data = bytearray(content)
    edit(data, data.index(b"PK\x01\x02", data.index(b"PK\x01\x02") + 1))
    return sealed(bytes(data))


def test_a_compressed_member_that_lies_about_its_size_is_refused(tmp_path: Path) -> None:
    """Ten kilobytes that say they are ten, stored, and would inflate to ten million."""

    def says_stored(data: bytearray, entry: int) -> None:
        data[entry + 10 : entry + 12] = struct.pack("<H", zipfile.ZIP_STORED)

    def says_small(data: bytearray, entry: int) -> None:
        (packed,) = struct.unpack_from("<I", data, entry + 20)
        data[entry + 24 : entry + 28] = struct.pack("<I", packed)

    def says_both(data: bytearray, entry: int) -> None:
        says_stored(data, entry)
        says_small(data, entry)

    bomb = {"state.safetensors": bytes(10_000_000)}
    entries = [("model.json", described(bomb)), *bomb.items()]
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr(zipfile.ZipInfo("model.json"), entries[0][1])
        archive.writestr(zipfile.ZipInfo("state.safetensors"), entries[1][1], zipfile.ZIP_DEFLATED)
        archive.comment = SEAL + b"0" * 64
    for edit in (says_stored, says_small, says_both):
        refused(tmp_path, patched(buffer.getvalue(), edit), "not stored plainly|not a whole model file|wrong digest")


@pytest.mark.parametrize("size", [0, 1, 10**9, 2**32 - 1])
def test_a_member_with_a_false_size_is_refused(tmp_path: Path, size: int) -> None:
    def unpacked(data: bytearray, entry: int) -> None:
        data[entry + 24 : entry + 28] = struct.pack("<I", size)

    def both(data: bytearray, entry: int) -> None:
        data[entry + 20 : entry + 28] = struct.pack("<II", size, size)

    for edit in (unpacked, both):
        refused(tmp_path, patched(zipped(honest()), edit), "made")


def test_a_member_the_description_does_not_name_is_refused(tmp_path: Path) -> None:
    refused(tmp_path, sealed(zipped([*honest(), ("extra.onnx", b"x")])), "not those its description names")


def test_a_member_the_description_names_must_be_there(tmp_path: Path) -> None:
    refused(tmp_path, sealed(zipped(honest()[:-1])), "not those its description names")


@pytest.mark.parametrize("missing", [0, 1])
def test_without_a_description_or_arrays_it_is_no_model(tmp_path: Path, missing: int) -> None:
    entries = honest()
    del entries[missing]
    refused(tmp_path, sealed(zipped(entries)), "its members are")


@pytest.mark.parametrize("name", ["model.json", "state.safetensors", "backbone.onnx"])
def test_a_member_that_is_there_twice_is_refused(tmp_path: Path, name: str) -> None:
    refused(tmp_path, sealed(zipped([*honest(), (name, dict(honest())[name])])), "its members are")


def test_a_member_exchanged_under_a_new_seal_is_caught_by_its_digest(tmp_path: Path) -> None:
    other = save({"bank": np.zeros((2, 2), np.float32)})
    entries = [(name, other if name == "state.safetensors" else content) for name, content in honest()]
    refused(tmp_path, sealed(zipped(entries)), r"member state\.safetensors has a wrong digest")


def test_a_member_exchanged_under_the_old_seal_is_caught_by_the_seal(tmp_path: Path) -> None:
    whole = sealed(zipped(honest()))
    refused(tmp_path, whole.replace(b"graph", b"grapf", 1), "seal does not match")


@pytest.mark.parametrize("arrays", [b"", b"garbage", struct.pack("<Q", 2**63) + b"{}", struct.pack("<Q", 2) + b"{]"])
def test_arrays_that_cannot_be_read_are_refused(tmp_path: Path, arrays: bytes) -> None:
    contents = {"state.safetensors": arrays}
    refused(tmp_path, sealed(zipped([("model.json", described(contents)), *contents.items()])), "its arrays cannot be read")


# -- no pickle ---------------------------------------------------------------------------------------------------------

SOURCE = Path(artifact.__file__).parent
RESTRICTED = SOURCE / "backbones" / "weights.py"
MAY_IMPORT = {RESTRICTED: {"pickle"}} | {
    SOURCE / path: {"torch"}
    for path in (
        "backbones/export.py",
        "backbones/timm_taps.py",
        "backbones/point_mae.py",
        "kit/training.py",
        "kit/graphs.py",
        "kit/reconstruction.py",
        "kit/adaptation.py",
        "kit/encoders.py",
        "kit/masked_points.py",
        "kit/voting_net.py",
    )
}
SERIALISERS = {"pickle", "_pickle", "cPickle", "dill", "cloudpickle", "joblib", "shelve", "marshal", "torch"}
FORBIDDEN = {*(f"pickle.{name}" for name in ("load", "loads", "dump", "dumps", "Unpickler"))}
SOURCES = sorted(SOURCE.rglob("*.py"))


def imported(tree: ast.AST) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and not node.level:
            names.add((node.module or "").partition(".")[0])
    return names


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(SOURCE)))
def test_nothing_reads_or_writes_pickles(path: Path) -> None:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    assert imported(tree) & SERIALISERS <= MAY_IMPORT.get(path, set())
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            assert ast.unparse(node.func) not in FORBIDDEN
            if ast.unparse(node.func) == "torch.load":  # torch's own restricted unpickler: tensors and containers, nothing else
                assert [ast.unparse(word.value) for word in node.keywords if word.arg == "weights_only"] == ["True"]
            assert not any(word.arg == "allow_pickle" and ast.unparse(word.value) != "False" for word in node.keywords)


def test_the_restricted_reader_resolves_four_names_and_no_more() -> None:
    from amiss.backbones import weights

    assert set(weights._ALLOWED) == {
        ("collections", "OrderedDict"), ("torch._utils", "_rebuild_tensor_v2"), ("torch", "FloatStorage"),
        ("torch", "LongStorage"),
    }  # fmt: skip


# -- large arrays --------------------------------------------------------------------------------------------------------


@pytest.fixture
def large(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A model file whose arrays count as large from 100 bytes on, written in blocks of 64 bytes."""
    monkeypatch.setattr(artifact, "MAPPED", 100)
    monkeypatch.setattr(artifact, "_BLOCK", 64)
    path = tmp_path / "large.amiss"
    arrays = {"bank": np.arange(60, dtype=np.float16).reshape(5, 4, 3), "small": np.arange(3)}
    artifact.write(path, Artifact({"method": "m", "fields": {}, "facts": {}}, arrays))
    return path


def test_a_large_array_is_a_member_of_its_own_and_mapped_when_read(large: Path) -> None:
    with zipfile.ZipFile(large) as archive:
        assert "bank.npy" in archive.namelist()
        np.testing.assert_array_equal(np.load(archive.open("bank.npy")), np.arange(60).reshape(5, 4, 3))
    found = artifact.read(large).arrays
    assert isinstance(found["bank"], np.memmap) and found["bank"].dtype == np.float16 and not found["bank"].flags.writeable
    np.testing.assert_array_equal(found["bank"], np.arange(60).reshape(5, 4, 3))
    assert not isinstance(found["small"], np.memmap)


def test_a_mapped_array_can_be_written_to_the_file_it_came_from(large: Path) -> None:
    before = artifact.read(large)
    artifact.write(large, before)
    np.testing.assert_array_equal(artifact.read(large).arrays["bank"], before.arrays["bank"])


def test_a_changed_byte_in_a_large_array_is_noticed(large: Path) -> None:
    content = bytearray(large.read_bytes())
    place = content.find(np.arange(20, 24, dtype=np.float16).tobytes())
    content[place] ^= 1
    large.write_bytes(bytes(content))
    with pytest.raises(BadModelFile, match="seal"):
        artifact.read(large)


@pytest.mark.parametrize("shape", [(5, 4, 4), (5, 4)])
def test_a_large_array_whose_header_lies_is_refused(
    large: Path, shape: tuple[int, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(np.lib.format, "read_array_header_1_0", lambda file: (shape, False, np.dtype(np.float16)))
    with pytest.raises(BadModelFile, match="header promises"):
        artifact.read(large)
