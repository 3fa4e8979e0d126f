"""A network as an ONNX graph: an input for each column, texts for categories."""

from __future__ import annotations

import json
from typing import Any

import numpy as np

from kan_exp.data.columns import free_name
from kan_exp.data.ranges import MARKED, marks
from kan_exp.data.schema import PARTS, Column
from kan_exp.errors import KanExpError, listing, message_of
from kan_exp.exporting.describing import (
    KINDS,
    about,
    inputs_text,
    prediction_names,
)
from kan_exp.exporting.fresh import NO_DATE, as_arrays
from kan_exp.exporting.source import ExportedFile, Source
from kan_exp.exporting.tables import OUTSIDE, SplineTable, Tables, basis_polynomials, category_rows

OPSET, ML_OPSET, IR_VERSION = 21, 3, 10  # onnxruntime 1.18 and later read these
MICROSECONDS = 86_400_000_000  # of a day
EPOCH = 719_468  # days from the first of March of the year 0 to 1970
STARTS = (60, 91, 121, 152, 182, 213, 244, 274, 305, 335, 0, 31)  # of months in 2000, from March on


def make(source: Source) -> ExportedFile:
    """The graph, compared with the model in onnxruntime.

    Raises:
        KanExpError: A package is missing or too old, or the predictions differ.
    """
    try:
        import onnx
        import onnxruntime
    except ImportError as error:
        raise KanExpError(
            f"format=onnx needs onnx and onnxruntime ({message_of(error)}): "
            f"pip install 'kan_exp[onnx]'"
        ) from error
    graph = _Graph(source.tables)
    model = graph.model(source.name)
    data: bytes = model.SerializeToString()
    given = {
        name: values[:, None] for name, values in as_arrays(source.tables, source.rows).items()
    }
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4  # the exception has it
    try:
        onnx.checker.check_model(model)
        session = onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
        found = session.run(graph.predictions, given)
    except Exception as error:  # of any kind where the runtime is too old
        raise KanExpError(
            f"export: onnxruntime {onnxruntime.__version__} cannot run the model "
            f"({message_of(error)[:200]}): pip install --upgrade 'kan_exp[onnx]'"
        ) from error
    lines = [source.compare(np.column_stack(found)), *inputs_text(source.tables)]
    return ExportedFile(data, [*lines, f"outputs: {listing(graph.outputs)}"])


