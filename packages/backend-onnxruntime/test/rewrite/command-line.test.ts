import { execFile } from 'node:child_process';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { readTestModel } from '@topk-attention/onnx-models';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { GraphBuilder } from '../../src/onnx/graph-builder.js';
import type { GraphProto } from '../../src/onnx/messages.js';
import { decodeModel } from '../../src/onnx/read-model.js';
import { encodeModel } from '../../src/onnx/write-model.js';

// The built program, as users run it.
const main = fileURLToPath(new URL('../../dist/rewrite/cli/main.js', import.meta.url));
let folder: string;
const at = (name: string): string => join(folder, name);

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'topk-onnx-'));
  await writeFile(at('model.onnx'), readTestModel('bert-sdpa-export-18'));
  await writeFile(at('kept.onnx'), readTestModel('block-weights-returned'));
});
afterAll(() => rm(folder, { recursive: true, force: true }));

interface Result {
  readonly code: number;
  readonly out: string;
  readonly err: string;
}

function run(...args: readonly string[]): Promise<Result> {
  return runNode(main, ...args);
}

function runNode(...args: readonly string[]): Promise<Result> {
  return new Promise((resolve) => {
    execFile(process.execPath, [...args], (error, out, err) => {
      resolve({ code: error === null ? 0 : Number(error.code), out, err });
    });
  });
}

test('inspect says what would be rewritten, and writes nothing', async () => {
  const { code, out } = await run('inspect', at('model.onnx'), '--at', 'length=2048');
  expect(code).toBe(0);
  expect(out).toContain('2 of 2 attention blocks can be rewritten; bytes at batch 1, length 2048');
  const refused = await run('inspect', at('kept.onnx'), '--json');
  expect(JSON.parse(refused.out).blocks).toMatchObject([{ result: 'refused', code: 'weights-used' }]);
  expect((await run('inspect', at('kept.onnx'), '--strict')).code).toBe(1);
});

test('inspect says how attention and feed-forward layers would be rewritten', async () => {
  const flags = [
    '--k',
    '9',
    '--feed-forward-k',
    '8',
    '--unrolled',
    '--fixed',
    'length=64',
    '--target',
    'webgpu',
  ];
  const { code, out } = await run('inspect', at('model.onnx'), ...flags, '--max-length', '64');
  expect(code).toBe(0);
  expect(out).toContain('attention k = 9, unrolled');
  // Copies need the number of tokens, and the batch is open.
  expect(out).toMatch(/refused \S+ \(feed-forward, 32 wide\): unrolled: the number of tokens is open/);
  const looped = await run('inspect', at('model.onnx'), '--feed-forward-k', '8', '--select', 'signed');
  expect(looped.out).toContain('(feed-forward, 32 wide): 8 units kept, the largest');
  const none = await run('inspect', at('kept.onnx'), '--feed-forward');
  expect(none.out).toContain('no feed-forward layers were found');
  const learned = await run('inspect', at('model.onnx'), '--learn', '--strict');
  expect(learned).toMatchObject({ code: 0, err: '' });
  await writeFile(at('empty.onnx'), '');
  expect((await run('inspect', at('empty.onnx'))).err).toContain(`${at('empty.onnx')}: not an ONNX model`);
});

test('rewrite, verify and bench', async () => {
  const [from, to] = [at('model.onnx'), at('exact.onnx')];
  const original = await readFile(from);
  expect(await run('rewrite', from, to, '--feed-forward')).toMatchObject({ code: 0 });
  expect(Buffer.compare(await readFile(from), original)).toBe(0);
  expect(await run('rewrite', from, to)).toMatchObject({
    code: 2,
    err: expect.stringContaining('INVALID_OPTION'),
  });

  const verified = await run('verify', from, to, '--lengths', '9,40', '--json');
  const { rows, passes } = JSON.parse(verified.out);
  expect(passes).toBe(true);
  expect(rows).toHaveLength(2);
  for (const row of rows) {
    expect(row.largestDifference).toBeLessThan(1e-5);
    expect(row.cosine).toBeGreaterThan(0.9999);
    expect(row.rewritten.milliseconds).toBeGreaterThan(0);
  }
  const timed = await run('bench', from, to, '--lengths', '30', '--runs', '1', '--json');
  expect(JSON.parse(timed.out).rows).toMatchObject([{ model: from }, { model: to }]);
});

