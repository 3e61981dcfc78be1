import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createReferenceBackend } from '@topk-attention/core/reference';
import { causalGoldensFolder, goldensFolder, smallEncoder } from '@topk-attention/t5-goldens';
import { COMMIT, startHub } from '@topk-attention/vitest-preset/hub-server';
import { expect, onTestFinished, test } from 'vitest';
import { hub, loadModel, loadT5, type Progress, type T5 } from '../src/index.js';
import { errorOf } from './support/errors.js';
import { MemorySource, smallCheckpoint } from './support/sources.js';

const backend = createReferenceBackend();

async function cache(): Promise<string> {
  const path = await mkdtemp(join(tmpdir(), 'topk-hub-'));
  onTestFinished(() => rm(path, { recursive: true, force: true }));
  return path;
}

test('a name is loaded from the Hub, and without a connection from the cache', async () => {
  const cacheDir = await cache();
  const { files } = await smallCheckpoint();
  const server = await startHub(files);
  const { endpoint } = server;
  const stages = new Set<Progress['stage']>();
  const onProgress = ({ stage }: Progress): void => void stages.add(stage);
  const model = await loadModel('org/name', { backend, cacheDir, endpoint, onProgress, attention: { k: 3 } });
  expect([...stages]).toEqual(['download', 'load']);
  const expected = await loadT5({ backend, source: new MemorySource(files), attention: { k: 3 } });
  const ids = (await expected.generate([9, 4, 1], { maxNewTokens: 4 })).ids;
  expect((await (model as T5).generate([9, 4, 1], { maxNewTokens: 4 })).ids).toEqual(ids);
  server.asked.length = 0;
  for (const revision of ['main', COMMIT]) {
    (await loadModel('org/name', { backend, cacheDir, endpoint, localFilesOnly: true, revision })).dispose();
    (await loadModel('org/name', { backend, cacheDir, endpoint, revision: COMMIT })).dispose();
  }
  // With a commit, only files that are not in its list are worth a request; it is made once.
  expect(server.asked.map(({ kind }) => kind)).toEqual(['listing', 'listing']);
});

test('every family is found by its model_type', async () => {
  const llama = await loadModel(`${causalGoldensFolder}/llama`, {
    backend,
    tokenizer: false,
    attention: { k: 3 },
  });
  const bert = await loadModel(smallEncoder, { backend, task: 'fill-mask' });
  const t5 = await loadModel(`${goldensFolder}/t5-v1_1`, { backend, tokenizer: false });
  expect([llama, bert, t5].map((one) => one.constructor.name)).toEqual(['CausalLM', 'Encoder', 'T5']);
  for (const one of [llama, bert, t5]) one.dispose();
  const error = await errorOf(loadModel(smallEncoder, { backend, crossAttention: 'exact' }));
  expect(error.code).toBe('INVALID_OPTION');
  expect(error.message).toContain('crossAttention');
});

test('hub gives a source to the loading functions of families', async () => {
  const { endpoint } = await startHub((await smallCheckpoint()).files);
  (await loadT5({ backend, source: hub('org/name', { endpoint, cacheDir: await cache() }) })).dispose();
});

test('folders, URLs and sources are themselves', async () => {
  const folder = `${goldensFolder}/t5-v1_1`;
  for (const source of [folder, new URL(`file://${folder}`), `file://${folder}`]) {
    const model = await loadModel(source, { backend, tokenizer: false });
    expect(model.config).toMatchObject({ gated: true });
    model.dispose();
  }
  (await loadModel(await smallCheckpoint(), { backend })).dispose();
  for (const source of [
    './no-folder',
    '../no-folder',
    '/no/folder',
    '~/no-folder',
    '.\\no',
    'C:\\no',
    'c:/no',
  ]) {
    const error = await errorOf(loadModel(source, { backend }));
    expect(error.code).toBe('FILE_NOT_FOUND');
    expect(error.message).toContain(source);
  }
});

test.each(['', 'a/b/c', 'a b', 'x.git', 'org/../name', 'a\\b'])(
  'the source %j is refused',
  async (source) => {
    expect((await errorOf(loadModel(source, { backend }))).code).toBe('INVALID_OPTION');
  },
);

test('options of the Hub are for names', async () => {
  const error = await errorOf(loadModel(await smallCheckpoint(), { backend, revision: 'main' }));
  expect(error.code).toBe('INVALID_OPTION');
  expect(error.message).toContain('revision');
});

test('misspelt options are refused, by whoever takes them', async () => {
  const { endpoint } = await startHub((await smallCheckpoint()).files);
  const options = { backend, endpoint, cacheDir: await cache(), atention: 'exact' };
  expect((await errorOf(loadModel('org/name', options))).code).toBe('INVALID_OPTION');
});

test.each(['bert2', 7, undefined, 'toString'])('model_type %j is unknown', async (type) => {
  const source = new MemorySource({ 'config.json': JSON.stringify({ model_type: type }) });
  const error = await errorOf(loadModel(source, { backend }));
  expect(error.code).toBe('UNKNOWN_MODEL_TYPE');
  expect(error.expected).toContain('t5');
});
