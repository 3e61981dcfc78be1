import { mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import type { Tensor, TopKError } from '@topk-attention/core';
import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { type ExportedFile, exportOnnx, readExported, writeExported } from '../../src/export/index.js';
import { tinyT5 } from '../support/tiny-t5.js';

const files = await readExported(await exportOnnx(tinyT5()));
let folder: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'topk-export-'));
});
afterEach(() => rm(folder, { recursive: true, force: true }));

async function codeOf(target: string, checkpoint?: string): Promise<string> {
  return writeExported(files, target, checkpoint === undefined ? {} : { checkpoint }).then(
    () => 'nothing',
    ({ code }: TopKError) => code,
  );
}

async function checkpoint(...names: readonly string[]): Promise<string> {
  const made = join(folder, 'checkpoint');
  await mkdir(made);
  for (const name of names) await writeFile(join(made, name), `own ${name}`);
  return made;
}

test('the whole folder, with the tokenizer and the settings of the checkpoint', async () => {
  const target = join(folder, 'made');
  const own = await checkpoint('tokenizer.json', 'tokenizer_config.json', 'generation_config.json', 'other');
  const written = await writeExported(files, target, { checkpoint: own });
  const all = (await readdir(target, { recursive: true, withFileTypes: true })).filter((one) => one.isFile());
  expect(all.map(({ name }) => name).sort()).toEqual([
    'config.json',
    'decoder_model_merged.onnx',
    'encoder_model.onnx',
    'generation_config.json',
    'tokenizer.json',
    'tokenizer_config.json',
  ]);
  expect(Object.keys(written).length).toBe(all.length);
  expect(await readFile(join(target, 'generation_config.json'), 'utf8')).toBe('own generation_config.json');
  const encoder = 'onnx/encoder_model.onnx';
  expect(Buffer.compare(await readFile(join(target, encoder)), files[encoder] as Uint8Array)).toBe(0);
  expect(written[encoder]).toBe(files[encoder]?.byteLength);
});

test('without a checkpoint, the exported files alone', async () => {
  expect(Object.keys(await writeExported(files, join(folder, 'made')))).toEqual(Object.keys(files));
});

test('what is there stays, and nothing is left of what fails', async () => {
  const target = join(folder, 'made');
  await mkdir(target);
  expect(await codeOf(target)).toBe('INVALID_OPTION');
  expect(await readdir(folder)).toEqual(['made']);
  await writeFile(join(folder, 'file'), 'x');
  expect(await codeOf(join(folder, 'file'))).toBe('INVALID_OPTION');
  expect(await codeOf(join(folder, 'file', 'made'))).toBe('FILE_NOT_FOUND');
  expect(await codeOf(join(folder, 'new'), join(folder, 'nowhere'))).toBe('FILE_NOT_FOUND');
  expect(await codeOf(join(folder, 'new'), await checkpoint('tokenizer.json'))).toBe('FILE_NOT_FOUND');
  expect((await readdir(folder)).sort()).toEqual(['checkpoint', 'file', 'made']);
  expect(await readFile(join(folder, 'file'), 'utf8')).toBe('x');
});

test('weights are read from the model as they are written, one at a time', async () => {
  const model = tinyT5();
  const readings = Object.entries<Tensor>(model.parameters).map(
    ([name, parameter]) => [name, vi.spyOn(parameter, 'data')] as const,
  );
  const read = (): readonly string[] =>
    readings.flatMap(([name, { mock }]) => mock.calls.map(() => name)).sort();
  const exported = await exportOnnx(model);
  const before = read();
  expect(before.length).toBe(2);
  expect(before.every((name) => name.endsWith('relative_attention_bias.weight'))).toBe(true);
  let parts = 0;
  for await (const _ of (exported['onnx/encoder_model.onnx'] as ExportedFile).parts()) {
    parts++;
    expect(read().length).toBeLessThanOrEqual(before.length + parts);
  }
  const ofEncoder = Object.keys(model.parameters).filter((name) => /^(encoder|shared)/.test(name));
  // The table of biases is in the graph in another form.
  expect(read().length).toBe(before.length + ofEncoder.length - 1);
});

test.each([false, true])(
  'of a model that is disposed of nothing is written: externalData %s',
  async (externalData) => {
    const model = tinyT5();
    const exported = await exportOnnx(model, { externalData });
    for (const parameter of Object.values<Tensor>(model.parameters)) parameter.dispose();
    await expect(writeExported(exported, join(folder, 'made'))).rejects.toMatchObject({ code: 'DISPOSED' });
    expect(await readdir(folder)).toEqual([]);
  },
);

test('a file has the same bytes in parts, at once, and a second time', async () => {
  for (const file of Object.values(await exportOnnx(tinyT5(), { dtype: 'float16' }))) {
    const parts: Uint8Array[] = [];
    for await (const part of file.parts()) parts.push(part);
    const bytes = await file.bytes();
    expect(Buffer.concat(parts).equals(bytes)).toBe(true);
    expect(bytes.byteLength).toBe(file.byteLength);
    expect(Buffer.compare(await file.bytes(), bytes)).toBe(0);
  }
});

test.each<[string, object | undefined]>([
  ['nothing', undefined],
  ['no files', {}],
  ['a path above the folder', { 'config.json': Buffer.from('{}'), '../evil': Buffer.from('x') }],
  ['an absolute path', { '/tmp/evil': Buffer.from('x') }],
  ['a drive', { 'C:/evil': Buffer.from('x') }],
  ['backslashes', { '..\\evil': Buffer.from('x') }],
  ['text for bytes', { 'config.json': '{}' }],
])('%s is refused, and nothing is written', async (_, given) => {
  const target = join(folder, 'made');
  await expect(writeExported(given as never, target)).rejects.toMatchObject({ code: 'INVALID_OPTION' });
  expect(await readdir(folder)).toEqual([]);
});

test('folders may be URLs', async () => {
  const own = await checkpoint('tokenizer.json', 'tokenizer_config.json');
  const target = pathToFileURL(join(folder, 'a b'));
  await writeExported(files, target, { checkpoint: pathToFileURL(own) });
  expect(await readFile(join(folder, 'a b', 'tokenizer.json'), 'utf8')).toBe('own tokenizer.json');
  const wrong = writeExported(files, undefined as never);
  await expect(wrong).rejects.toMatchObject({
    code: 'INVALID_OPTION',
    message: expect.stringContaining('bad target'),
  });
});