test.each<readonly [string, ...string[]]>([
  // Its mask is looked up by place: nothing in the graph says that it is as long as the past and the input together.
  ['gpt2-merged-eager-traced-17', '--lengths', '8', '--at', 'attention_mask_sequence_length=16'],
  ['t5-decoder-merged-eager-traced-17-int8', '--lengths', '8,20'],
  ['llama-with-past-sdpa-traced-17-fp16', '--lengths', '8'],
])('verify makes up inputs for %s', async (name, ...args) => {
  await writeFile(at(`${name}.onnx`), readTestModel(name));
  const [from, to] = [at(`${name}.onnx`), at(`${name}-exact.onnx`)];
  expect(await run('rewrite', from, to, '--strict')).toMatchObject({ code: 0 });
  const { code, out } = await run(
    'verify',
    from,
    to,
    ...args,
    '--tolerance',
    '0.005',
    '--runs',
    '1',
    '--json',
  );
  const { rows, error } = JSON.parse(out);
  expect({ code, error }).toEqual({ code: 0, error: undefined });
  for (const row of rows) {
    expect(row.cosine).toBeGreaterThan(0.999);
    expect(row.sameLargest).toBeGreaterThan(0.9);
    for (const { milliseconds, peakBytes } of [row.original, row.rewritten]) {
      expect(milliseconds).toBeGreaterThan(0);
      expect(peakBytes).toBeGreaterThan(0);
    }
  }
});

test('inputs and outputs in half precision', async () => {
  const [from, to] = [at('half.onnx'), at('half-exact.onnx')];
  await writeFile(from, readTestModel('vit-sdpa-export-23-fp16-whole'));
  expect(await run('rewrite', from, to, '--learn')).toMatchObject({ code: 0, err: '' });
  const { code, out } = await run('verify', from, to, '--runs', '1', '--json');
  expect(code).toBe(0);
  const [row] = JSON.parse(out).rows;
  // Sums in another order differ in the last of eleven bits.
  expect(row.largestDifference).toBeLessThan(5e-3);
  expect(row.cosine).toBeGreaterThan(0.9999);
  expect(row.cosine).toBeLessThanOrEqual(1);
  const image = Array.from({ length: 3 }, (_, channel) =>
    Array.from({ length: 32 }, (_, y) => Array.from({ length: 32 }, (_, x) => Math.sin(channel + x * y))),
  );
  await writeFile(at('images.json'), JSON.stringify({ pixel_values: [image] }));
  const tried = await run(
    'verify',
    from,
    '--k',
    '1,65',
    '--inputs',
    at('images.json'),
    '--cosine',
    '0.99999',
    '--json',
  );
  expect(JSON.parse(tried.out)).toMatchObject({ passes: true, smallestK: 65 });
  const timed = await run('bench', from, to, '--runs', '1', '--json');
  expect(JSON.parse(timed.out).rows).toMatchObject([{ model: from }, { model: to }]);
});

test('memory is that of the run, however large the inputs are', async () => {
  // 64 MiB of inputs; as text they took the measuring process more than the 64 MiB of the run.
  const onnx = new GraphBuilder();
  onnx.input('x', 'f32', ['rows', 1024]);
  onnx.output(onnx.op('Exp', [onnx.op('Neg', ['x'])]), 'f32', ['rows', 1024]);
  await writeFile(at('large.onnx'), encodeModel(onnx.model()));
  const { code, out } = await run('bench', at('large.onnx'), '--at', 'rows=16384', '--runs', '1', '--json');
  expect(code).toBe(0);
  const [peak] = JSON.stringify(JSON.parse(out)).match(/(?<="peakBytes":)\d+/) ?? [];
  expect(Number(peak)).toBeGreaterThan(60 * 2 ** 20);
  expect(Number(peak)).toBeLessThan(200 * 2 ** 20);
});

