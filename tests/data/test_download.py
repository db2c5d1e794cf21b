"""Files fetched from a server of this machine: whole, checked and under their names, or not at all."""

import dataclasses
import hashlib
import http.server
import threading

import pytest
from tensorflow_datasets.core.download import checksums

from fedjax_layers.data import DATASETS
from fedjax_layers.data.tables import builders
from fedjax_layers.data.tables.files import SourceFile
from fedjax_layers.data.tables.source import Layout

CONTENTS = {"one.gz": b"first" * 10_000, "sub/two words.txt": "zweite 北京".encode(), "three": b""}
SUMS = {name: hashlib.sha256(content).hexdigest() for name, content in CONTENTS.items()}


@pytest.fixture
def server(monkeypatch):
    """Its address, what it answers by path (a content, a status, or half a content), and what it was asked for."""
    for variable in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(variable, raising=False)
    answers, asked = {}, []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            asked.append(self.path)
            answer = answers.get(self.path, 404)
            if isinstance(answer, int):
                self.send_error(answer)
                return
            content, announced = answer if isinstance(answer, tuple) else (answer, len(answer))
            self.send_response(200)
            self.send_header("Content-Length", str(announced))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *args):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as running:
        thread = threading.Thread(target=running.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{running.server_port}", answers, asked
        running.shutdown()
        thread.join()


@pytest.fixture
def source(server):
    """A set of three files that the server has, in a folder of another name."""
    address, answers, _ = server
    answers |= {f"/set/{i}": content for i, content in enumerate(CONTENTS.values())}
    files = tuple(SourceFile(name, SUMS[name], f"{address}/set/{i}") for i, name in enumerate(CONTENTS))
    return dataclasses.replace(DATASETS["mnist"], folder="place", layouts=(Layout(files, lambda found: {}),))


def contents(folder):
    """Files by name; folders too, so that nothing is overlooked."""
    return {p.relative_to(folder).as_posix(): p.read_bytes() if p.is_file() else None for p in folder.rglob("*")}


EVERYTHING = {f"place/{name}": content for name, content in CONTENTS.items()} | {"place": None, "place/sub": None}


def test_files_are_fetched_checked_and_left_under_their_names(source, server, tmp_path):
    layout = builders.download(source, tmp_path / "new")
    assert layout is source.layouts[0]
    assert contents(tmp_path / "new") == EVERYTHING
    assert sorted(server[2]) == ["/set/0", "/set/1", "/set/2"]
    assert source.locate(source.place(tmp_path / "new"))[0] is layout


def test_only_what_is_missing_is_fetched(source, server, tmp_path):
    builders.download(source, tmp_path)
    (tmp_path / "place" / "three").unlink()
    server[2].clear()
    builders.download(source, tmp_path)
    assert server[2] == ["/set/2"]
    builders.download(source, tmp_path)
    assert server[2] == ["/set/2"]
    assert contents(tmp_path) == EVERYTHING


@pytest.mark.parametrize("wrong", [b"firsT" * 10_000, b"", b"<html>not found</html>"])
def test_wrong_bytes_are_refused_and_leave_nothing(source, server, tmp_path, wrong):
    server[1]["/set/0"] = wrong
    with pytest.raises(ValueError, match=r"/set/0: expected SHA-256 ") as error:
        builders.download(source, tmp_path)
    message = str(error.value)
    assert (
        f"expected SHA-256 {SUMS['one.gz']}, found {hashlib.sha256(wrong).hexdigest()} ({len(wrong)} bytes)" in message
    )
    assert "\n" not in message
    assert contents(tmp_path) == {}


def test_what_was_fetched_before_wrong_bytes_stays(source, server, tmp_path):
    server[1]["/set/2"] = b"wrong"
    with pytest.raises(ValueError, match=r"/set/2: expected SHA-256 "):
        builders.download(source, tmp_path)
    assert contents(tmp_path) == {name: content for name, content in EVERYTHING.items() if name != "place/three"}


@pytest.mark.parametrize("answer", [404, 403, (b"half", 8)])
def test_a_server_that_fails_is_one_line_and_leaves_nothing(source, server, tmp_path, answer):
    server[1]["/set/1"] = answer
    with pytest.raises(FileNotFoundError, match=r"/set/1: expected to download sub/two words\.txt, failed \(") as error:
        builders.download(source, tmp_path)
    assert "\n" not in str(error.value)
    if isinstance(answer, int):
        assert f"HTTP code: {answer}" in str(error.value)
    assert contents(tmp_path) == {"place": None, "place/one.gz": CONTENTS["one.gz"]}


def test_no_network_is_told_at_once(source, server, tmp_path, offline):
    """Without waiting for the ten times that TFDS tries again, which take minutes."""
    with pytest.raises(FileNotFoundError, match=r"/set/0: expected to download one\.gz, failed \(the network is off\)"):
        builders.download(source, tmp_path)
    assert contents(tmp_path) == {}
    assert server[2] == []


def test_behind_a_proxy_the_server_itself_is_not_called(source, server, tmp_path, monkeypatch):
    """Its name may not even be known here."""
    address, answers, asked = server
    files = tuple(
        dataclasses.replace(f, url=f.url.replace("127.0.0.1", "far.invalid")) for f in source.layouts[0].files
    )
    for file in files:
        answers[file.url] = answers[file.url.removeprefix(address.replace("127.0.0.1", "far.invalid"))]
    monkeypatch.setenv("http_proxy", address)
    builders.download(dataclasses.replace(source, layouts=(Layout(files, lambda found: {}),)), tmp_path)
    assert asked == [file.url for file in files]
    assert contents(tmp_path) == EVERYTHING


def test_an_interruption_leaves_nothing(source, tmp_path, monkeypatch):
    def interrupt(path):
        assert path.is_file()
        raise KeyboardInterrupt

    monkeypatch.setattr(builders, "sha256_of", interrupt)
    with pytest.raises(KeyboardInterrupt):
        builders.download(source, tmp_path)
    assert contents(tmp_path) == {}


def test_the_first_form_whose_missing_files_have_addresses_is_fetched(source, server, tmp_path):
    unknown = Layout((SourceFile("a"), SourceFile("all_*.json")), lambda found: {})
    both = dataclasses.replace(source, layouts=(unknown, *source.layouts))
    assert builders.download(both, tmp_path) is source.layouts[0]
    place = tmp_path / "place"
    (place / "all_1.json").touch()
    assert builders.download(both, tmp_path) is source.layouts[0]
    (place / "a").touch()
    assert builders.download(both, tmp_path) is unknown  # all there, though a pattern has no address
    assert len(server[2]) == 3


def test_what_has_no_address_is_named_with_a_remedy(tmp_path):
    with pytest.raises(
        FileNotFoundError, match=r"the files brca\.csv, centers\.csv, .*; the files are in github\.com"
    ) as e:
        builders.download(DATASETS["fed_tcga_brca"], tmp_path)
    assert "\n" not in str(e.value)
    assert contents(tmp_path) == {}


def test_addresses_that_tfds_knows_are_checked_by_us(tmp_path, monkeypatch):
    """TFDS would refuse another content under such an address in words of its own, of many lines."""
    asked = []

    class Manager:
        def __init__(self, download_dir, **options):
            self.folder = download_dir

        def download(self, url):
            asked.append(url)
            path = builders.Path(self.folder) / "fetched"
            path.write_bytes(b"another")
            return path

    monkeypatch.setattr(builders.tfds.download, "DownloadManager", Manager)
    monkeypatch.setattr(builders, "_check_reachable", lambda url: None)
    with pytest.raises(ValueError, match=r"mnist/train-images-idx3-ubyte\.gz: expected SHA-256 440fcabf.*\(7 bytes\)$"):
        builders.download(DATASETS["mnist"], tmp_path)
    assert asked[0] not in checksums.get_all_url_infos()
    assert asked[0].startswith("https://storage.googleapis.com/cvdf-datasets/mnist/train-images-idx3-ubyte.gz#")
