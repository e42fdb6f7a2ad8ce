"""From a path on this machine to a document, with the real files."""

from __future__ import annotations

import os
from importlib.resources import files
from pathlib import Path

import pytest

from samdrift import reading
from samdrift.reading import DocumentRejected, DocumentUnreadable, ledger_url, read_document
from samdrift.spec.secret_references import MissingReference
from samdrift.spec.size import weight_of

EXAMPLES = Path(__file__).parents[2] / "examples"
SMALL = """\
samdrift: 1
community: {name: Test}
organisations: {aarhus: {}}
pools: {here: {devices: [{kind: cpu}]}}
models: {chat: {weights: "file:weights/chat.gguf", pool: here}}
"""


@pytest.mark.parametrize(
    "example",
    sorted(p for p in EXAMPLES.iterdir() if p.is_dir() or p.suffix == ".yaml"),
    ids=lambda p: p.name,
)
def test_every_example_is_in_order(example: Path) -> None:
    assert read_document(
        example, environment={"SAMDRIFT_LEDGER": "postgresql+psycopg://samdrift:x@db/samdrift"}
    ).organisations


def test_the_demo_is_in_order_and_its_members_differ_in_size() -> None:
    demo = read_document(Path(str(files("samdrift") / "demo.yaml")), environment={})
    assert {name: weight_of(o) for name, o in demo.organisations.items()} == {
        "aarhus": 37,
        "viborg": 10,
        "samsoe": 1,
    }
    assert {name: m.task for name, m in demo.models.items()} == {"chat-small": "generate", "embed": "embed"}
    assert demo.gateway.listen == "127.0.0.1:8080"


def test_paths_start_from_the_document_wherever_one_stands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tls = "gateway: {listen: '0.0.0.0:8443', tls: {certificate: tls/server.crt, key: /etc/server.key}}\n"
    (tmp_path / "community.yaml").write_text(SMALL + tls)
    monkeypatch.chdir("/")
    spec = read_document(tmp_path / "community.yaml")
    assert spec.models["chat"].weights == f"file:{tmp_path}/weights/chat.gguf"
    assert spec.gateway.tls is not None
    assert (spec.gateway.tls.certificate, spec.gateway.tls.key) == (
        f"{tmp_path}/tls/server.crt",
        "/etc/server.key",
    )
    monkeypatch.chdir(tmp_path)
    assert read_document(Path("community.yaml")) == spec == read_document(Path())


def test_a_folder_is_read_with_its_sub_folders_but_not_what_is_hidden(tmp_path: Path) -> None:
    broken = dict.fromkeys(("notes.txt", ".draft.yaml", ".git/config.yaml"), "{")
    for name, text in {
        "a.yaml": SMALL,
        "members/viborg.yml": "organisations: {viborg: {}}",
        **broken,
    }.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    assert list(read_document(tmp_path).organisations) == ["aarhus", "viborg"]


def test_a_secret_in_a_file_reaches_the_ledger_and_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "password").write_text("hunter2\n")
    document = tmp_path / "community.yaml"
    document.write_text(SMALL + "ledger: {url: 'postgresql://samdrift:${file:password}@${env:DB}/samdrift'}\n")
    spec = read_document(document, environment={"DB": "db.example.dk"})
    assert "hunter2" not in repr(spec)
    assert ledger_url(spec, document, {"DB": "db.example.dk"}) == "postgresql://samdrift:hunter2@db.example.dk/samdrift"
    elsewhere = Path("/somewhere/else/document.json")
    assert "hunter2" in ledger_url(spec, elsewhere, {"DB": "db"}), "a document that was read knows where its files are"
    (tmp_path / "password").unlink()
    with pytest.raises(MissingReference, match=r"file:.*password"):
        ledger_url(spec, document, {"DB": "db.example.dk"})
    with pytest.raises(DocumentRejected, match="cannot be read or is empty"):
        read_document(document, environment={"DB": "db.example.dk"})


def test_a_pipe_in_place_of_a_secret_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "password")
    (tmp_path / "community.yaml").write_text(SMALL + "ledger: {url: '${file:password}'}\n")
    with pytest.raises(DocumentRejected, match="cannot be read"):
        read_document(tmp_path / "community.yaml")


def test_a_mark_of_byte_order_is_no_fault_but_other_encodings_are(tmp_path: Path) -> None:
    document = tmp_path / "community.yaml"
    document.write_bytes(b"\xef\xbb\xbf" + SMALL.encode())
    assert read_document(document).community.name == "Test"
    document.write_bytes(SMALL.replace("Test", "Samsø").encode("latin-1"))
    with pytest.raises(DocumentRejected, match=r"community.yaml:2\): The file is not UTF-8 text"):
        read_document(document)


def test_what_is_not_there_or_not_ours_is_said_plainly(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(DocumentUnreadable, match="There is no document at"):
        read_document(tmp_path / "nowhere.yaml")
    with pytest.raises(DocumentUnreadable, match=r"no \*\.yaml file"):
        read_document(tmp_path)
    for n in range(4):
        (tmp_path / f"{n}.yaml").write_text("# x\n")
    monkeypatch.setattr(reading, "MAX_FILES", 3)
    with pytest.raises(DocumentUnreadable, match="more than 3 files"):
        read_document(tmp_path)
    monkeypatch.setattr(reading, "MAX_BYTES", 10)
    with pytest.raises(DocumentRejected, match="larger than"):
        read_document(tmp_path)
