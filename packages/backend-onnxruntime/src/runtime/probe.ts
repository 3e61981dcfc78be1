import { TopKError } from '@topk-attention/core';
import { GraphBuilder } from '../onnx/graph-builder.js';
import { encodeModel } from '../onnx/write-model.js';
import type { OrtModule } from './ort.js';
import { runSession } from './run-session.js';

/** Runs one addition on one execution provider. Resolves to the reason why that failed, or to undefined. */
export async function probeProvider(
  ort: OrtModule,
  executionProviders: readonly string[],
): Promise<string | undefined> {
  const onnx = new GraphBuilder();
  const x = onnx.input('x', 'f32', [2]);
  const output = onnx.output(onnx.op('Add', [x, x]), 'f32', [2]);
  try {
    const session = await ort.InferenceSession.create(encodeModel(onnx.model()), {
      executionProviders,
      logSeverityLevel: 4,
    });
    try {
      const x = new ort.Tensor('float32', Float32Array.of(1, 2), [2]);
      const results = await runSession(ort, session, { x }, [output]);
      const sums = await results[output]?.getData();
      return String(sums) === '2,4' ? undefined : `1 + 1 and 2 + 2 gave ${String(sums)}`;
    } finally {
      await session.release();
    }
  } catch (error) {
    return (error instanceof Error ? error.message : String(error)).split('\n')[0];
  }
}

/** Throws NO_DEVICE when none of the providers runs. */
export async function requireProviders(ort: OrtModule, executionProviders: readonly string[]): Promise<void> {
  const reason = await probeProvider(ort, executionProviders);
  if (reason === undefined) return;
  throw new TopKError('NO_DEVICE', 'onnxruntime: no execution provider works', {
    expected: executionProviders.join(' or '),
    got: reason,
    fix: 'doctor() lists what this installation can use',
  });
}
