"""Runs a model that `irc emit onnx` wrote, in stock ONNX Runtime.

    python run_onnx.py FOLDER FEEDS OUT

FEEDS is a JSON object of input names with nested lists of integers; what has a value of its own may be left out. OUT is a
folder: each output is written to it as little-endian bytes, `0.raw`, `1.raw`, …, with an `index.json` of {inputs, outputs:
[{name, dtype, shape}], checked} in the same order. `checked` says whether ONNX's own checker was there to look at the model.
"""

import json
import sys
from pathlib import Path

import numpy as np
import onnxruntime

folder, feeds, out = Path(sys.argv[1]), json.loads(sys.argv[2]), Path(sys.argv[3])
try:
    import onnx.checker
except ImportError:
    checked = False
else:
    onnx.checker.check_model(str(folder / "model.onnx"), full_check=True)
    checked = True
onnxruntime.set_default_logger_severity(3)
session = onnxruntime.InferenceSession(str(folder / "model.onnx"), providers=["CPUExecutionProvider"])
values = session.run(None, {name: np.array(ids, dtype=np.int64) for name, ids in feeds.items()})
out.mkdir(parents=True, exist_ok=True)
index = []
for at, (output, value) in enumerate(zip(session.get_outputs(), values, strict=True)):
    (out / f"{at}.raw").write_bytes(np.ascontiguousarray(value).tobytes())
    index.append({"name": output.name, "dtype": str(value.dtype), "shape": list(value.shape)})
inputs = [given.name for given in session.get_inputs() + session.get_overridable_initializers()]
(out / "index.json").write_text(json.dumps({"inputs": inputs, "outputs": index, "checked": checked}))
