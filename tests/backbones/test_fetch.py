"""Fetching weights, against a server on this machine: nothing here needs the network."""

from __future__ import annotations

import hashlib
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar

import pytest

from amiss.backbones import fetch as module
from amiss.backbones.fetch import _OnlyHttps, fetch
from amiss.backbones.published import PUBLISHED, Published, published
from amiss.errors import BadBackbone, BadField, CannotWrite
from tests.conftest import Amiss

CONTENT = bytes(range(256)) * 9000  # 2.3 MB, several reads
DIGEST = hashlib.sha256(CONTENT).hexdigest()


class Server(BaseHTTPRequestHandler):
    asked: ClassVar[list[str]] = []

    def do_GET(self) -> None:
        self.asked.append(self.path)
        if "gone" in self.path:
            return self.send_error(404)
        self.send_response(200)
        if "chunked" not in self.path:
            self.send_header("Content-Length", str(len(CONTENT)))
        self.end_headers()
        self.wfile.write(CONTENT[:1_500_000] if "short" in self.path else CONTENT)
        return None

    def log_message(self, format: str, *args: Any) -> None:
        pass


class Loopback:
    """Opens the same path on this machine's server, by plain http."""

    def __init__(self, port: int) -> None:
        self.port = port

    def open(self, fullurl: str, data: None = None, timeout: float = 5) -> Any:
        path = fullurl.split("/", 3)[3]
        return urllib.request.build_opener(urllib.request.ProxyHandler({})).open(f"http://127.0.0.1:{self.port}/{path}")


@pytest.fixture
def loopback() -> Iterator[Loopback]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Server)
    Server.asked.clear()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield Loopback(server.server_port)
    server.shutdown()
    thread.join()
    server.server_close()


def entry(path: str = "net-1.pth", sha256: str | None = DIGEST[:8]) -> Published:
    return Published("net", "resnet18", f"https://example.org/{path}", "MIT", sha256)


def test_a_file_is_fetched_checked_and_not_fetched_again(loopback: Loopback, tmp_path: Path) -> None:
    seen: list[tuple[int, int | None]] = []
    got = fetch(entry(), tmp_path / "w", opener=loopback, progress=lambda _stage, done, total: seen.append((done, total)))
    assert got.path.read_bytes() == CONTENT and got.sha256 == DIGEST and got.checked
    assert seen[-1] == (2, 2) and [path.name for path in (tmp_path / "w").iterdir()] == ["net-1.pth"]
    assert fetch(entry(), tmp_path / "w", opener=loopback).path == got.path and len(Server.asked) == 1


def test_a_file_on_disk_with_another_digest_is_fetched_anew(loopback: Loopback, tmp_path: Path) -> None:
    (tmp_path / "net-1.pth").write_bytes(b"half of it")
    assert fetch(entry(), tmp_path, opener=loopback).path.read_bytes() == CONTENT


def test_where_no_digest_is_stated_it_is_computed_and_said_so(loopback: Loopback, tmp_path: Path) -> None:
    got = fetch(entry("chunked.pth", None), tmp_path, opener=loopback)
    assert got.sha256 == DIGEST and not got.checked


@pytest.mark.parametrize(
    ("path", "sha256", "text"),
    [
        ("net.pth", "0" * 8, f"sha256 is {DIGEST}, its publisher states 00000000"),
        ("short.pth", None, "ended after 1500000 of 2304000 bytes"),
        ("gone.pth", None, r"404.*bring it here as gone\.pth"),
    ],
)
def test_what_arrives_wrong_leaves_nothing_behind(
    loopback: Loopback, tmp_path: Path, path: str, sha256: str | None, text: str
) -> None:
    with pytest.raises(BadBackbone, match=text):
        fetch(entry(path, sha256), tmp_path / "w", opener=loopback)
    assert list((tmp_path / "w").iterdir()) == []


