import pytest
import yaml
from hypothesis import example, given
from hypothesis import strategies as st

from gradaudit import Knowledge, Level
from gradaudit.audit.config import AuditConfig, make_config, read_config
from gradaudit.audit.yaml_text import parse_yaml
from gradaudit.values.errors import AuditError

MINIMAL = {"data": {"source": "photographs"}, "model": {"name": "lenet"}, "knowledge": ["priors", "LABELS"]}


def test_defaults():
    config = make_config(dict(MINIMAL))
    assert config.training.kind == "fedsgd"
    assert config.training.batch_norm == "eval"
    assert config.defenses == ()
    assert [entry.name for entry in config.attacks] == ["standard-1"]
    assert (config.repeats, config.seed, config.device) == (1, 0, "auto")
    assert config.granted == Knowledge.BATCH_SIZE | Knowledge.LABELS


@pytest.mark.parametrize(
    ("name", "level"),
    [
        ("basic", Level.BASIC),
        ("priors", Level.PRIORS),
        ("data-distribution", Level.DATA_DISTRIBUTION),
        ("training-details", Level.TRAINING_DETAILS),
        ("batch-statistics", Level.BATCH_STATISTICS),
        ("malicious-server", Level.MALICIOUS_SERVER),
    ],
)
def test_levels_by_name(name, level):
    assert make_config({**MINIMAL, "knowledge": [name]}).granted == level


def test_each_level_holds_the_ones_below():
    levels = [Level.BASIC, Level.PRIORS, Level.DATA_DISTRIBUTION, Level.TRAINING_DETAILS, Level.BATCH_STATISTICS]
    for low, high in zip(levels, [*levels[1:], Level.MALICIOUS_SERVER], strict=True):
        assert low & high == low


def test_the_resolved_file_reads_back_to_itself():
    config = make_config(
        {
            **MINIMAL,
            "attacks": [{"name": "dlg", "set": {"stages.0.steps": 5}}],
            "defenses": [{"name": "clip", "norm": 1}],
        }
    )
    assert make_config(yaml.safe_load(config.as_yaml())) == config


