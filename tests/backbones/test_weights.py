"""The restricted reader: files in torch's old format, assembled here byte by byte, honest and not."""

from __future__ import annotations

import hashlib
import pickle
import struct
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from amiss.backbones.weights import read_tensors
from amiss.errors import BadBackbone

Array = npt.NDArray[Any]

MAGIC, PROTOCOL = 0x1950A86A20F9469CFC6C, 1001
MACHINE = {"protocol_version": 1001, "little_endian": True, "type_sizes": {"short": 2, "int": 4, "long": 4}}


def body(value: object) -> bytes:
    """Opcodes that put a plain value on the stack."""
    return pickle.dumps(value, protocol=2)[2:-1]


def whole(opcodes: bytes) -> bytes:
    return b"\x80\x02" + opcodes + b"."


def named(module: str, name: str) -> bytes:
    return f"c{module}\n{name}\n".encode()


def called(function: bytes, *arguments: bytes) -> bytes:
    return function + b"(" + b"".join(arguments) + b"tR"


def storage(key: str, size: int, kind: str = "FloatStorage") -> bytes:
    return b"(" + body("storage") + named("torch", kind) + body(key) + body("cpu") + body(size) + body(None) + b"tQ"


def tensor(held: bytes, offset: int, shape: tuple[int, ...], strides: tuple[int, ...]) -> bytes:
    empty = called(named("collections", "OrderedDict"))
    rebuild = named("torch._utils", "_rebuild_tensor_v2")
    return called(rebuild, held, body(offset), body(shape), body(strides), body(False), empty)


def entries(**tensors: bytes) -> bytes:
    """An ordered dictionary of tensors."""
    return called(named("collections", "OrderedDict")) + b"(" + b"".join(body(k) + v for k, v in tensors.items()) + b"u"


def raw(values: Array) -> bytes:
    return struct.pack("<q", values.size) + values.tobytes()


def assembled(content: bytes, keys: list[str], storages: bytes, *, magic: int = MAGIC, protocol: int = PROTOCOL) -> bytes:
    heads = [whole(body(magic)), whole(body(protocol)), whole(body(MACHINE)), whole(content), whole(body(keys))]
    return b"".join(heads) + storages


def read(folder: Path, content: bytes) -> dict[str, Array]:
    path = folder / "weights.pth"
    path.write_bytes(content)
    return read_tensors(path, sha256=hashlib.sha256(content).hexdigest())


COUNTING = np.arange(24, dtype="<f4")


def one(shape: tuple[int, ...], strides: tuple[int, ...], offset: int = 0, declared: int = 24) -> bytes:
    return assembled(entries(w=tensor(storage("7", declared), offset, shape, strides)), ["7"], raw(COUNTING))


# -- honest files ------------------------------------------------------------------------------------------------------


def test_tensors_come_back_by_name_with_their_shape(tmp_path: Path) -> None:
    numbers = np.array([5, -6], "<i8")
    content = assembled(
        entries(w=tensor(storage("a", 24), 0, (4, 6), (6, 1)), n=tensor(storage("b", 2, "LongStorage"), 1, (), ())),
        ["a", "b"],
        raw(COUNTING) + raw(numbers),
    )
    found = read(tmp_path, content)
    assert set(found) == {"w", "n"}
    np.testing.assert_array_equal(found["w"], COUNTING.reshape(4, 6))
    assert found["n"].shape == () and found["n"] == -6 and found["n"].dtype == np.int64


def test_storages_lie_in_the_order_of_the_keys(tmp_path: Path) -> None:
    content = assembled(
        entries(w=tensor(storage("a", 24), 0, (24,), (1,)), v=tensor(storage("b", 3), 0, (3,), (1,))),
        ["b", "a"],
        raw(np.array([7, 8, 9], "<f4")) + raw(COUNTING),
    )
    found = read(tmp_path, content)
    assert found["v"].tolist() == [7, 8, 9] and found["w"][5] == 5


def test_permuted_strides_are_honoured(tmp_path: Path) -> None:
    found = read(tmp_path, one((2, 3, 4), (1, 8, 2)))["w"]
    np.testing.assert_array_equal(found, COUNTING.reshape(3, 4, 2).transpose(2, 0, 1))
    assert found.flags.c_contiguous


def test_two_tensors_may_look_at_one_storage(tmp_path: Path) -> None:
    content = assembled(
        entries(low=tensor(storage("a", 24), 0, (2,), (1,)), high=tensor(storage("a", 24), 22, (2,), (1,))),
        ["a"],
        raw(COUNTING),
    )
    found = read(tmp_path, content)
    assert found["low"].tolist() == [0, 1] and found["high"].tolist() == [22, 23]


def test_a_file_with_another_digest_is_not_opened(tmp_path: Path) -> None:
    marker = tmp_path / "ran"
    attack = called(named("os", "system"), body(f"touch {marker}"))
    path = tmp_path / "weights.pth"
    path.write_bytes(whole(attack))
    with pytest.raises(BadBackbone, match=r"weights\.pth: sha256 is [0-9a-f]{64}, wanted 0{64}"):
        read_tensors(path, sha256="0" * 64)
    assert not marker.exists()


# -- files that ask for more than tensors ------------------------------------------------------------------------------