def test_a_connection_that_breaks_is_explained_with_the_file_to_bring(tmp_path: Path) -> None:
    class Broken:
        def open(self, fullurl: str, data: None = None, timeout: float = 5) -> Any:
            raise urllib.error.URLError("Name or service not known")

    with pytest.raises(BadBackbone) as caught:
        fetch(entry(), tmp_path, opener=Broken())
    for text in ("Name or service not known", "https://example.org/net-1.pth", f"sha256 begins with {DIGEST[:8]}",
                 "amiss backbones export net --weights net-1.pth", "amiss backbones add net.onnx"):  # fmt: skip
        assert text in str(caught.value)


def test_a_full_disk_is_no_network_failure(loopback: Loopback, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(source: Path, target: Path) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.replace", full)
    with pytest.raises(CannotWrite, match="No space left"):
        fetch(entry(), tmp_path, opener=loopback)
    assert list(tmp_path.iterdir()) == []


def test_only_https_is_used_also_after_a_redirect(tmp_path: Path) -> None:
    plain = Published("net", "resnet18", "http://example.org/net.pth", "MIT")
    with pytest.raises(BadBackbone, match="only https"):
        fetch(plain, tmp_path)
    request = urllib.request.Request("https://example.org/net.pth")
    with pytest.raises(BadBackbone, match="only https"):
        _OnlyHttps().redirect_request(request, None, 302, "Found", {}, "http://example.org/other.pth")
    onward = _OnlyHttps().redirect_request(request, None, 302, "Found", {}, "https://example.org/other.pth")
    assert onward is not None and onward.full_url == "https://example.org/other.pth"


@pytest.mark.parametrize("value", ["1", "true", "yes"])
def test_offline_forbids_the_network_but_not_a_file_that_is_here(
    value: str, loopback: Loopback, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AMISS_OFFLINE", value)
    with pytest.raises(BadBackbone, match="AMISS_OFFLINE forbids the network"):
        fetch(entry(), tmp_path, opener=loopback)
    (tmp_path / "net-1.pth").write_bytes(CONTENT)
    assert fetch(entry(), tmp_path, opener=loopback).checked and Server.asked == []
    monkeypatch.setenv("AMISS_OFFLINE", "0")
    assert not module.offline()


def test_the_table_is_sound() -> None:
    for name, one in PUBLISHED.items():
        assert one.name == name and one.url.startswith("https://") and one.licence and one.timm
        assert one.sha256 is None or (len(one.sha256) == 8 and f"-{one.sha256}.pth" in one.url)
        assert one.file.endswith((".pth", ".safetensors"))
    assert len({one.file for one in PUBLISHED.values()}) == len(PUBLISHED)


def test_an_unknown_name_is_answered_with_the_nearest() -> None:
    with pytest.raises(BadField, match="did you mean 'dinov2_vits14'"):
        published("dinov2_vits")


# -- the command line --------------------------------------------------------------------------------------------------


def test_get_without_network_says_what_to_bring_and_exits_2(amiss: Amiss, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AMISS_OFFLINE", "1")
    said = amiss("backbones", "get", "wide_resnet50_2")
    assert said.code == 2 and "Traceback" not in said.err
    assert "https://download.pytorch.org/models/wide_resnet50_2-95faca4d.pth" in said.err
    assert "amiss backbones export wide_resnet50_2 --weights wide_resnet50_2-95faca4d.pth" in said.err


def test_get_without_timm_keeps_the_weights_and_says_how_to_go_on(
    amiss: Amiss, loopback: Loopback, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AMISS_CACHE", str(tmp_path))
    monkeypatch.setitem(PUBLISHED, "net", entry("net-1.pth", None))
    monkeypatch.setattr(module, "https_opener", lambda: loopback)
    monkeypatch.setattr("amiss.backbones.export.missing", lambda: "exporting needs timm: pip install 'amiss[timm]'")
    said = amiss("backbones", "get", "net")
    weights = tmp_path / "weights" / "net-1.pth"
    assert weights.read_bytes() == CONTENT
    assert said.code == 2 and f"amiss backbones export net --weights {weights}" in said.err
    assert f"sha256 {DIGEST}" in said.err and "states none" in said.err