class _Graph:
    """The nodes and constants of a model.

    The inputs have the names of the columns; the names of values between them start with a prefix
    that no column has.
    """

    def __init__(self, tables: Tables) -> None:
        self.tables = tables
        self.nodes: list[Any] = []
        self.constants: list[Any] = []
        self.outputs: dict[str, Any] = {}  # types and shapes by name
        self.predictions: list[str] = []
        self._prefix = "kan"
        while any(column.name.startswith(self._prefix) for column in tables.schema.inputs):
            self._prefix += "_"
        parts = [self._features(column) for column in tables.schema.inputs]
        x = self.add("Concat", *parts, axis=1)
        self._mark(x)
        x = self.add("Div", self.add("Sub", x, tables.x_mean), tables.x_std)
        x = self._cast(x, np.float32)
        for layer in tables.layers:
            x = self._layer(x, layer)
        self._predict(self._cast(x, np.float64))

    def model(self, name: str) -> Any:
        """The model, which its metadata describe."""
        from onnx import TensorProto, helper

        types = {"category": TensorProto.STRING, "date": TensorProto.INT64}
        inputs = [
            helper.make_tensor_value_info(
                one.name, types.get(one.kind, TensorProto.DOUBLE), ["rows", 1], KINDS[one.kind]
            )
            for one in self.tables.schema.inputs
        ]
        outputs = [*self.outputs.values()]
        graph = helper.make_graph(self.nodes, name, inputs, outputs, self.constants, OUTSIDE)
        opsets = [helper.make_opsetid("", OPSET), helper.make_opsetid("ai.onnx.ml", ML_OPSET)]
        model = helper.make_model(
            graph, opset_imports=opsets, ir_version=IR_VERSION, producer_name="kan_exp"
        )
        texts = {
            key: value if isinstance(value, str) else json.dumps(value)
            for key, value in about(self.tables).items()
        }
        helper.set_model_props(model, texts)
        return model

    def add(self, operation: str, *inputs: Any, domain: str = "", **attributes: Any) -> str:
        """Adds a node; inputs are names, or constants. Returns the name of its output."""
        from onnx import helper

        names = [one if isinstance(one, str) else self._constant(one) for one in inputs]
        name = f"{self._prefix}{len(self.nodes)}"
        node = helper.make_node(operation, names, [name], name, domain=domain, **attributes)
        self.nodes.append(node)
        return name

    def _constant(self, value: Any) -> str:
        from onnx import helper, numpy_helper

        name = f"{self._prefix}_c{len(self.constants)}"
        array = np.asarray(value)
        if array.dtype.kind in "UO":
            kind = helper.np_dtype_to_tensor_dtype(np.dtype(object))
            words = [str(word).encode() for word in array.ravel().tolist()]
            tensor = helper.make_tensor(name, kind, array.shape, words)  # type: ignore[arg-type]
        else:
            tensor = numpy_helper.from_array(np.ascontiguousarray(array), name)
        self.constants.append(tensor)
        return name

    def _cast(self, x: str, dtype: Any) -> str:
        from onnx import helper

        return self.add("Cast", x, to=helper.np_dtype_to_tensor_dtype(np.dtype(dtype)))

    def _output(self, name: str, value: str, dtype: Any, width: int = 1) -> None:
        from onnx import helper

        name = free_name(name, [*(one.name for one in self.tables.schema.inputs), *self.outputs])
        kind = helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
        self.nodes.append(helper.make_node("Identity", [value], [name], name))
        self.outputs[name] = helper.make_tensor_value_info(name, kind, ["rows", width])
        if dtype is np.float64:
            self.predictions.append(name)

    def _features(self, column: Column) -> str:
        """The features `(rows, features)` of a column `(rows, 1)`."""
        if (rows := category_rows(column)) is not None:
            levels = [*column.levels, ""]
            codes = [*range(len(column.levels)), len(levels)]
            code = self.add(
                "LabelEncoder",
                column.name,
                domain="ai.onnx.ml",
                keys_strings=levels,
                values_int64s=codes,
                default_int64=len(column.levels),
            )
            return self.add("Gather", rows, self.add("Squeeze", code, np.array([1])))
        x = column.name
        if column.kind == "date":
            missing = self.add("Equal", x, np.int64(NO_DATE))
            filled = self.add("Where", missing, np.int64(column.fill or 0), x)
            parts = self._date_parts(filled)
            found = [parts[name] for name in column.parts]
            if column.fill is None:
                found = [self.add("Where", missing, np.float64(np.nan), one) for one in found]
        else:
            missing = self.add("IsNaN", x)
            if column.fill is not None:
                x = self.add("Where", missing, np.float64(column.fill), x)
            if column.scale == "log1p":
                x = self.add("Add", x, np.float64(1))
            found = [self.add("Log", x) if column.scale else x]
        if column.gaps:
            found.append(self._cast(missing, np.float64))
        return found[0] if len(found) == 1 else self.add("Concat", *found, axis=1)

    def _whole(self, operation: str, x: str, y: Any) -> str:
        return self.add(operation, x, y if isinstance(y, str) else np.int64(y))

    def _date_parts(self, x: str) -> dict[str, str]:
        """What networks see of microseconds since 1970, which are at least of the year 0.

        Source:
            H. Hinnant, "chrono-compatible low-level date algorithms", civil_from_days.
        """
        whole = self._whole
        x = whole("Add", x, EPOCH * MICROSECONDS)
        days = whole("Div", x, MICROSECONDS)
        second = whole("Div", whole("Sub", x, whole("Mul", days, MICROSECONDS)), 1_000_000)
        weekday = whole("Mod", whole("Add", days, 2), 7)  # the first day was a Wednesday
        era = whole("Div", days, 146_097)
        day = whole("Sub", days, whole("Mul", era, 146_097))
        leaps = whole("Sub", day, whole("Div", day, 1460))
        leaps = whole("Add", leaps, whole("Div", day, 36_524))
        year = whole("Div", whole("Sub", leaps, whole("Div", day, 146_096)), 365)
        past = whole("Add", whole("Mul", year, 365), whole("Div", year, 4))
        past = whole("Sub", past, whole("Div", year, 100))
        day = whole("Sub", day, past)  # of a year that begins in March
        month = whole("Div", whole("Add", whole("Mul", day, 5), 2), 153)
        past = whole("Div", whole("Add", whole("Mul", month, 153), 2), 5)
        start = self.add("Gather", np.array(STARTS, np.int64), month)
        ordinal = whole("Add", start, whole("Sub", day, past))
        later = self._cast(whole("GreaterOrEqual", month, 10), np.int64)
        year = whole("Add", whole("Add", year, whole("Mul", era, 400)), later)
        parts = {"year": self._cast(year, np.float64)}
        turns = ((ordinal, 366), (weekday, 7), (second, 86_400))
        for (part, per_turn), names in zip(turns, [*PARTS.values()][1:], strict=True):
            angle = self.add("Mul", self._cast(part, np.float64), 2 * np.pi / per_turn)
            angle = self._cast(angle, np.float32)  # cosines of which every runtime has
            for name, function in zip(names, ("Sin", "Cos"), strict=True):
                parts[name] = self._cast(self.add(function, angle), np.float64)
        return parts

    def _mark(self, x: str) -> None:
        """Adds the output that marks rows outside of the trained range."""
        low, high = marks(self.tables.ranges)
        far = self.add("Or", self.add("Less", x, low), self.add("Greater", x, high))
        far = self.add("ReduceMax", self._cast(far, np.float32), np.array([1]), keepdims=1)
        self._output(MARKED, self._cast(far, np.bool_), np.bool_)

    def _layer(self, x: str, layer: SplineTable) -> str:
        """Sums and products of splines, each a polynomial of the place in a cell."""
        inputs, _, width = layer.coefficients.shape
        size, last = layer.degree + 1, np.array([-1])
        place = self.add("Sub", x, layer.first.astype(np.float32))
        place = self.add("Div", place, layer.spacing.astype(np.float32))
        known = self.add("Where", self.add("IsNaN", place), np.float32(0), place)
        ends = np.float32(-1), np.float32(layer.cells)  # the cells before and behind the table
        cell = self.add("Floor", self.add("Clip", known, *ends))
        inside = self.add("Unsqueeze", self.add("Sub", place, cell), last)
        powers = self.add("Pow", inside, np.arange(size, dtype=np.float32))  # (rows, in, size)
        first = np.arange(inputs) * (layer.cells + 2) + 1  # row of each input's cell 0
        index = self.add("Add", self._cast(cell, np.int64), first)
        found = self.add("Gather", self._cells(layer), index)  # (rows, in, size, out)
        flat = self.add("Reshape", powers, np.array([0, 1, inputs * size]))
        both = self.add("Reshape", found, np.array([0, inputs * size, width]))
        total = self.add("Squeeze", self.add("MatMul", flat, both), np.array([1]))
        if not layer.products.any():
            return total
        edges = self.add("MatMul", self.add("Unsqueeze", powers, np.array([2])), found)
        edges = self.add("Squeeze", edges, np.array([2]))
        product = self.add("ReduceProd", edges, np.array([1]), keepdims=0)
        return self.add("Where", layer.products, product, total)

    def _cells(self, layer: SplineTable) -> str:
        """The polynomials of `SplineTable.with_ends`, `(in * (cells + 2), size, out)`.

        They are made of the coefficients as the model is loaded, as these are fewer numbers.
        """
        size = layer.degree + 1
        windows = np.arange(layer.cells)[:, None] + np.arange(size)
        table = layer.coefficients.astype(np.float32)
        found = self.add("Gather", table, windows, axis=1)  # (in, cells, functions, out)
        inner = self.add("MatMul", basis_polynomials(layer.degree).astype(np.float32), found)
        low, high = np.split(layer.with_ends().astype(np.float32)[:, [0, -1]], 2, axis=1)
        cells = self.add("Concat", low, inner, high, axis=1)
        return self.add("Reshape", cells, np.array([-1, size, layer.coefficients.shape[2]]))

    def _predict(self, y: str) -> None:
        """Adds the outputs, made of those of the network."""
        tables = self.tables
        names = {"sigmoid": "Sigmoid", "softmax": "Softmax", "exp": "Exp"}
        if tables.activation != "identity":
            y = self.add(names[tables.activation], y)
        y = self.add("Add", self.add("Mul", y, tables.y_std), tables.y_mean)
        if tables.schema.classes:
            self._choose(y)
            return
        y = self.add("Add", y, np.array(tables.smearing, dtype=np.float64))
        pairs = zip(prediction_names(tables), tables.scales, strict=True)
        for place, (name, scale) in enumerate(pairs):
            column = self.add("Gather", y, np.array([place]), axis=1)
            if scale:
                column = self.add("Exp", column)
            if scale == "log1p":
                column = self.add("Sub", column, np.float64(1))
            self._output(name, column, np.float64)

    def _choose(self, chances: str) -> None:
        """Adds the most probable class, and the probabilities."""
        schema = self.tables.schema
        count, name = len(schema.classes), schema.target_name
        place = self.add("ArgMax", chances, axis=1, keepdims=1)
        total = self.add("ReduceSum", chances, np.array([1]), keepdims=1)
        place = self.add("Where", self.add("IsNaN", total), np.int64(count), place)
        words = np.array([*schema.classes, ""], dtype=object)
        self._output(f"{name}_predicted", self.add("Gather", words, place), np.object_)
        self._output(f"{name}_probability", chances, np.float64, count)
