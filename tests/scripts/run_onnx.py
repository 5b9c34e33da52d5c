"""Runs a model that `irc emit onnx` wrote, in stock ONNX Runtime.

    python run_onnx.py FOLDER IDS OUT

IDS are rows of token ids, `1,2,3;4,5,6`. OUT is a folder: each output is written to it as little-endian bytes, `0.raw`,
`1.raw`, …, with an `index.json` of [{name, dtype, shape}] in the same order.
"""

import json
import sys
from pathlib import Path

import numpy as np
import onnxruntime

folder, ids, out = Path(sys.argv[1]), sys.argv[2], Path(sys.argv[3])
session = onnxruntime.InferenceSession(str(folder / "model.onnx"), providers=["CPUExecutionProvider"])
tokens = np.array([[int(token) for token in row.split(",")] for row in ids.split(";")], dtype=np.int64)
values = session.run(None, {"tokens": tokens})
out.mkdir(parents=True, exist_ok=True)
index = []
for at, (output, value) in enumerate(zip(session.get_outputs(), values, strict=True)):
    (out / f"{at}.raw").write_bytes(np.ascontiguousarray(value).tobytes())
    index.append({"name": output.name, "dtype": str(value.dtype), "shape": list(value.shape)})
(out / "index.json").write_text(json.dumps({"inputs": [given.name for given in session.get_inputs()], "outputs": index}))
