import { spawnSync } from 'node:child_process';
import type { Availability } from '@topk-attention/vitest-preset';

/** The Python of the tests: TOPK_PYTHON, or python3. */
const python = process.env.TOPK_PYTHON || 'python3';

/** Python with the package onnx; `TOPK_REQUIRE_ONNX=1` turns skips into failures. */
export function onnxAvailability(): Availability {
  const find = "import importlib.util, sys; sys.exit(importlib.util.find_spec('onnx') is None)";
  const { status } = spawnSync(python, ['-c', find]);
  const reason = `${python} has no onnx: \`pip install onnx\`, or set TOPK_PYTHON to a Python that has it`;
  return { need: 'onnx', available: status === 0, reason };
}

/** What `onnx.checker` says of files, by file: nothing where it passes. */
export function checkOnnx(files: readonly string[]): Readonly<Record<string, string>> {
  const script = `
import json, sys, onnx
faults = {}
for file in json.load(sys.stdin):
    try:
        onnx.checker.check_model(file)
    except Exception as error:
        faults[file] = str(error)
print(json.dumps(faults))
`;
  const { status, stdout, stderr } = spawnSync(python, ['-c', script], {
    input: JSON.stringify(files),
    encoding: 'utf8',
  });
  if (status !== 0) throw new Error(stderr);
  return JSON.parse(stdout);
}
