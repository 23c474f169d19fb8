"""What the host says it loaded, against the files that were confirmed."""

from __future__ import annotations

from pathlib import Path

import pytest

from stablequeue_client.shared.model_files.model_file import StatKey
from stablequeue_client.shared.wire.runner import AssignedFile
from stablequeue_client.webui.runner.evidence import HostReport, SamplerStep, evidence
from stablequeue_client.webui.runner.file_check import ConfirmedFile
from stablequeue_client.webui.runner.restore_name import put_back

SHA = "a" * 64


def confirmed(
    role: str, path: str, number: int = 0, *, used: bool = True, script: bool = False
) -> ConfirmedFile:
    name = path.rsplit("/", 1)[-1].rsplit(".", 1)[0]
    file = AssignedFile(number, role, name, name, "root", path, SHA, 3, used, script)  # type: ignore[arg-type]
    return ConfirmedFile(file, path, StatKey(3, 1, 1, 1))


def states(files: list[ConfirmedFile], report: HostReport, *, unchanged: bool = True) -> list[str]:
    return [one.state for one in evidence(files, report, lambda _: unchanged)]


BASE, REFINER, VAE, LORA = (
    confirmed("checkpoint", "/m/base.safetensors"),
    confirmed("refiner", "/m/refiner.safetensors", 1),
    confirmed("module", "/m/vae.safetensors", 2),
    confirmed("lora", "/m/ink.safetensors", 3),
)
STEP = SamplerStep(
    "/m/base.safetensors", frozenset({"/m/vae.safetensors"}), frozenset({"/m/ink.safetensors"})
)


def test_all_that_was_in_memory_counts_as_loaded_with_its_content() -> None:
    report = HostReport([STEP, SamplerStep("/m/refiner.safetensors", STEP.modules, STEP.loras)])
    found = evidence([BASE, REFINER, VAE, LORA], report, lambda _: True)
    assert [(one.state, one.sha256) for one in found] == [("loaded", SHA)] * 4


@pytest.mark.parametrize(
    ("report", "expected"),
    [
        (HostReport([SamplerStep("/m/current.safetensors")]), "other_file"),
        (HostReport([STEP, SamplerStep("/m/current.safetensors")]), "other_file"),
        (HostReport([STEP, SamplerStep("/m/current.safetensors")], scripted=True), "loaded"),
        (HostReport([]), "unknown"),
    ],
)
def test_another_checkpoint_at_any_step_is_told(report: HostReport, expected: str) -> None:
    assert states([BASE], report) == [expected]


def test_loras_that_were_left_out_are_told() -> None:
    assert states([LORA], HostReport([SamplerStep("/m/base.safetensors")])) == ["not_loaded"]
    assert states([LORA], HostReport([STEP], lora_failures=1)) == ["not_loaded"]


def test_a_vae_that_was_not_in_memory_is_told() -> None:
    assert states([VAE], HostReport([SamplerStep("/m/base.safetensors")])) == ["not_loaded"]


def test_a_file_that_changed_meanwhile_is_told() -> None:
    assert states([BASE], HostReport([STEP]), unchanged=False) == ["changed"]


def test_an_embedding_is_the_file_that_the_model_in_memory_knows() -> None:
    hands = confirmed("embedding", "/e/hands.pt")
    assert states([hands], HostReport([STEP], embeddings={"hands": "/e/hands.pt"})) == ["loaded"]
    assert states([hands], HostReport([STEP], embeddings={"hands": "/e/sub/hands.pt"})) == ["other_file"]
    assert states([hands], HostReport([STEP])) == ["not_loaded"]


def test_a_file_that_no_host_loads_for_the_job_is_not_judged() -> None:
    assert states([BASE, confirmed("lora", "/m/x.safetensors", 4, used=False)], HostReport([STEP])) == [
        "loaded"
    ]


def set_aside(folder: Path, content: bytes = b"abc") -> ConfirmedFile:
    path = folder / "model.safetensors"
    path.write_bytes(content)
    found = path.stat()
    one = confirmed("checkpoint", str(path))
    path.rename(f"{path}.corrupted")
    return ConfirmedFile(one.file, str(path), StatKey(found.st_size, found.st_mtime_ns, 0, found.st_ino))


def test_a_file_that_the_host_renamed_gets_its_name_back(tmp_path: Path) -> None:
    one = set_aside(tmp_path)
    assert put_back([one]) == [one.path]
    assert [path.name for path in tmp_path.iterdir()] == ["model.safetensors"]


def test_another_file_of_that_name_is_left_where_it_is(tmp_path: Path) -> None:
    one = set_aside(tmp_path)
    other = ConfirmedFile(
        one.file, one.path, StatKey(one.stat.size, one.stat.mtime_ns + 1, 0, one.stat.inode)
    )
    assert put_back([other]) == []
    Path(one.path).write_bytes(b"a new download")
    assert put_back([one]) == []
    assert Path(one.path).read_bytes() == b"a new download"


def test_where_links_cannot_be_made_it_is_renamed(tmp_path: Path) -> None:
    one = set_aside(tmp_path)

    def no_links(source: str, target: str) -> None:
        raise OSError(95, "not supported")

    assert put_back([one], link=no_links) == [one.path]
    assert [path.name for path in tmp_path.iterdir()] == ["model.safetensors"]


A, B = (
    confirmed("checkpoint", f"/m/{name}.safetensors", number, used=False, script=True)
    for number, name in enumerate("ab", start=5)
)
NOT_USED = confirmed("checkpoint", "/m/base.safetensors", used=False)


def steps(*names: str) -> list[SamplerStep]:
    return [SamplerStep(f"/m/{name}.safetensors") for name in names]


@pytest.mark.parametrize("order", ["ab", "ba"])
def test_the_checkpoints_of_an_axis_are_loaded_in_any_order(order: str) -> None:
    report = HostReport(steps(*order), scripted=True)
    assert states([NOT_USED, A, B], report) == ["loaded", "loaded"]


def test_a_checkpoint_that_is_none_of_an_axis_is_told() -> None:
    assert states([NOT_USED, A, B], HostReport(steps("a", "b", "c"), scripted=True)) == ["other_file"] * 2
    assert states([NOT_USED, A, B], HostReport(steps("a"), scripted=True)) == ["loaded", "unknown"]


def test_a_checkpoint_that_a_script_uses_besides_is_none_that_replaced_the_first() -> None:
    assert states([BASE, A], HostReport([STEP, *steps("a")])) == ["loaded", "loaded"]
    assert states([BASE, A], HostReport([STEP])) == ["loaded", "unknown"]
    assert states([BASE, A], HostReport([STEP, *steps("a", "c")])) == ["other_file", "loaded"]


def test_a_lora_that_only_a_script_names_need_not_be_come_to() -> None:
    one = confirmed("lora", "/m/soft.safetensors", used=False, script=True)
    used = SamplerStep("/m/base.safetensors", loras=frozenset({"/m/soft.safetensors"}))
    assert states([one], HostReport([STEP, used])) == ["loaded"]
    assert states([one], HostReport([STEP])) == ["unknown"]
    assert states([one], HostReport([STEP], lora_failures=1)) == ["not_loaded"]
