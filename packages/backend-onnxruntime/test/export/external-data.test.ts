import { execFile } from 'node:child_process';
import { mkdtemp, readdir, readFile, rm, stat } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { optional, thoroughAvailability } from '@topk-attention/vitest-preset';
import * as ort from 'onnxruntime-node';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import {
  type ExportableT5,
  type ExportOptions,
  exportOnnx,
  readExported,
  writeExported,
} from '../../src/export/index.js';
import { modelFiles } from '../../src/export/model-files.js';
import type { GraphProto, TensorProto } from '../../src/onnx/messages.js';
import { decodeModel } from '../../src/onnx/read-model.js';
import { externalValuesOf } from '../../src/onnx/tensor-values.js';
import { rewriteFile } from '../../src/rewrite/index.js';
import { feedsOf } from '../support/run-model.js';
import { largeT5, tinyT5 } from '../support/tiny-t5.js';

const ENCODER = 'onnx/encoder_model.onnx';
const DECODER = 'onnx/decoder_model_merged.onnx';
const vocabSize = 100;

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'topk-external-'));
});
afterAll(() => rm(folder, { recursive: true, force: true }));

/** All outputs of a file, opened by its path, as bytes. */
async function outputsOf(path: string, isCached: boolean): Promise<Readonly<Record<string, Buffer>>> {
  const session = await ort.InferenceSession.create(path, { logSeverityLevel: 3 });
  const feeds = feedsOf(await readFile(path), { batch: 2, length: 11, isCached });
  const outputs = await session.run(feeds);
  await session.release();
  return Object.fromEntries(
    Object.entries(outputs).map(([name, { data }]) => {
      const { buffer, byteOffset, byteLength } = data as Float32Array | Uint16Array;
      return [name, Buffer.from(buffer, byteOffset, byteLength)];
    }),
  );
}