test('blocks without a mask as an operator of ONNX Runtime, where asked for', async () => {
  const operator = 'com.microsoft.MultiHeadAttention';
  const [from, to] = [at('picture.onnx'), at('picture-contrib.onnx')];
  await writeFile(from, readTestModel('vit-sdpa-export-18'));
  const inspected = await run('inspect', from, '--contrib');
  expect(inspected.out).toMatch(/attention exact, contrib\n2 of 2 attention blocks can be rewritten/);
  expect(inspected.out).toContain(`MiB -> ${operator}\n`);
  const rewritten = await run('rewrite', from, to, '--contrib', '--strict', '--json');
  const { contrib, blocks } = JSON.parse(rewritten.out);
  expect(contrib).toBe(true);
  expect(blocks).toMatchObject(
    Array(2).fill({ result: 'exact', contrib: { operator }, bytes: { after: 0 } }),
  );
  const used = decodeModel(await readFile(to)).graph?.node.map(({ opType }) => opType);
  expect(used?.filter((one) => one === 'MultiHeadAttention')).toHaveLength(2);
  const asked = await run('rewrite', at('model.onnx'), at('masked.onnx'), '--contrib');
  expect(asked.out).toMatch(
    /exact {3}.* MiB; standard operators: Add \S+ may hide keys or add to the scores\n/,
  );

  for (const args of [[to], ['--contrib']]) {
    const verified = await run('verify', from, ...args, '--runs', '1', '--json');
    const { rows, passes } = JSON.parse(verified.out);
    expect({ rows: rows.length, passes }).toEqual({ rows: 1, passes: true });
    expect(rows[0].largestDifference).toBeLessThan(1e-5);
  }
  const tried = await run('verify', from, '--contrib', '--k', '1,65', '--runs', '1', '--json');
  expect(JSON.parse(tried.out)).toMatchObject({ smallestK: 65, rows: [{ k: 1 }, { k: 65 }] });
  const timed = await run('bench', from, '--contrib', '--runs', '1');
  expect(timed.out.split('\n').slice(1, 4)).toEqual([
    expect.stringMatching(/picture.onnx {2,}batch 1/),
    expect.stringMatching(/picture.onnx \(exact\) {2,}batch 1/),
    expect.stringMatching(/picture.onnx \(exact, contrib\) {2,}batch 1/),
  ]);
  for (const args of [
    ['verify', from, to, '--contrib'],
    ['rewrite', from, at('none.onnx'), '--contrib', '--target', 'webgpu'],
  ]) {
    expect(await run(...args)).toMatchObject({ code: 2, err: expect.stringContaining('INVALID_OPTION') });
  }
});

test('a file that is rewritten already is refused', async () => {
  const [to, again] = [at('once.onnx'), at('twice.onnx')];
  expect(await run('rewrite', at('model.onnx'), to, '--k', '9')).toMatchObject({ code: 0 });
  const { code, err } = await run('rewrite', to, again);
  expect(code).toBe(1);
  expect(err).toMatch(/UNSUPPORTED: rewriteModel: \S+once\.onnx is rewritten already/);
  expect(err).toContain('Rewrite the original file');
});

test('verify finds the smallest k that keeps a bound, on inputs of a file', async () => {
  const ids = Array.from({ length: 24 }, (_, column) => 1 + ((column * 7) % 90));
  const inputs = [{ input_ids: [ids], attention_mask: [ids.map(() => 1)] }];
  await writeFile(at('inputs.json'), JSON.stringify(inputs));
  const args = ['verify', at('model.onnx'), '--inputs', at('inputs.json'), '--runs', '1', '--json'];
  const found = await run(...args, '--k', '1,24', '--cosine', '0.999999');
  expect(JSON.parse(found.out)).toMatchObject({ passes: true, smallestK: 24, rows: [{ k: 1 }, { k: 24 }] });
  const none = await run(...args, '--k', '1', '--cosine', '0.999999');
  expect(none.code).toBe(1);
  // One object, of a failure too.
  const { rows, passes, error } = JSON.parse(none.out);
  expect({ rows: rows.length, passes }).toEqual({ rows: 1, passes: false });
  expect(error.code).toBe('OUTPUTS_DIFFER');
  expect(error.message).toMatch(/got 0\.9\d+ with k = 1/);
});

