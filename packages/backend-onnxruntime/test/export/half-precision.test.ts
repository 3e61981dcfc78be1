import { type Tensor, tensor } from '@topk-attention/core';
import { halfToNumber } from '@topk-attention/core/reference';
import * as ort from 'onnxruntime-node';
import { describe, expect, test } from 'vitest';
import { type ExportableT5, type ExportOptions, exportOnnx, readExported } from '../../src/export/index.js';
import { dataTypes } from '../../src/onnx/data-types.js';
import type { GraphProto } from '../../src/onnx/messages.js';
import { decodeModel } from '../../src/onnx/read-model.js';
import { encodeModel } from '../../src/onnx/write-model.js';
import { rewriteModel } from '../../src/rewrite/index.js';
import {
  type Feeds,
  feedsOf,
  type InputExtents,
  largestGap,
  type Output,
  runModel,
  runOutputs,
} from '../support/run-model.js';
import { tinyT5 } from '../support/tiny-t5.js';

/** As many ids as feeds for test models have. */
const vocabSize = 100;
const gated = { vocabSize, gated: true, tiedEmbeddings: false, scaledOutputs: false } as const;
const models = {
  relu: tinyT5({}, { vocabSize }),
  'gated gelu': tinyT5({}, { ...gated, activation: 'gelu_tanh' }),
  'gated silu': tinyT5({}, { ...gated, activation: 'silu' }),
} as const;

interface Files {
  readonly encoder: Uint8Array;
  readonly decoder: Uint8Array;
}

async function exported(
  model: ExportableT5,
  dtype: 'float32' | 'float16',
  options?: ExportOptions,
): Promise<Files> {
  const files = await readExported(await exportOnnx(model, { ...options, dtype }));
  const suffix = dtype === 'float16' ? '_fp16' : '';
  return {
    encoder: files[`onnx/encoder_model${suffix}.onnx`] as Uint8Array,
    decoder: files[`onnx/decoder_model_merged${suffix}.onnx`] as Uint8Array,
  };
}

const extents: readonly InputExtents[] = [
  { batch: 2, length: 37, isCached: true, past: 5 },
  { batch: 3, length: 9, isCached: false },
];

/** Outputs of both files for inputs of several extents, batches with padding among them. */
async function outputsOf({ encoder, decoder }: Files): Promise<readonly Output[]> {
  const all: Output[] = [];
  for (const one of extents) {
    for (const file of [encoder, decoder]) all.push(...(await runOutputs(file, feedsOf(file, one))));
  }
  return all;
}

/** The largest difference relative to the size of the numbers; a NaN on either side alone is infinite. */
function relativeGap(got: readonly Output[], expected: readonly Output[]): number {
  expect(got.map(({ dims }) => dims)).toEqual(expected.map(({ dims }) => dims));
  return Math.max(
    ...expected.map(({ data }, at) => {
      const largest = data.reduce((most, value) => Math.max(most, Math.abs(value)), 0);
      return largestGap((got[at] as Output).data, data) / Math.max(largest, 1);
    }),
  );
}

/** A model with one of its parameters changed. */
function changed(
  model: ExportableT5,
  name: RegExp,
  change: (value: number) => number,
): Promise<ExportableT5> {
  const entries = Object.entries<Tensor>(model.parameters).map(async ([own, parameter]) => {
    if (!name.test(own)) return [own, parameter] as const;
    const data = Float32Array.from((await parameter.data()) as Float32Array, change);
    return [own, tensor(parameter.backend, data, [...parameter.shape])] as const;
  });
  return Promise.all(entries).then((all) => ({ ...model, parameters: Object.fromEntries(all) }));
}

