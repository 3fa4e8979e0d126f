"""A network as a program of `torch.export`, which runs without this package."""

from __future__ import annotations

import copy
import io
import json
import warnings

import torch

from kan_exp.errors import listing
from kan_exp.exporting.describing import about, is_plain
from kan_exp.exporting.source import ExportedFile, Source

ABOUT = "kan_exp.json"  # name of the description among the file's extra files


def make(source: Source) -> ExportedFile:
    """The program, from features `(n, in)` of float64 to predictions `(n, outputs)`.

    Raises:
        KanExpError: Its predictions differ from the model's.
    """
    tables, schema = source.tables, source.model.schema
    names = schema.features
    x = torch.from_numpy(schema.encode(source.rows))
    model = copy.deepcopy(source.model).cpu().eval()
    rows = torch.export.Dim("rows", min=1)
    file = io.BytesIO()
    with warnings.catch_warnings(action="ignore"):  # torch's about itself
        program = torch.export.export(model, (x[:2],), dynamic_shapes=({0: rows},))
        torch.export.save(program, file, extra_files={ABOUT: json.dumps(about(tables))})
        file.seek(0)
        found = torch.export.load(file).module()(x)
    compared = source.compare(found.detach().double().numpy())
    takes = f"takes float64 of shape (rows, {len(names)}): {listing(names)}"
    note = (
        "it cannot read texts, dates and gaps: encode columns as the description says."
        if not is_plain(tables)
        else ""
    )
    return ExportedFile(file.getvalue(), [line for line in (compared, takes, note) if line])
