"""Options of the commands that read runs: what they have not, or cannot do anything with."""

from __future__ import annotations

from pathlib import Path

import pytest
from omegaconf import OmegaConf

from kan_exp.config import config_folder
from kan_exp.data.readers import open_columns
from kan_exp.errors import KanExpError
from kan_exp.predict import predict
from kan_exp.report import report

CONFIG = OmegaConf.load(Path(config_folder()) / "report.yaml")


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"nothing": 1}, "+nothing: report has no such option"),
        ({"metrik": 1}, "Did you mean 'metric'?"),
        ({"folders": []}, "folders=[]: a report needs folders of runs"),
        ({"most": {"rows": -1}}, "most.rows must be at least 0, got -1"),
    ],
)
def test_a_report_refuses(changed, said):
    cfg = OmegaConf.merge(CONFIG, {"folders": ["a"]}, changed)
    for name in ("defaults", "hydra"):
        cfg.pop(name)
    with pytest.raises(KanExpError) as error:
        report([], cfg)
    assert said in str(error.value)


def test_predict_refuses_new_options():
    with pytest.raises(KanExpError, match=r"^\+inputs: predict has no such option.*'input'"):
        predict(OmegaConf.create({"run": "a", "input": "b", "output": "c", "inputs": 1}))


@pytest.mark.parametrize("path", ["https://host/a.csv", "s3://bucket/a.csv", "file:///a.csv"])
def test_an_address_is_no_file(path):
    with pytest.raises(KanExpError, match=f"^{path}: is an address: download it"):
        open_columns(path)
