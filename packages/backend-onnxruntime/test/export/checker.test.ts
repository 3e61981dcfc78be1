import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { optional } from '@topk-attention/vitest-preset';
import { expect } from 'vitest';
import { exportOnnx, writeExported } from '../../src/export/index.js';
import { checkOnnx, onnxAvailability } from '../support/onnx-python.js';
import { tinyT5 } from '../support/tiny-t5.js';

optional('onnx.checker passes exported models', onnxAvailability(), async () => {
  const folder = await mkdtemp(join(tmpdir(), 'topk-export-'));
  try {
    const gated = { gated: true, tiedEmbeddings: false, scaledOutputs: false };
    const models = {
      exact: tinyT5(),
      gelu: tinyT5({}, { ...gated, activation: 'gelu_tanh' }),
      topK: tinyT5({ attention: { k: 3 }, crossAttention: { k: 2 }, feedForward: { k: 4 } }),
      contribution: tinyT5(
        { feedForward: { k: 4, select: 'contribution' } },
        { ...gated, activation: 'silu' },
      ),
    };
    const files: string[] = [];
    const forms = Object.entries(models).flatMap(([name, model]) =>
      (['float32', 'float16'] as const).map((dtype) => [name, model, dtype] as const),
    );
    for (const [name, model, dtype] of forms) {
      const exported = await exportOnnx(model, { dtype, externalData: name === 'topK' });
      const target = join(folder, `${name}-${dtype}`);
      const written = await writeExported(exported, target);
      const onnx = Object.keys(written).filter((file) => file.endsWith('.onnx'));
      files.push(...onnx.map((file) => join(target, file)));
    }
    expect(files.length).toBe(16);
    expect(checkOnnx(files)).toEqual({});
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
});