@pytest.mark.parametrize(
    ("changes", "check"),
    [
        (["data.batch_size=4"], lambda c: c.data["batch_size"] == 4),
        (["attacks.0.stages.0.steps=2000"], lambda c: c.attacks[0].set == {"stages.0.steps": 2000}),
        (["attacks.0.stages.0.terms.0.weight=1e-3"], lambda c: c.attacks[0].set["stages.0.terms.0.weight"] == 1e-3),
        (["attacks.0.name=dlg"], lambda c: [e.name for e in c.attacks] == ["dlg"]),
        (["attacks.0=dlg"], lambda c: [e.name for e in c.attacks] == ["dlg"]),
        (["attacks=[dlg, idlg]"], lambda c: [e.name for e in c.attacks] == ["dlg", "idlg"]),
        (["seed=3", "repeats=2"], lambda c: (c.seed, c.repeats) == (3, 2)),
        (["training.batch_norm=train"], lambda c: c.training.batch_norm == "train"),
    ],
)
def test_set(changes, check):
    assert check(make_config(yaml.safe_load(yaml.safe_dump(MINIMAL)), changes))


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        ({"modell": {}}, r"modell: unknown key. Did you mean model\?"),
        ({"data": None}, "data: "),
        ({"model": {"name": "lenet", "wieghts": "x"}}, r"model.wieghts: unknown key. Did you mean weights\?"),
        ({"model": {}}, "model: give either name or factory"),
        ({"model": {"name": "lenet", "factory": "a:b"}}, "either name or factory"),
        (
            {"model": {"name": "lenet", "num_classes": 1}},
            "model.num_classes: should be greater than or equal to 2. Found 1",
        ),
        (
            {"model": {"factory": "net.py:net", "cifar_stem": True}},
            "cifar_stem is for a model that is given by its name",
        ),
        ({"training": {"kind": "fedsdg"}}, "training.kind: should be 'fedsgd' or 'fedavg'. Found 'fedsdg'"),
        ({"training": {"kind": "fedavg"}}, "training: fedavg needs a learning_rate"),
        ({"training": {"epochs": 2}}, "fedsgd is one step"),
        (
            {"training": {"shuffle": True}},
            "fedsgd is one step on the whole batch, without shuffle; choose kind: fedavg",
        ),
        ({"training": {"update": "weight-difference"}}, "without update; choose kind: fedavg"),
        ({"training": {"kind": "fedavg", "learning_rate": 1, "nesterov": True}}, "training: nesterov needs a momentum"),
        (
            {"training": {"kind": "fedavg", "learning_rate": 1, "optimiser": "adam", "momentum": 0.9}},
            "training: adam takes betas, no momentum. Found 0.9",
        ),
        ({"training": {"optimiser": "adamw"}}, "training.optimiser: should be 'sgd' or 'adam'. Found 'adamw'"),
        ({"training": {"betas": [0.9, 1]}}, "training.betas.1: should be less than 1. Found 1"),
        ({"training": {"weight_decay": -1}}, "training.weight_decay: should be greater than or equal to 0"),
        ({"training": {"shared": []}}, "training.shared: "),
        ({"clients": 0}, "clients: should be greater than or equal to 1. Found 0"),
        ({"training": {"learning_rte": 2}}, r"learning_rte: unknown key. Did you mean learning_rate\?"),
        ({"knowledge": ["LABEL"]}, r"unknown fact LABEL. Did you mean LABELS\?"),
        ({"knowledge": ["NOTHING"]}, "unknown fact NOTHING"),
        ({"knowledge": "priors"}, "knowledge"),
        ({"attacks": [{"name": "dlg", "sett": {}}]}, r"sett: unknown key. Did you mean set\?"),
        ({"repeats": 0}, "repeats: should be greater"),
        ({"seed": -1}, "seed: should be greater"),
        ({"seed": "a"}, "seed: should be a valid integer"),
        ({"seed": 2**63}, "seed: should be less than or equal to 9223372036854775807"),
        ({"seed": True}, "seed: should be a valid integer. Found True"),
        ({"seed": "3"}, "seed: should be a valid integer. Found '3'"),
        ({"seed": 1.5}, "seed: should be a valid integer"),
        ({"seed": ["x" * 500]}, r"seed: should be a valid integer. Found \['x+\.\.\.\.$"),
        ({"seed": float("nan")}, "audit: must contain only plain values"),
        ({"seed": {1, 2}}, "audit: must contain only plain values"),
        ({"repeats": 10**12}, "repeats: should be less than or equal to 1000000"),
        ({"clients": 10**9}, "clients: should be less than or equal to 1000000"),
        ({"training": {"kind": "fedavg", "learning_rate": 1, "epochs": 10**12}}, "training.epochs: should be less"),
        ({"training": {"dropout": "no"}}, "training.dropout: should be a valid boolean. Found 'no'"),
        ({"model": {"name": ["lenet"]}}, "model.name: should be a valid string"),
        ({"model": {"name": "lenet", "mean": "abc"}}, "model.mean: should be a valid array"),
        ({"knowledge": [["priors"]]}, r"unknown fact \['priors'\]"),
        ({"defenses": {"name": "clip"}}, "defenses: should be a valid array"),
        ({"device": 3}, "device: should be a valid string"),
    ],
)
def test_refuses_in_one_line(raw, message):
    with pytest.raises(AuditError, match=message) as caught:
        make_config({**MINIMAL, **raw})
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("key", ["data", "model", "knowledge"])
def test_what_must_be_given(key):
    with pytest.raises(AuditError, match=f"{key}: is missing"):
        make_config({k: v for k, v in MINIMAL.items() if k != key})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("data.batch_size", "write it as key.sub=value"),
        ("attacks.3.stages.0.steps=1", "no entry 3. The list has 1"),
        ("defenses.0.std=1", "no entry 0. The list has 0"),
        ("seed.deep=1", "cannot be set|seed"),
        ("attacks.²=1", "no entry ²"),
        ("attacks.٣.name=x", "no entry ٣"),
        (f"attacks.{'9' * 5000}=x", "no entry 999"),
        ("attacks.0.stages.0.steps=!!int abc", "--set attacks.0.stages.0.steps, line 1: 'abc' is no int"),
        ("seed=0x_", "seed: should be a valid integer. Found '0x_'"),
        ("=1", "write it as key.sub=value"),
        ("..=1", ": unknown key"),
        ("seed.attacks.0.x=1", "attacks cannot be set, as the value above it is not a mapping"),
    ],
)
def test_refuses_a_set_that_leads_nowhere(change, message):
    raw = {**MINIMAL, "seed": 0, "defenses": []}
    with pytest.raises(AuditError, match=message):
        make_config(raw, [change])


