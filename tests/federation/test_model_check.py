"""The real Flower and the real NVFlare with hooks that check the received model: honest ones train, an imprint not."""

import numpy as np
import pytest
from flwr.app import ArrayRecord, ConfigRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
from modified import batch, build, modified
from nvflare.apis.dxo import DXO, DataKind
from nvflare.apis.filter import FilterContextKey
from nvflare.apis.fl_constant import FilterKey
from nvflare.apis.fl_context import FLContext

from gradaudit.capture.flower import LAST, model_check_mod
from gradaudit.capture.flower_client import _identity, run_client_once
from gradaudit.capture.model_guard import ModelRefused
from gradaudit.capture.nvflare import ModelCheckFilter
from gradaudit.values.errors import AuditError


def app_of(trained, **options):
    app = ClientApp(mods=[model_check_mod(build, batch=batch, **options)])

    @app.train()
    def train(message, context):
        trained.append(message)
        content = {"arrays": message.content["arrays"], "metrics": MetricRecord({"num-examples": 1})}
        return Message(RecordDict(content), reply_to=message)

    @app.evaluate()
    def evaluate(message, context):
        return Message(RecordDict({"metrics": MetricRecord({"num-examples": 1})}), reply_to=message)

    return app


def test_flower_trains_on_an_honest_model_and_refuses_an_imprint():
    trained = []
    once = run_client_once(app_of(trained), build().state_dict())
    assert (len(once.after), len(trained)) == (4, 1)
    with pytest.raises(AuditError, match="replied with an error: gradaudit: the client does not train on this model"):
        run_client_once(app_of(trained), modified().state_dict())
    assert len(trained) == 1  # the app was not called
    assert run_client_once(app_of(trained, refuse=False), modified().state_dict()).after
    assert len(trained) == 2


def test_a_positional_list_is_read_by_the_order_of_the_model():
    trained = []
    arrays = [value.numpy() for value in modified().state_dict().values()]
    with pytest.raises(AuditError, match="the client does not train"):
        run_client_once(app_of(trained), arrays)
    assert not trained


def test_the_model_of_the_round_before_is_kept_in_the_state_of_the_client():
    seen, state = [], RecordDict()
    app = app_of([], report=seen.append)

    def round_of(weights, number, kind="train"):
        content = RecordDict({"arrays": ArrayRecord(weights), "config": ConfigRecord({"server-round": number})})
        message = Message(content, dst_node_id=3, message_type=kind)
        return app(message, Context(run_id=1, node_id=3, node_config={}, state=state, run_config={}))

    with _identity(3):
        assert not round_of(build().state_dict(), 1).has_error()
        assert not round_of(build().state_dict(), 2).has_error()
        reply = round_of(modified().state_dict(), 3)
        assert not round_of(modified().state_dict(), 3, "evaluate").has_error()
    first, second, third = ({one.detector: one.alarm for one in check.detections} for check in seen)
    assert (first["spectrum-shift"], second["spectrum-shift"], third["spectrum-shift"]) == (None, False, True)
    assert reply.has_error()
    assert reply.error.reason == "gradaudit: the client does not train on this model."  # the server learns no more
    assert list(state.array_records) == [f"{LAST}arrays"]
    kept = state.array_records[f"{LAST}arrays"].to_torch_state_dict()
    assert kept["1.weight"].equal(build().state_dict()["1.weight"])  # not the refused one


def arrived(check, weights, kind=DataKind.WEIGHTS):
    """Pass weights through the filter as NVFlare does for a task that arrives."""
    context = FLContext()
    context.set_prop("__identity_name__", "site-1")
    check.set_prop(FilterContextKey.CHAIN_TYPE, FilterKey.IN)
    return check.process(DXO(kind, data=weights).to_shareable(), context)


def arrays(net):
    return {name: np.array(value) for name, value in net.state_dict().items()}


def test_nvflare_passes_an_honest_model_and_refuses_an_imprint():
    check = ModelCheckFilter("modified:build", batch="modified:batch")
    for _ in range(2):  # the second round has a round before
        assert arrived(check, arrays(build())) is not None
    with pytest.raises(ModelRefused, match=r"^gradaudit: the client does not train on this model\.$"):
        arrived(check, arrays(modified()))
    with pytest.raises(ModelRefused, match="does not train"):
        arrived(check, arrays(build()), DataKind.WEIGHT_DIFF)
    assert arrived(ModelCheckFilter("modified:build", refuse=False), arrays(modified())) is not None
    with pytest.raises(AuditError, match="model: build should name a function as module:function"):
        ModelCheckFilter("build")
