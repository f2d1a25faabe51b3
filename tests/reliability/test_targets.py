"""Where results may go is asked before work starts: what is refused leaves every file as it was and makes none."""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from commands import Ended, i2i
from models import write_model, write_pictures
from processes import start

from i2i.files import WriteError
from i2i.translation import TranslationError
from i2i.translation import plan as plan_module
from i2i.translation.folder import translate_folder
from i2i.translation.loading import load
from i2i.translation.options import Options

NOBODY = 65534


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model(tmp_path_factory.mktemp("model"), "resnet")


@pytest.fixture(scope="module")
def faces(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model(tmp_path_factory.mktemp("faces"), "dcgan")


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    """A folder with inputs, other people's files, and links to them."""
    write_pictures(tmp_path / "in", 6)
    (tmp_path / "theirs/sub").mkdir(parents=True)
    (tmp_path / "theirs/notes.txt").write_text("precious")
    (tmp_path / "file").write_text("precious")
    (tmp_path / "link").symlink_to(tmp_path / "theirs")
    (tmp_path / "sheet.png").write_bytes(b"precious")
    (tmp_path / "linked.png").symlink_to(tmp_path / "file")
    (tmp_path / "broken.png").symlink_to(tmp_path / "nowhere")
    (tmp_path / "weights.safetensors").write_bytes(b"precious")
    return tmp_path


def everything(root: Path) -> dict[str, tuple[int, int, bytes]]:
    """What there is below `root`: mode, time of change and content."""
    found = {}
    for path in sorted(root.rglob("*")):
        status = path.lstat()
        content = (
            str(path.readlink()).encode()
            if path.is_symlink()
            else path.read_bytes()
            if path.is_file()
            else b""
        )
        found[path.relative_to(root).as_posix()] = status.st_mode, status.st_mtime_ns, content
    return found


def refused(workspace: Path, *arguments: object, message: str) -> None:
    """Run a command that must end with this message, and change nothing below `workspace`."""
    before = everything(workspace)
    with tempfile.TemporaryDirectory() as folder:
        ended: Ended = i2i(Path(folder), *arguments)
    assert everything(workspace) == before, "something was touched"
    assert ended.status == 2, ended
    assert message in ended.err
    assert "Traceback" not in ended.err


TRANSLATE: list[tuple[str, str, list[object], str]] = [  # input, output, options, message
    ("in", "in", [], "same folder"),
    ("in", "in/../in", ["--overwrite"], "same folder"),
    ("in", "theirs/../in", ["--overwrite"], "same folder"),
    ("in", "in/out", [], "inside each other"),
    ("in/deep", "in", ["--overwrite"], "inside each other"),
    ("in/deep", "in/deep/er", ["--overwrite"], "inside each other"),
    ("in/*.png", "in", ["--overwrite"], "inside the output"),
    ("in/000.png", "in/000.png", ["--overwrite"], "same file"),
    ("in/000.png", "in/../in/000.png", ["--overwrite"], "same file"),
    ("in", "link", ["--overwrite"], "a symbolic link"),
    ("in", "link/.", ["--overwrite"], "a symbolic link"),
    ("in", "link/sub/..", ["--overwrite"], "a symbolic link"),
    ("in", "broken.png", ["--overwrite"], "a symbolic link"),
    ("in/000.png", "linked.png", ["--overwrite"], "a symbolic link"),
    ("in/000.png", "broken.png", ["--overwrite"], "a symbolic link"),
    ("in/000.png", "in/../linked.png", ["--overwrite"], "a symbolic link"),
    ("in/000.png", "sheet.png", [], "would be replaced"),
    ("in", "file", ["--overwrite"], "a file, not a folder"),
    ("in", "file/out", ["--overwrite"], "a file, not a folder"),
    ("in", "out", ["--shard", "3/3"], "does not exist"),
    ("in", "out", ["--size", "0"], "at least 1"),
    ("in", "out", ["--direction", "b2a"], "not b2a"),
]


@pytest.mark.parametrize(("source", "output", "options", "message"), TRANSLATE)
def test_translate_refuses_before_work_starts(
    source: str, output: str, options: list[object], message: str, model: Path, workspace: Path
) -> None:
    given = (
        f"{workspace}/{source}",
        f"{workspace}/{output}",
    )  # as typed: Path would take the dots away
    refused(workspace, "translate", model, *given, *options, message=message)


def test_input_that_a_link_or_a_mount_leads_to_the_output_is_refused(
    model: Path, workspace: Path
) -> None:
    write_pictures(workspace / "out", 1)
    (workspace / "in/results").symlink_to(workspace / "out")
    refused(
        workspace,
        "translate",
        model,
        workspace / "in",
        workspace / "out",
        "--overwrite",
        message="lie inside the output",
    )
    (workspace / "in/results").unlink()
    (workspace / "other-name").mkdir()
    mounted = subprocess.run(
        ["mount", "--bind", workspace / "in", workspace / "other-name"],
        capture_output=True,
        check=False,
    )
    if mounted.returncode:
        pytest.skip(f"nothing can be mounted here: {mounted.stderr.decode().strip()}")
    try:
        for output in ("other-name", "other-name/new"):
            target = workspace / output
            refused(
                workspace,
                "translate",
                model,
                workspace / "in",
                target,
                "--overwrite",
                message="input and output",
            )
    finally:
        subprocess.run(["umount", workspace / "other-name"], check=True)


@pytest.mark.parametrize("kind", ["folder", "pipe", "link to a record"])
def test_anything_but_a_file_at_the_path_of_an_output_is_refused(
    kind: str, model: Path, workspace: Path
) -> None:
    out = workspace / "out"
    out.mkdir()
    if kind == "folder":
        (out / "000.png").mkdir()
    elif kind == "pipe":
        os.mkfifo(out / "000.png")
    else:
        (out / ".i2i-manifest.jsonl").symlink_to(workspace / "file")
    message = "a symbolic link" if "link" in kind else "is in the way"
    refused(workspace, "translate", model, workspace / "in", out, "--overwrite", message=message)


def test_two_inputs_with_one_output_are_refused_also_where_case_makes_no_difference(
    model: Path, workspace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copy(workspace / "in/000.png", workspace / "in/000.bmp")
    refused(
        workspace,
        "translate",
        model,
        workspace / "in",
        workspace / "out",
        "--format",
        "png",
        "--overwrite",
        message="000.png: both",
    )
    (workspace / "in/000.bmp").rename(workspace / "in/A.bmp")
    (workspace / "in/000.png").rename(workspace / "in/a.png")
    monkeypatch.setattr(plan_module, "_ignores_case", lambda folder: True)
    refused(
        workspace,
        "translate",
        model,
        workspace / "in",
        workspace / "out",
        "--format",
        "png",
        message="both ",
    )
    monkeypatch.undo()
    with tempfile.TemporaryDirectory() as streams:
        done = i2i(
            Path(streams),
            "translate",
            model,
            workspace / "in",
            workspace / "out",
            "--format",
            "png",
        )
    assert done.status == 0
    names = {path.name for path in (workspace / "out").iterdir()}
    assert {"A.png", "a.png"} <= names or plan_module._ignores_case(workspace)


def test_existing_files_are_never_replaced_without_overwrite(model: Path, workspace: Path) -> None:
    write_pictures(workspace / "out", 6)
    (workspace / "out/000.png").unlink()  # one is missing: even that one is not begun
    refused(
        workspace,
        "translate",
        model,
        workspace / "in",
        workspace / "out",
        message="would be replaced",
    )
    refused(
        workspace,
        "translate",
        model,
        workspace / "in",
        workspace / "out",
        "--shard",
        "0/2",
        message="would be replaced",
    )


# -- other commands --------------------------------------------------------------------------------


GENERATE: list[tuple[list[object], str, str]] = [
    (["--count", 2], "theirs", "not empty"),
    (["--count", 2], "link", "a symbolic link"),
    (["--count", 2], "broken.png", "a symbolic link"),
    (["--count", 2], "file", "a file, not a folder"),
    (["--count", 2], "file/out", "a file, not a folder"),
    (["--grid", "1x1"], "sheet.png", "exists"),
    (["--grid", "1x1"], "linked.png", "a symbolic link"),
    (["--grid", "1x1"], "broken.png", "a symbolic link"),
    (["--grid", "1x1"], "new.txt", "must end in"),
    (["--grid", "1x1"], "nowhere/new.png", "no such folder"),
    (["--interpolate", "1:2:3"], "broken.png", "a symbolic link"),
    (["--interpolate", "1:2:3"], "new.jpg", "must end in .png, .webp"),
]


@pytest.mark.parametrize(("options", "out", "message"), GENERATE)
def test_generate_refuses_before_work_starts(
    options: list[object], out: str, message: str, faces: Path, workspace: Path
) -> None:
    refused(workspace, "generate", faces, workspace / out, *options, message=message)


@pytest.mark.parametrize(
    ("sheet", "message"),
    [
        ("sheet.png", "exists"),
        ("linked.png", "a symbolic link"),
        ("new.jpg", "must end in .png"),
        ("nowhere/x.png", "no such folder"),
    ],
)
def test_evaluate_refuses_a_sheet_before_work_starts(
    sheet: str, message: str, model: Path, workspace: Path
) -> None:
    refused(
        workspace,
        "evaluate",
        model,
        workspace / "in",
        "--sheet",
        workspace / sheet,
        message=message,
    )


def test_import_refuses_before_work_starts(workspace: Path) -> None:
    source = workspace / "latest_net_G.pth"
    torch.save({}, source)  # never read: the refusal comes first
    refused(workspace, "import", source, "--out", workspace, message="exists")
    refused(
        workspace,
        "import",
        source,
        "--out",
        workspace / "file",
        "--overwrite",
        message="a file, not a folder",
    )
    (workspace / "weights.safetensors").unlink()
    (workspace / "weights.safetensors").symlink_to(workspace / "file")
    refused(
        workspace, "import", source, "--out", workspace, "--overwrite", message="a symbolic link"
    )


@pytest.mark.parametrize(
    ("fix", "message"),
    [
        ("in", "overlap"),
        ("in/clean", "overlap"),
        (".", "overlap"),
        ("theirs", "not empty"),
        ("link", "a symbolic link"),
        ("file", "a file, not a folder"),
    ],
)
def test_data_check_refuses_a_clean_copy_before_work_starts(
    fix: str, message: str, workspace: Path
) -> None:
    refused(workspace, "data", "check", workspace / "in", "--fix", workspace / fix, message=message)


@pytest.mark.parametrize(
    ("out", "message"), [("theirs", "not empty"), ("link", "a symbolic link"), ("file", "a file")]
)
def test_data_synth_refuses_before_work_starts(out: str, message: str, workspace: Path) -> None:
    refused(
        workspace,
        "data",
        "synth",
        "portraits",
        workspace / out,
        "--count",
        2,
        "--size",
        32,
        message=message,
    )


@pytest.mark.parametrize("out", ["file", "file/run"])
def test_train_refuses_a_file_as_its_folder(out: str, workspace: Path) -> None:
    sets = [
        "data.load_size=32",
        "data.crop_size=32",
        "generator.width=4",
        "discriminator.width=4",
        "data.workers=0",
    ]
    words = [word for text in sets for word in ("--set", text)]
    given = ["--data", workspace / "in", "--out", workspace / out, *words]
    refused(workspace, "train", "dcgan", *given, message=f"i2i: {workspace / 'file'}")


# -- folders of others -----------------------------------------------------------------------------


@pytest.fixture
def reachable(model: Path) -> Iterator[Path]:
    """A folder that every user of the machine reaches, unlike that of a test."""
    root = Path(tempfile.mkdtemp())
    root.chmod(0o755)
    write_pictures(root / "in", 6)
    yield root
    shutil.rmtree(root)


def as_nobody(task: Callable[[], None]) -> None:
    """Run in a process without the rights of the superuser, who may write everywhere."""

    def run() -> None:
        if os.geteuid() == 0:
            os.setgroups([])
            os.setgid(NOBODY)
            os.setuid(NOBODY)
        task()

    process = start(run)
    process.join(60)
    assert process.exitcode == 0


WHAT = ["the folder", "the one above", "one inside it", "one that is to hold folders"]


@pytest.mark.parametrize("what", WHAT)
def test_folder_that_may_not_be_written_is_refused_before_work_starts(
    what: str, model: Path, reachable: Path
) -> None:
    out = reachable / "out"
    if what != "the one above":
        out.mkdir()
        out.chmod(0o777)
    if what.startswith("one"):
        (out / "deep").mkdir()
    if what == "one that is to hold folders":  # of deep, only deep/er has images
        (reachable / "in/deep/001.jpg").unlink()
    if what == "the folder":
        out.chmod(0o555)
    elif what == "the one above":
        reachable.chmod(0o555)
    else:
        (out / "deep").chmod(0o555)
    translator = load(model, device="cpu")
    before = everything(reachable)

    def task() -> None:
        with pytest.raises(WriteError, match="cannot be written"):
            translate_folder(translator, reachable / "in", out, Options(overwrite=True))

    as_nobody(task)
    assert everything(reachable) == before


def test_folder_that_may_not_be_read_is_named_and_the_rest_is_translated(
    model: Path, reachable: Path
) -> None:
    (reachable / "in/deep").chmod(0o700 if os.geteuid() == 0 else 0o000)
    (reachable / "out").mkdir()
    (reachable / "out").chmod(0o777)
    translator = load(model, device="cpu")

    def task() -> None:
        report = translate_folder(translator, reachable / "in", reachable / "out")
        assert report.failed == [("deep", "cannot be read (Permission denied)")]
        assert report.written > 0

    as_nobody(task)
    (reachable / "in/deep").chmod(0o755)
    assert not (reachable / "out/deep").exists()


def test_folder_of_a_training_run_takes_no_translations(tmp_path: Path) -> None:
    run = tmp_path / "run"
    (run / "checkpoints").mkdir(parents=True)
    (run / "samples").mkdir()
    (run / "config.yaml").write_text("")
    translator = load(write_model(tmp_path / "model", "resnet"))
    photos = write_pictures(tmp_path / "in", 1)
    for output in (run, run / "samples", run / "samples/new"):
        with pytest.raises(TranslationError, match="belongs to the run"):
            translate_folder(translator, photos, output)
    assert not any((run / "samples").iterdir())
