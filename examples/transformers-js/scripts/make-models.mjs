// Makes the folders that the page chooses from: `npm run models -- [CHECKPOINT] [TARGET]`.
import { join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { createReferenceBackend } from '@topk-attention/core/reference';
import { loadT5 } from '@topk-attention/models';
import { exportOnnx, readExported, writeExported } from '@topk-attention/onnxruntime/export';
import { rewriteModel } from '@topk-attention/onnxruntime/rewrite';

const ENCODER = 'onnx/encoder_model.onnx';

/**
 * A T5 in three forms: as it is, with its encoder in chunks, and with an encoder whose queries keep 64 keys.
 *
 * @param {string} checkpoint A Hugging Face folder of a T5.
 * @param {string} target A folder; the three must not be in it yet.
 */
export async function makeModels(checkpoint, target) {
  // Weights are only read here, so any backend will do.
  const model = await loadT5({ backend: createReferenceBackend(), source: checkpoint });
  const files = await readExported(await exportOnnx(model));
  model.dispose();
  /** @param {'exact' | { k: number }} attention */
  const rewritten = (attention) => ({
    ...files,
    [ENCODER]: rewriteModel(/** @type {Uint8Array} */ (files[ENCODER]), { attention, feedForward: 'chunked' })
      .model,
  });
  const forms = { exported: files, chunked: rewritten('exact'), 'top-k': rewritten({ k: 64 }) };
  for (const [name, form] of Object.entries(forms)) {
    await writeExported(form, join(target, name), { checkpoint });
  }
}

const own = fileURLToPath(import.meta.url);
if (resolve(process.argv[1] ?? '') === own) {
  const [checkpoint = '../../apps/qa-demo/model', target = 'public/models'] = process.argv.slice(2);
  await makeModels(checkpoint, target);
  console.log(`${target}: exported, chunked, top-k`);
}
