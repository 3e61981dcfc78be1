import { createReferenceBackend } from '@topk-attention/core/reference';
import { loadT5 } from '@topk-attention/models';
import { exportOnnx, readExported } from '@topk-attention/onnxruntime/export';
import { Goldens, goldensFolder, readManifest } from '@topk-attention/t5-goldens';
import * as ort from 'onnxruntime-node';
import { describe, expect, test } from 'vitest';
import { ExportedT5 } from './exported-t5.js';
import { rewritten } from './rewritten.js';

const { models } = readManifest();

/** Largest difference where the mask counts, by rows of the last axis. */
function difference(
  got: ort.Tensor,
  expected: readonly number[],
  counts: (row: number) => boolean = () => true,
): number {
  const width = got.dims.at(-1) as number;
  const data = got.data as Float32Array;
  expect(data.length).toBe(expected.length);
  let worst = 0;
  for (const [at, value] of expected.entries()) {
    if (!counts(Math.floor(at / width))) continue;
    const gap = Math.abs((data[at] as number) - value);
    // A NaN must not slip through a comparison.
    if (!(gap <= worst)) worst = gap;
  }
  return worst;
}

/** Encoder outputs and logits of one case within 1e-4, with all tokens at once and with a past. */
async function checkForward(t5: ExportedT5, goldens: Goldens, name: string): Promise<void> {
  const inputs = name === 'topK' ? 'batch' : name;
  const masks = goldens.rows(`${inputs}.attentionMask`);
  const targets = goldens.rows(`${inputs}.decoderInputIds`);
  const isToken = masks.flat();
  const mask = t5.ids(masks);
  const encoded = await t5.encode(t5.ids(goldens.rows(`${inputs}.inputIds`)), mask);
  const outputs = goldens.vector(`${name}.encoderOutput`);
  expect(difference(encoded, outputs, (row) => isToken[row] === 1)).toBeLessThan(1e-4);
  const expected = goldens.vector(`${name}.logits`);
  const { logits } = await t5.decode(t5.ids(targets), encoded, mask);
  expect(difference(logits as ort.Tensor, expected)).toBeLessThan(1e-4);
  const length = targets[0]?.length as number;
  if (length === 1) return;
  const first = await t5.decode(t5.ids(targets.map((row) => row.slice(0, 1))), encoded, mask);
  const rest = t5.ids(targets.map((row) => row.slice(1)));
  const { logits: later } = await t5.decode(rest, encoded, mask, ExportedT5.pastOf(first));
  const vocabulary = expected.length / (targets.length * length);
  const ofRest = expected.filter((_, at) => Math.floor(at / vocabulary) % length > 0);
  expect(difference(later as ort.Tensor, ofRest)).toBeLessThan(1e-4);
}

describe.each(models.filter(({ model }) => !/f16$/.test(model)))(
  'exported $model against Python transformers',
  ({ model: folder, goldens: file, cases, topK = {} }) => {
    async function check(names: readonly string[], choices: typeof topK): Promise<void> {
      const source = `${goldensFolder}/${folder}`;
      const model = await loadT5({
        backend: createReferenceBackend(),
        source,
        tokenizer: false,
        ...choices,
      });
      // So few bytes that there are several chunks.
      const chunkBytes = 4096;
      const files = await readExported(await exportOnnx(model, { chunkBytes }));
      model.dispose();
      const goldens = await Goldens.read(file);
      const checkAll = async (made: typeof files): Promise<void> => {
        const t5 = await ExportedT5.open(ort, made);
        for (const name of names) await checkForward(t5, goldens, name);
        await t5.release();
      };
      await checkAll(files);
      if (choices === topK) return;
      // In chunks, and with as many keys as there are, the files are the same function.
      await checkAll(rewritten(files, { attention: 'exact', chunkBytes, strict: true }));
      await checkAll(rewritten(files, { attention: { k: 200 }, chunkBytes, strict: true }));
    }

    const isForward = (name: string): boolean => name !== 'generate' && name !== 'topK';
    test('exact, as it is and rewritten', () => check(cases.filter(isForward), {}));
    if (cases.includes('topK')) test('top-k', () => check(['topK'], topK));
  },
);
