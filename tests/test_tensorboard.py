"""TensorBoard shows all that is measured, as its own readers tell: settings, scalars, pictures, logits, the end."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from commands import here
from numpy.typing import NDArray
from runs import draw_scenes, rows, train_words
from tensorboard import context
from tensorboard.backend.event_processing.data_provider import MultiplexerDataProvider
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.backend.event_processing.plugin_event_multiplexer import EventMultiplexer
from tensorboard.plugins.base_plugin import TBContext
from tensorboard.plugins.hparams import api_pb2
from tensorboard.plugins.hparams.backend_context import Context
from tensorboard.plugins.hparams.list_session_groups import Handler
from tensorboard.util import tensor_util

from i2i.losses import adversarial
from i2i.run import train

Shown = dict[str, list[NDArray[np.float32]]]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Shown]:
    """A run that was stopped after 8 images and resumed up to 16, with a row every 4, and the logits of all its steps."""
    folder, shown = tmp_path_factory.mktemp("run"), Shown(real=[], fake=[])
    accuracies = adversarial.accuracies

    def watch(name: Any, real: Any, fake: Any) -> Any:
        shown["real"].append(real[0].detach().numpy().copy())
        shown["fake"].append(fake[0].detach().numpy().copy())
        return accuracies(name, real, fake)

    words = train_words("pix2pix", draw_scenes(folder / "data"), folder / "run")
    words += ["--set", "log.tensorboard=true", "--set", "optim.lr=0.001"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(adversarial, "accuracies", watch)
        patch.setattr(train, "check_start", lambda *_: [])  # it computes logits of no step
        for more in (["--images", "8"], ["--images", "16", "--resume"]):
            done = here(*words, *more)
            assert done.status == 0, done.err
    return folder / "run", shown


def board_of(run: Path) -> Any:
    board: Any = EventAccumulator(str(run), size_guidance={"histograms": 0})
    board.Reload()
    return board


def test_all_scalars_of_the_rows_are_there(trained: tuple[Path, Shown]) -> None:
    board, logged = board_of(trained[0]), rows(trained[0])
    tags = board.Tags()
    assert [row["images"] for row in logged] == [4, 8, 12, 16]
    for name in logged[-1].keys() - {"images"}:
        assert [event.step for event in board.Scalars(name)] == [4, 8, 12, 16], name
        expected = [row[name] for row in logged]
        assert [event.value for event in board.Scalars(name)] == pytest.approx(expected), name
    assert {"G/gan", "G/l1", "D/real", "D/fake", "D/grad_norm", "G/grad_norm"} <= set(
        tags["scalars"]
    )
    assert {"D/accuracy_real", "lr/G", "images_per_second", "data_wait"} <= set(tags["scalars"])
    assert {event.step for event in board.Images("samples")} == {0, 8, 16}


@pytest.mark.parametrize("kind", ["real", "fake"])
def test_histogram_counts_the_logits_of_its_interval(
    trained: tuple[Path, Shown], kind: str
) -> None:
    run, shown = trained
    for row, event in enumerate(board_of(run).Histograms(f"D/logits_{kind}")):
        logits = np.concatenate([x.ravel() for x in shown[kind][2 * row : 2 * row + 2]])
        value = event.histogram_value
        # beyond the first and the last bin that are written there is nothing
        edges = [-np.inf, *np.float32(value.bucket_limit)]
        assert event.step == 4 * (row + 1)
        assert value.bucket == np.histogram(logits, edges)[0].tolist()
        assert value.num == logits.size
        assert value.min <= logits.min() <= logits.max() <= value.max
        assert value.sum / value.num == pytest.approx(logits.mean(), abs=0.01)


def test_settings_are_there_as_text(trained: tuple[Path, Shown]) -> None:
    first, second = board_of(trained[0]).Tensors("config/text_summary")
    (text,) = tensor_util.make_ndarray(second.tensor_proto)
    assert [first.step, second.step] == [0, 8]
    assert yaml.safe_load(text) == yaml.safe_load((trained[0] / "config.yaml").read_text())


def test_table_of_hyperparameters_shows_settings_and_final_metrics(
    trained: tuple[Path, Shown],
) -> None:
    run, _ = trained
    runs: Any = EventMultiplexer()
    runs.AddRunsFromDirectory(str(run.parent))
    runs.Reload()
    provider: Any = MultiplexerDataProvider(runs, str(run.parent))
    page: Any = Context(TBContext(data_provider=provider))
    asked = api_pb2.ListSessionGroupsRequest(
        allowed_statuses=[api_pb2.STATUS_SUCCESS], slice_size=10
    )
    answer = Handler(context.RequestContext(), page, "", asked).run()
    (group,) = answer.session_groups
    assert group.hparams["optim.lr"].number_value == 0.001
    assert group.hparams["method.name"].string_value == "pix2pix"
    assert group.sessions[0].status == api_pb2.STATUS_SUCCESS
    last = rows(run)[-1]
    metrics = {value.name.tag: value for value in group.metric_values}
    for name in last.keys() - {"images"}:
        assert metrics[name].value == pytest.approx(last[name]), name
        assert metrics[name].training_step == 16