describe('weights beside the models', () => {
  test('names and a configuration that transformers.js goes by', async () => {
    const files = await exportOnnx(tinyT5(), { externalData: true });
    expect(Object.keys(files)).toEqual([
      ENCODER,
      `${ENCODER}_data`,
      DECODER,
      `${DECODER}_data`,
      'config.json',
      'generation_config.json',
    ]);
    const { 'config.json': config } = await readExported(files);
    expect(JSON.parse(new TextDecoder().decode(config))['transformers.js_config']).toEqual({
      dtype: 'fp32',
      use_external_data_format: { 'encoder_model.onnx': 1, 'decoder_model_merged.onnx': 1 },
    });
  });

  test('every weight on a page of its own, with the values of the model', async () => {
    const model = tinyT5();
    const files = await readExported(await exportOnnx(model, { externalData: true }));
    for (const path of [ENCODER, DECODER]) {
      const data = files[`${path}_data`] as Uint8Array;
      const { initializer } = decodeModel(files[path] as Uint8Array).graph as GraphProto;
      const weights = initializer.filter(({ name = '' }) => name.endsWith('.weight'));
      let end = 0;
      for (const weight of weights) {
        const { location, offset, length = 0 } = externalValuesOf(weight) ?? {};
        expect(location).toBe(`${path.slice('onnx/'.length)}_data`);
        expect((offset as number) % 4096).toBe(0);
        expect(offset).toBeGreaterThanOrEqual(end);
        end = (offset as number) + length;
        const values = (await model.parameters[weight.name as string]?.data()) as Float32Array;
        expect(new Float32Array(data.slice(offset, end).buffer), weight.name).toEqual(values);
      }
      expect(end).toBe(data.length);
      expect(weights.length).toBeGreaterThan(10);
      // Numbers that make the graph, such as shapes, stay in it.
      const others = initializer.filter(({ name = '' }) => !name.endsWith('.weight'));
      expect(others.every((one) => externalValuesOf(one) === undefined)).toBe(true);
    }
  });

  const layer = { attention: { k: 3 }, feedForward: { k: 4 } } as const;
  const forms: Readonly<Record<string, readonly [ExportableT5, ExportOptions]>> = {
    exact: [tinyT5({}, { vocabSize }), {}],
    'half precision': [tinyT5({}, { vocabSize }), { dtype: 'float16' }],
    'with k': [tinyT5(layer, { vocabSize }), {}],
  };

  test.each(Object.keys(forms))(
    'ONNX Runtime reads them from the path, for the same bits: %s',
    async (name) => {
      const [model, options] = forms[name] as (typeof forms)[string];
      const inside = join(folder, `${name} inside`);
      const beside = join(folder, `${name} beside`);
      await writeExported(await exportOnnx(model, options), inside);
      const sizes = await writeExported(await exportOnnx(model, { ...options, externalData: true }), beside);
      const suffix = options.dtype === 'float16' ? '_fp16' : '';
      for (const file of [`onnx/encoder_model${suffix}.onnx`, `onnx/decoder_model_merged${suffix}.onnx`]) {
        expect((await stat(join(beside, `${file}_data`))).size).toBe(sizes[`${file}_data`]);
        for (const isCached of [true, false]) {
          const expected = await outputsOf(join(inside, file), isCached);
          expect(await outputsOf(join(beside, file), isCached)).toEqual(expected);
        }
      }
    },
  );

  test('rewritten into another folder, the weights come along', async () => {
    const from = join(folder, 'from');
    await writeExported(await exportOnnx(tinyT5({}, { vocabSize }), { externalData: true }), from);
    const to = await mkdtemp(join(folder, 'to-'));
    const options = { feedForward: 'chunked', chunkBytes: 3000, strict: true } as const;
    const report = await rewriteFile(join(from, ENCODER), join(to, 'encoder.onnx'), options);
    expect(report.feedForwards.length).toBe(2);
    expect((await readdir(to)).sort()).toEqual(['encoder.onnx', 'encoder_model.onnx_data']);
    const [expected, got] = await Promise.all(
      [join(from, ENCODER), join(to, 'encoder.onnx')].map((path) => outputsOf(path, false)),
    );
    const numbers = (bytes: Buffer | undefined): Float32Array =>
      new Float32Array(Uint8Array.from(bytes as Buffer).buffer);
    for (const [at, value] of numbers(expected?.last_hidden_state).entries())
      expect(numbers(got?.last_hidden_state)[at]).toBeCloseTo(value, 5);
  });

  test('topk-onnx inspects, rewrites and verifies them, in half precision too', async () => {
    const main = fileURLToPath(new URL('../../dist/rewrite/cli/main.js', import.meta.url));
    const run = (...args: readonly string[]): Promise<string> =>
      new Promise((resolve, reject) => {
        execFile(process.execPath, [main, ...args], (error, out, err) =>
          error === null ? resolve(out) : reject(new Error(`${out}${err}`)),
        );
      });
    const target = join(folder, 'for the command line');
    const options = { dtype: 'float16', externalData: true } as const;
    await writeExported(await exportOnnx(tinyT5({}, { vocabSize }), options), target);
    for (const name of ['encoder_model', 'decoder_model_merged']) {
      const file = join(target, 'onnx', `${name}_fp16.onnx`);
      const inspected = JSON.parse(await run('inspect', file, '--strict', '--json'));
      const blocks: readonly { readonly result: string }[] = inspected.blocks;
      expect(blocks.map(({ result }) => result)).toEqual(blocks.map(() => 'exact'));
      expect(blocks.length).toBeGreaterThanOrEqual(2);
      const made = join(target, 'onnx', `${name}_chunked.onnx`);
      await run('rewrite', file, made, '--strict');
      const verified = JSON.parse(await run('verify', file, made, '--lengths', '9', '--runs', '1', '--json'));
      expect(verified.passes).toBe(true);
      expect(verified.rows.length).toBe(1);
    }
  });
});