describe('what the files hold', () => {
  test('matrices and the past in half precision, inputs and outputs of before in single precision', async () => {
    const { encoder, decoder } = await exported(models['gated gelu'], 'float16');
    for (const file of [encoder, decoder]) {
      const { initializer, input, output } = decodeModel(file).graph as GraphProto;
      const weights = initializer.filter(({ name = '' }) => name.endsWith('.weight'));
      for (const { name, dims, dataType } of weights)
        expect(dataType, name).toBe(dims.length === 2 ? dataTypes.float16 : dataTypes.float);
      for (const { name = '', type } of [...input, ...output]) {
        const isPast = /^(past_key_values|present)\./.test(name);
        const isReal = /^(encoder_hidden_states|last_hidden_state|logits)$/.test(name);
        const expected = isPast ? dataTypes.float16 : isReal ? dataTypes.float : undefined;
        if (expected !== undefined) expect(type?.tensorType?.elemType, name).toBe(expected);
      }
      expect(weights.length).toBeGreaterThan(10);
    }
  });

  test('names and a configuration that transformers.js goes by', async () => {
    const files = await exportOnnx(models.relu, { dtype: 'float16' });
    expect(Object.keys(files)).toEqual([
      'onnx/encoder_model_fp16.onnx',
      'onnx/decoder_model_merged_fp16.onnx',
      'config.json',
      'generation_config.json',
    ]);
    const { 'config.json': config } = await readExported(files);
    expect(JSON.parse(new TextDecoder().decode(config))['transformers.js_config']).toEqual({
      dtype: 'fp16',
      kv_cache_dtype: { fp16: 'float16' },
    });
  });
});

describe('what the files compute', () => {
  test.each(Object.keys(models) as (keyof typeof models)[])(
    'the function of single precision, and the same rewritten: %s',
    async (name) => {
      const full = await outputsOf(await exported(models[name], 'float32'));
      const half = await exported(models[name], 'float16');
      const outputs = await outputsOf(half);
      expect(relativeGap(outputs, full)).toBeLessThan(2e-3);
      // Not single precision under another name.
      expect(relativeGap(outputs, full)).toBeGreaterThan(1e-5);
      const rewritten = (file: Uint8Array): Uint8Array => {
        const options = { feedForward: 'chunked', chunkBytes: 3000, strict: true } as const;
        const { model, report } = rewriteModel(file, options);
        expect(report.feedForwards.length).toBe(2);
        return model;
      };
      const inChunks = { encoder: rewritten(half.encoder), decoder: rewritten(half.decoder) };
      expect(relativeGap(await outputsOf(inChunks), outputs)).toBeLessThan(5e-4);
    },
  );

  test('with k of at least the length and the units, the exact function', async () => {
    const layer = { attention: { k: 50 }, crossAttention: { k: 50 }, feedForward: { k: 20 } };
    const exact = await outputsOf(await exported(models.relu, 'float16'));
    const withK = await exported({ ...tinyT5(layer, { vocabSize }) }, 'float16', { chunkBytes: 900 });
    expect(relativeGap(await outputsOf(withK), exact)).toBeLessThan(5e-4);
    const few = await exported(tinyT5({ attention: { k: 3 } }, { vocabSize }), 'float16');
    expect(relativeGap(await outputsOf(few), exact)).toBeGreaterThan(1e-2);
  });

  test.each([undefined, 'contribution'] as const)('feed-forward layers with k: %s', async (select) => {
    const layer = { feedForward: { k: 6, ...(select !== undefined && { select }) } };
    const model = tinyT5(layer, { vocabSize });
    const full = await outputsOf(await exported(model, 'float32'));
    const half = await outputsOf(await exported(model, 'float16'));
    // Where two units are nearly equal, another one may be kept.
    expect(relativeGap(half, full)).toBeLessThan(3e-2);
    expect(relativeGap(half, await outputsOf(await exported(models.relu, 'float32')))).toBeGreaterThan(0.1);
  });
});

test.each([
  ['relu', 'signed'],
  ['gated gelu', 'magnitude'],
] as const)(
  'rewriting keeps units of feed-forward layers in half precision: %s, %s',
  async (name, select) => {
    const { encoder, decoder } = await exported(models[name], 'float16');
    const { model, report } = rewriteModel(decoder, { feedForward: { k: 2 } });
    expect(report.feedForwards).toMatchObject([
      { k: 2, select },
      { k: 2, select },
    ]);
    // One token reads the rows of its units alone, several read all.
    const all = feedsOf(decoder, { batch: 1, length: 4, isCached: false });
    const ids = (all.input_ids as ort.Tensor).data as BigInt64Array;
    const first = {
      ...all,
      input_ids: new ort.Tensor('int64', BigInt64Array.of(ids[0] as bigint), [1, 1]),
    };
    const [several, one] = [await runModel(model, all), await runModel(model, first)];
    expect(largestGap(one.data, several.data.slice(0, vocabSize))).toBeLessThan(1e-4);
    const exact = await runModel(decoder, all);
    expect(largestGap(several.data, exact.data)).toBeGreaterThan(1e-3);
    if (select !== 'signed') return;
    // Exported with k, such layers keep the same units.
    const withK = tinyT5({ feedForward: { k: 2 } }, { vocabSize });
    const { encoder: own } = await exported(withK, 'float16');
    const feeds = feedsOf(encoder, { batch: 2, length: 9 });
    const rewritten = rewriteModel(encoder, { feedForward: { k: 2 } }).model;
    expect(
      largestGap((await runModel(rewritten, feeds)).data, (await runModel(own, feeds)).data),
    ).toBeLessThan(1e-3);
  },
);

