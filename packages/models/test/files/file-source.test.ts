import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { pathToFileURL } from 'node:url';
import { createReferenceBackend } from '@topk-attention/core/reference';
import { expect, onTestFinished, test } from 'vitest';
import { loadT5 } from '../../src/index.js';
import { errorOf } from '../support/errors.js';
import { goldensFolder } from '../support/goldens.js';
import { smallCheckpoint } from '../support/sources.js';

/** A server of the small checkpoint's files; `fault` may take over a request. */
async function serve(
  fault?: (file: string, socket: import('node:http').ServerResponse) => boolean,
): Promise<string> {
  const { files } = await smallCheckpoint();
  const server = createServer((request, response) => {
    const file = (request.url ?? '').replace('/models/small/', '');
    if (fault?.(file, response) === true) return;
    const content = files[file];
    if (content === undefined) response.writeHead(404).end();
    else response.writeHead(200).end(content);
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  onTestFinished(() => {
    server.closeAllConnections();
    server.close();
  });
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}/models/small`;
}

const load = (source: string | URL, signal?: AbortSignal) =>
  loadT5({ backend: createReferenceBackend(), source, ...(signal && { signal }) });

test('a model is loaded from a base URL, with or without a slash', async () => {
  const base = await serve();
  const expected = await loadT5({
    backend: createReferenceBackend(),
    source: `${goldensFolder}/t5-v1_0`,
    tokenizer: false,
  });
  const ids = (await expected.generate([9, 4, 1], { maxNewTokens: 4 })).ids;
  for (const source of [base, `${base}/`, new URL(base)]) {
    const model = await load(source);
    expect((await model.generate([9, 4, 1], { maxNewTokens: 4 })).ids).toEqual(ids);
  }
});

test('a file URL is a directory', async () => {
  const model = await loadT5({
    backend: createReferenceBackend(),
    source: pathToFileURL(`${goldensFolder}/t5-v1_1`),
    tokenizer: false,
  });
  expect(model.config.gated).toBe(true);
});

test('a URL of another kind is refused', async () => {
  expect((await errorOf(load(new URL('ftp://example.org/model')))).code).toBe('INVALID_OPTION');
});

test('a server error is FILE_NOT_FOUND with its status', async () => {
  const base = await serve((_, response) => {
    response.writeHead(503).end();
    return true;
  });
  const error = await errorOf(load(base));
  expect(error.code).toBe('FILE_NOT_FOUND');
  expect(error.got).toContain('503');
});

test('a missing file names itself', async () => {
  const base = await serve((file, response) => {
    if (file === 'tokenizer.json') response.writeHead(404).end();
    return file === 'tokenizer.json';
  });
  const error = await errorOf(load(base));
  expect(error.code).toBe('FILE_NOT_FOUND');
  expect(error.message).toContain('tokenizer.json');
});

test('a server that is not there is FILE_NOT_FOUND', async () => {
  expect((await errorOf(load('http://127.0.0.1:9/model'))).code).toBe('FILE_NOT_FOUND');
});

test('a connection that breaks is no short file', async () => {
  const base = await serve((file, response) => {
    if (file !== 'model.safetensors') return false;
    response.writeHead(200, { 'content-length': 1_000_000 });
    response.write(new Uint8Array(1000), () => response.destroy());
    return true;
  });
  expect(['FILE_NOT_FOUND', 'FILE_TRUNCATED']).toContain((await errorOf(load(base))).code);
});

test('an abort ends a download', async () => {
  const controller = new AbortController();
  const base = await serve((file) => {
    if (file !== 'model.safetensors') return false;
    controller.abort();
    return true;
  });
  expect((await errorOf(load(base, controller.signal))).code).toBe('ABORTED');
});
