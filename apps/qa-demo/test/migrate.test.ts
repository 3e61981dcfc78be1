// The blocks of docs/migrate.md, in a folder that has what its reader has.
import { copyFile, cp, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createReferenceBackend } from '@topk-attention/core/reference';
import { loadT5 } from '@topk-attention/models';
import { exportOnnx, writeExported } from '@topk-attention/onnxruntime/export';
import { testExamples } from '@topk-attention/vitest-preset';
import { afterAll, beforeAll } from 'vitest';
import { embedded } from './export/questions.js';

const home = process.cwd();
let folder: string;

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'topk-migrate-'));
  const model = await loadT5({ backend: createReferenceBackend(), source: embedded });
  await cp(embedded, join(folder, 'checkpoint'), { recursive: true });
  await writeExported(await exportOnnx(model), join(folder, 'models', 'my-t5'), { checkpoint: embedded });
  model.dispose();
  await copyFile(join(folder, 'models/my-t5/onnx/encoder_model.onnx'), join(folder, 'model.onnx'));
  process.chdir(folder);
});
afterAll(async () => {
  process.chdir(home);
  await rm(folder, { recursive: true, force: true });
});

testExamples(new URL('../../../docs/migrate.md', import.meta.url), import.meta.url);