test('a verification that would compare nothing is refused', async () => {
  await writeFile(at('empty.json'), '[]');
  await writeFile(at('cut.json'), '[{');
  for (const file of ['empty.json', 'cut.json']) {
    const { code, err } = await run('verify', at('model.onnx'), at('model.onnx'), '--inputs', at(file));
    expect(code).toBe(2);
    expect(err).toContain(`${at(file)}: no inputs`);
  }
  const onnx = new GraphBuilder();
  const x = onnx.input('x', 'f32', ['length', 4]);
  onnx.output(onnx.op('ArgMax', [x], { axis: 1 }), 'i64', ['length', 1]);
  await writeFile(at('whole.onnx'), encodeModel(onnx.model()));
  const { code, err } = await run('verify', at('whole.onnx'), at('whole.onnx'), '--lengths', '3');
  expect(code).toBe(1);
  expect(err).toContain('UNSUPPORTED');
});

test.each([
  [{ input_ids: [[1, 2]] }, 'input attention_mask: bad values'],
  [{ input_ids: [[1, 2]], attention_mask: [[1, 1]], token_ids: [[0, 0]] }, 'unknown name'],
  [{ input_ids: [[1.5, 2]], attention_mask: [[1, 1]] }, '1.5 for int64'],
  [{ input_ids: [[1], [2, 3], []], attention_mask: [[1], [1], [1]] }, '2 entries at axis 1 of [3,1]'],
  [{ input_ids: [['1', 2]], attention_mask: [[1, 1]] }, 'got "1"'],
  [{ input_ids: [[null, 2]], attention_mask: [[1, 1]] }, 'got null'],
  [[5], 'input input_ids: bad values'],
])('inputs that the model does not have are refused: %j', async (inputs, words) => {
  await writeFile(at('bad.json'), JSON.stringify(inputs));
  const { code, err } = await run('verify', at('model.onnx'), at('model.onnx'), '--inputs', at('bad.json'));
  expect(code).toBe(2);
  expect(err).toContain(`INVALID_OPTION: input`);
  expect(err).toContain(words);
});

test('models with other outputs differ, and the output is named', async () => {
  await writeFile(at('other.onnx'), readTestModel('gpt2-sdpa-export-18'));
  const args = ['verify', at('model.onnx'), at('other.onnx'), '--lengths', '8', '--runs', '1'];
  const { code, err } = await run(...args);
  expect(code).toBe(1);
  expect(err).toContain(
    'OUTPUTS_DIFFER: verify: the models differ in output output: expected shape [1,8,16]',
  );
});

test('a model that does not run fails with the reason of the engine', async () => {
  // Longer than the table of positions.
  const { code, err } = await run('bench', at('model.onnx'), '--lengths', '2000', '--runs', '1');
  expect(code).toBe(1);
  expect(err).toMatch(/ENGINE_FAILURE: .*does not run: expected outputs, got Non-zero status code/);
  expect(err).toContain('Inputs were made up: name extents with --at');
  const { out } = await run('inspect', at('model.onnx'), '--at', 'length=9000');
  expect(out).toContain('bytes not known: the model does not take these extents together');
});

test('what a model takes at one value only is named once, to rewrite it and to run it', async () => {
  const onnx = new GraphBuilder();
  const x = onnx.input('x', 'f32', ['length', 'width']);
  const weights = onnx.op('Softmax', [onnx.op('MatMul', [x, onnx.op('Transpose', [x], { perm: [1, 0] })])]);
  onnx.output(onnx.op('Reshape', [onnx.op('MatMul', [weights, x]), onnx.i64([-1, 4])]), 'f32', ['length', 4]);
  await writeFile(at('width.onnx'), encodeModel(onnx.model()));
  const args = ['verify', at('width.onnx'), '--k', '64', '--lengths', '9', '--runs', '1', '--learn'];
  expect((await run(...args)).code).toBe(1);
  const { code, err } = await run(...args, '--fixed', 'width=4');
  expect({ code, err }).toEqual({ code: 0, err: 'k = 64, length 9, width 4\n' });
});

