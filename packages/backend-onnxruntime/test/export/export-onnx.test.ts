import type { TopKError } from '@topk-attention/core';
import * as ort from 'onnxruntime-node';
import { describe, expect, test } from 'vitest';
import {
  type ExportableT5,
  type ExportedLayer,
  type ExportOptions,
  exportOnnx,
  readExported,
} from '../../src/export/index.js';
import { decodeModel } from '../../src/onnx/read-model.js';
import { rewriteModel } from '../../src/rewrite/index.js';
import { largestGap, runModel } from '../support/run-model.js';
import { tinyT5 } from '../support/tiny-t5.js';

const ENCODER = 'onnx/encoder_model.onnx';
const DECODER = 'onnx/decoder_model_merged.onnx';

/** The files in memory. */
async function exported(
  model: ExportableT5,
  options?: ExportOptions,
): Promise<
  Readonly<Record<typeof ENCODER | typeof DECODER | 'config.json' | 'generation_config.json', Uint8Array>>
> {
  return (await readExported(await exportOnnx(model, options))) as Awaited<ReturnType<typeof exported>>;
}

function idsOf(batch: number, length: number): ort.Tensor {
  const data = BigInt64Array.from({ length: batch * length }, (_, at) => BigInt(2 + ((at * 7) % 27)));
  return new ort.Tensor('int64', data, [batch, length]);
}

/** All tokens but the last few of later rows. */
function maskOf(batch: number, length: number): ort.Tensor {
  const data = BigInt64Array.from({ length: batch * length }, (_, at) =>
    BigInt(Math.floor(at / length) * 3 + (at % length) < length ? 1 : 0),
  );
  return new ort.Tensor('int64', data, [batch, length]);
}

async function encode(model: Uint8Array, batch: number, length: number): Promise<Float32Array> {
  const feeds = { input_ids: idsOf(batch, length), attention_mask: maskOf(batch, length) };
  const { dims, data } = await runModel(model, feeds);
  expect(dims).toEqual([batch, length, 12]);
  return data;
}

describe('what the files hold', () => {
  test('names and extents that transformers.js and optimum look for', async () => {
    const files = await exported(tinyT5());
    expect(Object.keys(files)).toEqual([ENCODER, DECODER, 'config.json', 'generation_config.json']);
    const dims = (file: typeof ENCODER | typeof DECODER, side: 'input' | 'output'): readonly string[] =>
      (decodeModel(files[file]).graph?.[side] ?? []).map(({ name, type }) => {
        const shape = type?.tensorType?.shape?.dim ?? [];
        return `${name} [${shape.map(({ dimValue, dimParam }) => dimValue ?? dimParam).join(', ')}]`;
      });
    const tokens = '[batch_size, encoder_sequence_length]';
    expect(dims(ENCODER, 'input')).toEqual([`input_ids ${tokens}`, `attention_mask ${tokens}`]);
    expect(dims(ENCODER, 'output')).toEqual(['last_hidden_state [batch_size, encoder_sequence_length, 12]']);
    const parts = (name: string, own: string): readonly string[] =>
      ['decoder.key', 'decoder.value', 'encoder.key', 'encoder.value'].flatMap((part) => {
        const length = part.startsWith('decoder') ? own : 'encoder_sequence_length';
        return [0, 1].map((layer) => `${name}.${layer}.${part} [batch_size, 2, ${length}, 4]`);
      });
    expect([...dims(DECODER, 'input')].sort()).toEqual(
      [
        `encoder_attention_mask ${tokens}`,
        'input_ids [batch_size, decoder_sequence_length]',
        'encoder_hidden_states [batch_size, encoder_sequence_length, 12]',
        ...parts('past_key_values', 'past_decoder_sequence_length'),
        'use_cache_branch [1]',
      ].sort(),
    );
    const length = 'past_decoder_sequence_length + decoder_sequence_length';
    expect([...dims(DECODER, 'output')].sort()).toEqual(
      ['logits [batch_size, decoder_sequence_length, 30]', ...parts('present', length)].sort(),
    );
  });

  test('standard operators alone, and each weight once', async () => {
    const model = tinyT5({ attention: { k: 3 }, feedForward: { k: 4 } });
    const files = await exported(model);
    for (const file of [ENCODER, DECODER] as const) {
      const { graph, opsetImport } = decodeModel(files[file]);
      expect(opsetImport).toEqual([expect.objectContaining({ version: 20 })]);
      const names = graph?.initializer.map(({ name = '' }) => name) ?? [];
      const weights = names.filter((name) => name.endsWith('.weight'));
      expect(new Set(weights).size).toBe(weights.length);
      const stack = file === ENCODER ? 'encoder' : 'decoder';
      expect(weights.every((name) => name === 'shared.weight' || name.startsWith(stack))).toBe(true);
    }
  });

  test('configurations', async () => {
    const settings = { gated: true, activation: 'gelu_tanh', tiedEmbeddings: false } as const;
    const files = await exported(tinyT5({}, { ...settings, scaledOutputs: false, eosIds: [1, 5] }));
    const read = (file: keyof typeof files): object => JSON.parse(new TextDecoder().decode(files[file]));
    expect(read('config.json')).toMatchObject({
      model_type: 't5',
      num_layers: 2,
      num_decoder_layers: 2,
      d_kv: 4,
      feed_forward_proj: 'gated-gelu',
      tie_word_embeddings: false,
      'transformers.js_config': { dtype: 'fp32' },
    });
    const ids = { decoder_start_token_id: 0, eos_token_id: [1, 5], pad_token_id: 0 };
    expect(read('generation_config.json')).toEqual(ids);
  });

  test('the same bytes for the same model', async () => {
    const [one, other] = [await exported(tinyT5()), await exported(tinyT5())];
    for (const [file, bytes] of Object.entries(one))
      expect(Buffer.compare(bytes, other[file as keyof typeof other]), file).toBe(0);
  });
});