/**
 * A model with every value of its outer graph as an output. On a CPU, ONNX Runtime multiplies in single precision and may
 * leave out the rounding in between, but outputs are rounded.
 */
function withAllValues(file: Uint8Array): Uint8Array {
  const model = decodeModel(file);
  const graph = model.graph as GraphProto;
  const known = new Set(graph.output.map(({ name }) => name));
  const more = graph.node.flatMap(({ output }) => output).filter((name) => !known.has(name));
  const output = [...graph.output, ...more.map((name) => ({ name }))];
  return encodeModel({ ...model, graph: { ...graph, output } });
}

describe('what stays finite', () => {
  /** The number of values of each element type; all of them must be finite. */
  async function checkFinite(file: Uint8Array, feeds: Feeds): Promise<{ readonly [type: string]: number }> {
    const session = await ort.InferenceSession.create(withAllValues(file), { logSeverityLevel: 3 });
    const outputs = await session.run(feeds);
    await session.release();
    const counts: { [type: string]: number } = {};
    for (const [name, { type, data }] of Object.entries(outputs)) {
      counts[type] = (counts[type] ?? 0) + 1;
      const isHalf = data instanceof Uint16Array;
      if (!isHalf && !(data instanceof Float32Array)) continue;
      const isFinite = data.every((value) => Number.isFinite(isHalf ? halfToNumber(value) : value));
      expect(isFinite, `${name} ${type}`).toBe(true);
    }
    return counts;
  }

  test.each(['relu', 'gated gelu'] as const)(
    'sums of feed-forward layers beyond half precision: %s',
    async (name) => {
      const wide = await changed(models[name], /wi(_\d)?\.weight$/, (value) => value * 20);
      const large = await changed(wide, /wo\.weight$/, (value) => value * 1e5);
      const full = await exported(large, 'float32');
      const half = await exported(large, 'float16');
      const states = await runModel(full.encoder, feedsOf(full.encoder, { batch: 2, length: 9 }));
      const gap = relativeGap(
        [await runModel(half.encoder, feedsOf(half.encoder, { batch: 2, length: 9 }))],
        [states],
      );
      expect(gap).toBeLessThan(5e-2);
      for (const file of [half.encoder, half.decoder]) {
        const counts = await checkFinite(file, feedsOf(file, { batch: 2, length: 9 }));
        expect(counts.float16).toBeGreaterThan(10);
      }
    },
  );

  test('a text of padding alone, with scores of hundreds', async () => {
    const loud = await changed(models.relu, /(Self|EncDec)Attention\.[qk]\.weight$/, (value) => value * 20);
    const { encoder, decoder } = await exported(loud, 'float16');
    const ids = new ort.Tensor(
      'int64',
      BigInt64Array.from({ length: 14 }, (_, at) => BigInt(at)),
      [2, 7],
    );
    const isToken = BigInt64Array.from({ length: 14 }, (_, at) => (at < 7 ? 1n : 0n));
    const mask = new ort.Tensor('int64', isToken, [2, 7]);
    await checkFinite(encoder, { input_ids: ids, attention_mask: mask });
    const feeds = feedsOf(decoder, { batch: 2, length: 3, source: 7, isCached: false });
    await checkFinite(decoder, { ...feeds, encoder_attention_mask: mask });
    const whole = feedsOf(decoder, { batch: 2, length: 3, source: 7, isCached: true });
    await checkFinite(decoder, { ...whole, encoder_attention_mask: mask });
  });
});

test('a weight that would become infinite is refused by its name', async () => {
  const name = 'encoder.block.1.layer.0.SelfAttention.k.weight';
  const wide = await changed(models.relu, new RegExp(name), (value) => value * 1e6);
  await expect(exported(wide, 'float16')).rejects.toMatchObject({
    code: 'UNSUPPORTED',
    message: expect.stringContaining(name),
  });
  await exported(wide, 'float32');
});