describe('which files there are', () => {
  /** A graph of weights of so many bytes, which nobody reads. */
  function filesOf(sizes: readonly number[], externalData: boolean | 'auto'): ReturnType<typeof modelFiles> {
    const initializer = sizes.map((size, at): TensorProto => ({ name: `w${at}`, dims: [size / 4] }));
    const graph: GraphProto = { node: [], initializer, input: [], output: [], valueInfo: [] };
    const weightOf = ({ dims }: TensorProto): { byteLength: number; read: () => Promise<never> } => ({
      byteLength: 4 * (dims[0] as number),
      read: () => Promise.reject(new Error('not read')),
    });
    return modelFiles('m.onnx', graph, weightOf, externalData);
  }
  const GIB = 2 ** 30;

  test('one below 2 GiB, and from there on weights beside it, in files below 2 GiB', () => {
    expect(filesOf([GIB, GIB - 2 ** 25], 'auto')).toMatchObject({ dataFiles: 0 });
    const { files, dataFiles } = filesOf([GIB, 4, GIB - 2 ** 25, GIB, 3 * GIB, 8], 'auto');
    const sizes = Object.values(files).map(({ byteLength }) => byteLength);
    expect(dataFiles).toBe(4);
    expect(Object.keys(files)).toEqual([
      'm.onnx',
      'm.onnx_data',
      'm.onnx_data_1',
      'm.onnx_data_2',
      'm.onnx_data_3',
    ]);
    expect(sizes[0]).toBeLessThan(1000);
    // A weight that is larger by itself has a file of its own.
    expect(sizes.slice(1)).toEqual([2 * GIB - 2 ** 25 + 4096, GIB, 3 * GIB, 8]);
  });

  test('where files of weights are not wanted, a larger model is refused', () => {
    expect(() => filesOf([GIB, GIB], false)).toThrow(
      expect.objectContaining({ code: 'UNSUPPORTED', message: expect.stringContaining('m.onnx') }),
    );
    expect(filesOf([GIB], false)).toMatchObject({ dataFiles: 0 });
    expect(filesOf([4], true)).toMatchObject({ dataFiles: 1 });
  });

  test('a model of more than 2 GiB as a whole', async () => {
    const files = await exportOnnx(largeT5(0));
    const sizes = Object.entries(files).map(
      ([path, { byteLength }]) => [path, byteLength > 2 ** 31] as const,
    );
    expect(sizes.every(([, isLarge]) => !isLarge)).toBe(true);
    expect(sizes.map(([path]) => path)).toEqual([
      ENCODER,
      `${ENCODER}_data`,
      `${ENCODER}_data_1`,
      DECODER,
      `${DECODER}_data`,
      `${DECODER}_data_1`,
      'config.json',
      'generation_config.json',
    ]);
    await expect(exportOnnx(largeT5(0), { externalData: false })).rejects.toMatchObject({
      code: 'UNSUPPORTED',
    });
    const half = await exportOnnx(largeT5(0), { dtype: 'float16' });
    expect(Object.keys(half)).toEqual([
      'onnx/encoder_model_fp16.onnx',
      'onnx/decoder_model_merged_fp16.onnx',
      'config.json',
      'generation_config.json',
    ]);
  });

  optional('written to a disk, it runs', thoroughAvailability(), async () => {
    const number = 2 ** -10;
    const files = Object.entries(await exportOnnx(largeT5(number)));
    const encoder = Object.fromEntries(files.filter(([path]) => path.startsWith(ENCODER)));
    const target = join(folder, 'large');
    await writeExported(encoder, target);
    const session = await ort.InferenceSession.create(join(target, ENCODER), { logSeverityLevel: 3 });
    const ids = new ort.Tensor('int64', BigInt64Array.of(5n, 6n, 7n), [1, 3]);
    const mask = new ort.Tensor('int64', BigInt64Array.of(1n, 1n, 1n), [1, 3]);
    const { last_hidden_state: states } = await session.run({ input_ids: ids, attention_mask: mask });
    await session.release();
    await rm(target, { recursive: true });
    // Equal units stay equal from layer to layer, and the last norm makes ones of them, times its weight.
    const values = [...((states as ort.Tensor).data as Float32Array)];
    expect(values.length).toBe(3 * 512);
    for (const value of values) expect(Math.abs(value / number - 1)).toBeLessThan(1e-3);
  });
});