describe('layers with k', () => {
  test.each([1, 5, 16, 33])(
    'with k of at least the length they are the exact ones: %i tokens',
    async (length) => {
      const exact = await exported(tinyT5());
      const topK = await exported(tinyT5({ attention: { k: 33 }, feedForward: { k: 20 } }), {
        chunkBytes: 900,
      });
      const whole = await encode(exact[ENCODER], 2, length);
      expect(largestGap(await encode(topK[ENCODER], 2, length), whole)).toBeLessThan(1e-5);
    },
  );

  test('chunks of any size give the same', async () => {
    const layer = { attention: { k: 3 }, feedForward: { k: 4 } };
    const results: Float32Array[] = [];
    for (const chunkBytes of [1, 3000, 2 ** 20]) {
      const files = await exported(tinyT5(layer), { chunkBytes });
      results.push(await encode(files[ENCODER], 3, 37));
    }
    const [first, ...others] = results as [Float32Array, ...Float32Array[]];
    for (const other of others) expect(largestGap(other, first)).toBeLessThan(1e-6);
    const exact = await encode((await exported(tinyT5()))[ENCODER], 3, 37);
    expect(largestGap(exact, first)).toBeGreaterThan(1e-3);
  });
});

test('exact layers are rewritten beside layers with k, whose loops leave nothing long', async () => {
  const { layerChoices, ...model } = tinyT5();
  const first = { ...(layerChoices['encoder.0'] as ExportedLayer), attention: { k: 3 } };
  const files = await exported({ ...model, layerChoices: { ...layerChoices, 'encoder.0': first } });
  const options = { strict: true, chunkBytes: 3000 };
  const { model: rewritten, report } = rewriteModel(files[ENCODER], options);
  expect(report.blocks.map(({ result }) => result)).toEqual(['exact']);
  expect(largestGap(await encode(rewritten, 2, 37), await encode(files[ENCODER], 2, 37))).toBeLessThan(1e-5);
});

describe('what is refused', () => {
  const codeOf = (model: ExportableT5, options?: object): Promise<string> =>
    exportOnnx(model, options).then(
      () => 'nothing',
      ({ code }: TopKError) => code,
    );

  test.each([0, -1, 1.5, Number.NaN])('chunkBytes %d', async (chunkBytes) => {
    expect(await codeOf(tinyT5(), { chunkBytes })).toBe('INVALID_OPTION');
  });

  test('attention that is a function, by the layer', async () => {
    const attention = (): never => {
      throw new Error('not called');
    };
    await expect(exportOnnx(tinyT5({ crossAttention: attention }))).rejects.toThrow(
      /^exportOnnx: the crossAttention of encoder\.0 is a function/,
    );
    expect(await codeOf(tinyT5({ attention }))).toBe('UNSUPPORTED');
  });

  test('what is no model, and one without a weight', async () => {
    for (const wrong of [undefined, null, {}, 'model'])
      expect(await codeOf(wrong as unknown as ExportableT5)).toBe('INVALID_OPTION');
    const { parameters, ...rest } = tinyT5();
    const { 'encoder.block.1.layer.0.SelfAttention.k.weight': _, ...others } = parameters;
    expect(await codeOf({ ...rest, parameters: others })).toBe('MISSING_WEIGHT');
  });
});