def attacks(marker: Path) -> dict[str, tuple[str, bytes]]:
    """Opcodes that would leave a mark if they were carried out, by what they name."""
    shell, python = body(f"touch {marker}"), body(f"__import__('pathlib').Path({str(marker)!r}).touch()")
    new_style = body("os") + body("system") + b"\x93" + b"(" + shell + b"tR"  # STACK_GLOBAL
    return {
        "os.system": ("os.system", called(named("os", "system"), shell)),
        "posix.system": ("posix.system", called(named("posix", "system"), shell)),
        "stack global": ("os.system", new_style),
        "builtins.eval": ("builtins.eval", called(named("builtins", "eval"), python)),
        "python 2 eval": ("__builtin__.eval", called(named("__builtin__", "eval"), python)),
        "instance": ("os.system", b"(" + shell + b"ios\nsystem\n"),  # INST
        "rebuild_parameter": (
            "torch._utils._rebuild_parameter",
            called(named("torch._utils", "_rebuild_parameter"), body(None), body(True), body(None)),
        ),
        "dotted": ("collections.OrderedDict.fromkeys", called(named("collections", "OrderedDict.fromkeys"), shell)),
    }


@pytest.mark.parametrize("place", range(5))
@pytest.mark.parametrize("attack", list(attacks(Path("x"))))
def test_any_other_name_is_refused_and_never_called(tmp_path: Path, attack: str, place: int) -> None:
    marker = tmp_path / "ran"
    name, opcodes = attacks(marker)[attack]
    pickles = [whole(body(MAGIC)), whole(body(PROTOCOL)), whole(body(MACHINE)), whole(entries()), whole(body([]))]
    pickles[place] = whole(opcodes)
    with pytest.raises(BadBackbone, match=name.replace(".", r"\.") + "; only plain tensors are read"):
        read(tmp_path, b"".join(pickles))
    assert not marker.exists()


def test_the_attacks_above_would_work_on_an_unrestricted_reader(tmp_path: Path) -> None:
    """Otherwise the test before this one would prove nothing."""
    for number, attack in enumerate(("os.system", "builtins.eval", "stack global", "instance")):
        marker = tmp_path / str(number)
        pickle.loads(whole(attacks(marker)[attack][1]))  # noqa: S301
        assert marker.exists()


def test_only_storages_may_be_referred_to(tmp_path: Path) -> None:
    reference = b"(" + body("module") + named("torch", "FloatStorage") + body("7") + body("cpu") + body(1) + b"tQ"
    with pytest.raises(BadBackbone, match="'module' entry; only tensor storages"):
        read(tmp_path, assembled(entries(w=reference), ["7"], b""))


# -- damaged files -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("shape", "strides", "offset"),
    [
        ((25,), (1,), 0), ((24,), (1,), 1), ((2, 3), (30, 1), 0), ((2,), (-1,), 1), ((2,), (5,), -3), ((4,), (1,), -2),
        ((0,), (1,), 0), ((-1,), (1,), 0), ((2**40,), (0,), 0), ((2**70,), (0,), 0), ((1,), (1,), 2**70), ((1,), (1,), 24),
    ],
)  # fmt: skip
def test_a_tensor_that_reaches_beyond_its_storage_is_refused(
    tmp_path: Path, shape: tuple[int, ...], strides: tuple[int, ...], offset: int
) -> None:
    with pytest.raises(BadBackbone, match="reaches beyond its storage"):
        read(tmp_path, one(shape, strides, offset))


def test_the_last_element_may_be_the_last_of_the_storage(tmp_path: Path) -> None:
    assert read(tmp_path, one((2, 2), (20, 3)))["w"].tolist() == [[0, 3], [20, 23]]


@pytest.mark.parametrize("declared", [23, 25, 2**62])
def test_a_storage_of_another_size_than_declared_is_refused(tmp_path: Path, declared: int) -> None:
    with pytest.raises(BadBackbone, match="shorter than declared"):
        read(tmp_path, one((4, 6), (6, 1), declared=declared))


@pytest.mark.parametrize("count", [2**62, 2**63 - 1, -1])
def test_an_impossible_storage_size_is_refused(tmp_path: Path, count: int) -> None:
    content = entries(w=tensor(storage("7", count), 0, (1,), (1,)))
    with pytest.raises(BadBackbone, match=r"weights file|storage is shorter"):
        read(tmp_path, assembled(content, ["7"], struct.pack("<q", count) + b"1234"))


def test_a_storage_nobody_fills_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadBackbone, match="a storage it does not hold"):
        read(tmp_path, assembled(entries(w=tensor(storage("7", 24), 0, (24,), (1,))), [], b""))


def test_a_key_without_a_storage_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadBackbone, match="damaged weights file"):
        read(tmp_path, assembled(entries(), ["7"], raw(COUNTING)))


@pytest.mark.parametrize("wrong", [{"magic": 1}, {"protocol": 1002}])
def test_a_file_of_another_format_is_refused(tmp_path: Path, wrong: dict[str, int]) -> None:
    with pytest.raises(BadBackbone, match="not a torch file in the old format"):
        read(tmp_path, assembled(entries(), [], b"", **wrong))


def test_a_file_cut_anywhere_is_refused(tmp_path: Path) -> None:
    content = one((4, 6), (6, 1))
    for length in range(len(content)):
        with pytest.raises(BadBackbone):
            read(tmp_path, content[:length])


def test_a_byte_changed_anywhere_gives_tensors_or_a_refusal(tmp_path: Path) -> None:
    content = one((4, 6), (6, 1))
    rng = np.random.default_rng(0)
    for place in range(len(content)):
        damaged = bytearray(content)
        damaged[place] ^= int(rng.integers(1, 256))
        if damaged[place] == ord("r"):
            continue  # LONG_BINPUT: makes room for as many objects as it names, up to tens of gigabytes
        with suppress(BadBackbone):
            assert all(isinstance(value, np.ndarray) for value in read(tmp_path, bytes(damaged)).values())


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 a newer torch file", b"<html>not found</html>"])
def test_something_else_altogether_is_refused(tmp_path: Path, content: bytes) -> None:
    with pytest.raises(BadBackbone):
        read(tmp_path, content)
