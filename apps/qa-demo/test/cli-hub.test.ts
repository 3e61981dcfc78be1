import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { startHub } from '@topk-attention/vitest-preset/hub-server';
import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { modelFiles, modelHash } from '../src/engine/model-files.js';
import {
  type JsonError,
  jsonOf,
  type Outcome,
  runCli,
  smallModel,
  temporaryFolder,
  writeIn,
} from './cli-support.js';
import { runProgram } from './run-program.js';

const folder = temporaryFolder();
const parted = temporaryFolder();
const model = smallModel(folder);
const names = ['config.json', 'model.safetensors', 'tokenizer.json'];
const files = Object.fromEntries(names.map((name) => [name, readFileSync(join(model, name))]));
const onReference = ['--backend', 'reference', '--max-new-tokens', '5', '--json'];
const story = join(import.meta.dirname, '../data/story.txt');
const ask = ['ask', '--question', 'Where is Ann?', '--context', story, ...onReference];

let cache = '';
afterEach(() => vi.unstubAllEnvs());
beforeEach(({ task }) => {
  cache = join(folder, `cache-${task.id}`);
  vi.stubEnv('HF_HUB_CACHE', cache);
});

const errorOf = (outcome: Outcome): JsonError['error'] => {
  expect(outcome.code).toBe(1);
  return jsonOf<JsonError>(outcome).error;
};

test('a name is downloaded once, and answers without a connection then', async () => {
  const { endpoint, asked } = await startHub(files);
  const env = { HF_ENDPOINT: endpoint, HF_HUB_CACHE: cache };
  const local = jsonOf<{ text: string }>(await runCli([...ask, '--model', model]));
  const online = await runCli([...ask, '--model', 'org/name'], { env });
  expect(online).toMatchObject({ code: 0, stderr: '' });
  expect(jsonOf(online)).toMatchObject({ text: local.text, engine: { model: 'org/name' } });
  expect(asked.length).toBeGreaterThan(0);
  asked.length = 0;
  const offline = await runCli([...ask, '--model', 'org/name', '--offline'], { env });
  expect(jsonOf(offline)).toMatchObject({ text: local.text, engine: { model: 'org/name' } });
  expect(asked).toEqual([]);
});

test('what is not cached is an error that names the flag', async () => {
  const { endpoint, asked } = await startHub(files);
  vi.stubEnv('HF_ENDPOINT', endpoint);
  const error = errorOf(await runProgram([...ask, '--model', 'org/other', '--offline']));
  expect(error).toMatchObject({
    code: 'NOT_CACHED',
    message: expect.stringContaining('config.json is not cached'),
  });
  expect(error.fix).toContain('without --offline');
  expect(asked).toEqual([]);
});

test('a name that the Hub does not have, and what is no name', async () => {
  const { endpoint } = await startHub(files);
  vi.stubEnv('HF_ENDPOINT', endpoint);
  const missing = errorOf(await runProgram([...ask, '--model', 'org/missing']));
  expect(missing).toMatchObject({ code: 'REPO_NOT_FOUND', message: expect.stringContaining('org/missing') });
  expect(missing.fix).toContain('--model');
  // Paths and single words are folders, which are not looked for on the Hub.
  for (const path of ['./org/name', '/org/name', 'name', 'org/name/part', 'org/']) {
    const error = errorOf(await runProgram([...ask, '--model', path]));
    expect(error, path).toMatchObject({ code: 'FILE_NOT_FOUND' });
    expect(error.fix).toContain('its name on the Hub');
  }
  expect(errorOf(await runProgram([...ask, '--model', 'org/a--b']))).toMatchObject({
    code: 'INVALID_OPTION',
  });
});

test('a folder is a folder, also offline', async () => {
  const outcome = await runProgram([...ask, '--model', model, '--offline']);
  expect(outcome).toMatchObject({ code: 0, stderr: '' });
  expect(jsonOf(outcome)).toMatchObject({ engine: { model } });
});

test('a name and a folder with the same files have the same hash, which evaluations note', async () => {
  const { endpoint } = await startHub(files);
  const source = modelFiles('org/name', { endpoint, cacheDir: cache });
  expect(await modelHash(source)).toBe(await modelHash(model));
  const parts = { 'a.safetensors': 'one', 'b.safetensors': 'two' };
  const index = JSON.stringify({
    weight_map: { x: 'b.safetensors', y: 'a.safetensors', z: 'b.safetensors' },
  });
  const sharded = { 'config.json': '{}', 'tokenizer.json': '{}', ...parts };
  const server = await startHub({ ...sharded, 'model.safetensors.index.json': index }, 'org/parts');
  for (const [name, content] of Object.entries(sharded)) writeIn(parted, name, content);
  const options = { endpoint: server.endpoint, cacheDir: cache };
  expect(await modelHash(modelFiles('org/parts', options))).toBe(await modelHash(parted));
});

test('inspect takes a name too', async () => {
  const { endpoint } = await startHub(files);
  const given = ['inspect', '--prompt', 'Where is Ann?', '--backend', 'reference', '--json'];
  const named = await runCli([...given, '--model', 'org/name'], {
    env: { HF_ENDPOINT: endpoint, HF_HUB_CACHE: cache },
  });
  const local = await runCli([...given, '--model', model]);
  expect(jsonOf<{ plain: object }>(named).plain).toEqual(jsonOf<{ plain: object }>(local).plain);
  const other = errorOf(
    await runCli([...given, '--model', 'org/other', '--offline'], { env: { HF_HUB_CACHE: cache } }),
  );
  expect(other).toMatchObject({ code: 'NOT_CACHED', fix: expect.stringContaining('without --offline') });
});