@pytest.mark.parametrize("attacks", [[5], [{"name": "dlg", "set": None}], [None]])
def test_refuses_to_set_a_field_of_what_is_no_attack(attacks):
    with pytest.raises(AuditError, match=r"attacks.0 is neither a name nor a mapping of name and set"):
        make_config({**MINIMAL, "attacks": attacks}, ["attacks.0.stages.0.steps=1"])


def test_yaml_errors_name_the_line(tmp_path):
    path = tmp_path / "audit.yaml"
    path.write_text("data: {source: photographs}\nmodel: {name: lenet\nknowledge: [priors]\n")
    with pytest.raises(AuditError, match=r"audit.yaml, line [34]: "):
        read_config(path)


@pytest.mark.parametrize("content", [b"- a\n- b\n", b"", b"just text", b"# a remark\n"])
def test_a_file_that_is_no_mapping(tmp_path, content):
    path = tmp_path / "audit.yaml"
    path.write_bytes(content)
    with pytest.raises(AuditError, match="must be a mapping"):
        read_config(path)


def test_missing_and_binary_files(tmp_path):
    with pytest.raises(AuditError, match="cannot read the audit file: No such file"):
        read_config(tmp_path / "none.yaml")
    (tmp_path / "x.yaml").write_bytes(b"\xff\xfe\x00\x80")
    with pytest.raises(AuditError, match="not a text file"):
        read_config(tmp_path / "x.yaml")
    with pytest.raises(AuditError, match="cannot read the audit file: Is a directory"):
        read_config(tmp_path)
    with pytest.raises(AuditError, match="cannot read the audit file: File name too long"):
        read_config(tmp_path / ("x" * 300))


@given(st.text(max_size=20), st.text(max_size=20))
@example("attacks.0.name.x", "1")
@example("data.source.x", "{}")
def test_no_change_gives_a_traceback(path, value):
    problem = ""
    try:
        make_config(MINIMAL, [f"{path}={value}"])
    except AuditError as error:
        problem = str(error)
    assert "\n" not in problem


@given(st.text(max_size=60))
def test_no_text_gives_a_traceback(text):
    try:
        config = make_config(parse_yaml(text, "x"))
    except AuditError as error:
        problem = str(error)
    else:
        problem = "none"
        assert isinstance(config, AuditConfig)
    assert problem


@given(
    st.dictionaries(
        st.sampled_from(list(AuditConfig.model_fields)),
        st.recursive(
            st.none() | st.integers() | st.text(max_size=5),
            lambda x: st.lists(x, max_size=2) | st.dictionaries(st.text(max_size=5), x, max_size=2),
        ),
    )
)
@example({"model": {"\n": None}})
def test_no_mapping_gives_a_traceback(raw):
    problem = ""
    try:
        make_config({**MINIMAL, **raw})
    except AuditError as error:
        problem = str(error)
    assert "\n" not in problem
