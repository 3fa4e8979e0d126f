"""Which class a configuration may name for its layers."""

import pytest

from kan_exp.config import Component, RunConfig
from kan_exp.errors import KanExpError
from kan_exp.layers import KANInterpoLayer
from kan_exp.preparing.modules import layer_specs


def config(path):
    return RunConfig(dims=[2, 1], layers=Component(path))


def test_a_layer_is_imported_by_its_path(tmp_path, monkeypatch):
    (spec,) = layer_specs(config("kan_exp.layers.KANInterpoLayer"))
    assert spec.kind is KANInterpoLayer
    text = "from kan_exp.layers import KANInterpoLayer\nclass Own(KANInterpoLayer): pass\n"
    (tmp_path / "module_of_an_own_layer.py").write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    (spec,) = layer_specs(config("module_of_an_own_layer.Own"))
    assert issubclass(spec.kind, KANInterpoLayer)


@pytest.mark.parametrize(
    ("path", "fragment"),
    [
        *[(path, "is no kind of EdgeLayer") for path in ("os.system", "torch.nn.Linear")],
        ("kan_exp.layers.Nothing", "is no kind of EdgeLayer"),
        ("nowhere_at_all.Layer", "cannot import 'nowhere_at_all'"),
        ("Layer", "cannot import ''"),
        ("broken_module_of_a_layer.Own", "cannot import 'broken_module_of_a_layer'"),
        ("raising_module_of_a_layer.Own", "cannot import"),
    ],
)
def test_what_is_no_layer_is_refused_in_one_line(tmp_path, monkeypatch, capsys, path, fragment):
    (tmp_path / "broken_module_of_a_layer.py").write_text("class Own(:\n")
    (tmp_path / "raising_module_of_a_layer.py").write_text("1 / 0\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(KanExpError) as caught:
        layer_specs(config(path))
    assert fragment in str(caught.value)
    assert "\n" not in str(caught.value)
    assert capsys.readouterr() == ("", "")