test('a run on short inputs finds the weights of another file', async () => {
  const model = decodeModel(readTestModel('vit-sdpa-export-23'));
  const parts: Uint8Array[] = [];
  let offset = 0;
  const graph = model.graph as GraphProto;
  const initializer = graph.initializer.map(({ rawData, ...tensor }) => {
    if (rawData === undefined) return tensor;
    parts.push(rawData);
    const entries = { location: 'weights.bin', offset: `${offset}`, length: `${rawData.length}` };
    offset += rawData.length;
    const externalData = Object.entries(entries).map(([key, value]) => ({ key, value }));
    return { ...tensor, dataLocation: 1, externalData };
  });
  await writeFile(at('weights.bin'), Buffer.concat(parts));
  await writeFile(at('parted.onnx'), encodeModel({ ...model, graph: { ...graph, initializer } }));
  const { code, out, err } = await run('inspect', at('parted.onnx'), '--learn');
  expect({ code, err }).toEqual({ code: 0, err: '' });
  expect(out).toContain('2 of 2 attention blocks can be rewritten');
});

test('without an engine, models are rewritten but not run', async () => {
  const hook =
    "export async function resolve(name, context, next) { if (name.startsWith('onnxruntime-')) throw new Error(name); return next(name, context); }";
  const url = (code: string): string => `data:text/javascript,${encodeURIComponent(code)}`;
  const without = url(`import { register } from 'node:module'; register(${JSON.stringify(url(hook))});`);
  const rewritten = await runNode('--import', without, main, 'rewrite', at('model.onnx'), at('alone.onnx'));
  expect(rewritten).toMatchObject({ code: 0, err: '' });
  for (const args of [
    ['verify', at('model.onnx'), at('alone.onnx')],
    ['bench', at('model.onnx')],
    ['inspect', at('model.onnx'), '--learn'],
  ]) {
    const { code, err } = await runNode('--import', without, main, ...args);
    expect(code).toBe(1);
    expect(err).toContain('MISSING_PEER');
    expect(err).toContain('npm install onnxruntime-node');
  }
});

test('wrong use is exit code 2, a failure 1', async () => {
  expect((await run('verify', at('model.onnx'))).code).toBe(2);
  expect((await run('rewrite', at('model.onnx'))).code).toBe(2);
  expect((await run('inspect', at('model.onnx'), '--k', 'many')).code).toBe(2);
  expect((await run('inspect', at('model.onnx'), '--at', 'width=3')).code).toBe(2);
  const missing = await run('inspect', at('none.onnx'), '--json');
  expect(missing.code).toBe(1);
  expect(JSON.parse(missing.out).error.code).toBe('FILE_NOT_FOUND');
  expect((await run('inspect', at('model.onnx'), '--select', 'signed')).code).toBe(2);
  expect((await run('inspect', at('model.onnx'), '--target', 'gpu')).code).toBe(2);
  expect((await run('bench', at('model.onnx'), '--at', 'width=3')).err).toContain('batch, length');
  for (const [flag, value] of [
    ['--tolerance', '-1'],
    ['--tolerance', 'Infinity'],
    ['--cosine', '1.01'],
    ['--cosine', ''],
  ] as const) {
    expect((await run('verify', at('model.onnx'), at('model.onnx'), flag, value)).code).toBe(2);
  }
  expect(await run('--help')).toMatchObject({ code: 0, out: expect.stringContaining('130 interrupted') });
  const usage = await run('inspect', '--json');
  expect(JSON.parse(usage.out).error).toEqual({
    code: 'USAGE',
    message: "missing required argument 'model'",
  });
  const { version } = JSON.parse(await readFile(new URL('../../package.json', import.meta.url), 'utf8'));
  expect(await run('--version')).toEqual({ code: 0, out: `${version}\n`, err: '' });
});
