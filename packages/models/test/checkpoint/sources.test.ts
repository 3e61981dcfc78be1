import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { gzipSync } from 'node:zlib';
import { createReferenceBackend } from '@topk-attention/core/reference';
import { goldensFolder } from '@topk-attention/t5-goldens';
import { describe, expect, onTestFinished, test } from 'vitest';
import { loadT5 } from '../../src/index.js';
import { errorOf } from '../support/errors.js';
import { shardedCheckpoint, smallCheckpoint } from '../support/sources.js';

type Files = { readonly [file: string]: string | Uint8Array };

/** A server of the small checkpoint's files, or others; `fault` may take over a request. Gives the base URL. */
async function serve(
  fault?: (file: string, response: ServerResponse, request: IncomingMessage) => boolean,
  files?: Files,
): Promise<string> {
  const served = files ?? (await smallCheckpoint()).files;
  const server = createServer((request, response) => {
    const file = new URL(request.url ?? '', 'http://host').pathname.replace('/models/small/', '');
    if (fault?.(decodeURIComponent(file), response, request) === true) return;
    const content = served[decodeURIComponent(file)];
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

test('a file URL may be text, with escapes', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'topk models '));
  onTestFinished(() => rm(folder, { recursive: true }));
  for (const [file, content] of Object.entries((await smallCheckpoint()).files)) {
    await writeFile(join(folder, file), content);
  }
  const url = pathToFileURL(folder);
  expect(url.href).toContain('%20');
  for (const source of [url, url.href, `${url.href}/`]) (await load(source)).dispose();
  expect((await errorOf(load('file:///%E0%A4%A'))).code).toBe('INVALID_OPTION');
});

test.each<unknown>([
  new URL('ftp://example.org/model'),
  'ftp://example.org/model',
  'https://',
  'https://user:secret@example.org/model',
  '',
  undefined,
  null,
  7,
  {},
])('the source %o is refused', async (source) => {
  const error = await errorOf(load(source as string));
  expect(error.code).toBe('INVALID_OPTION');
  expect(error.message).not.toContain('secret');
});

describe('a file that a server does not have', () => {
  const page = '<!DOCTYPE html><html><body>Not found</body></html>';
  const answers: { readonly [name: string]: (response: ServerResponse) => void } = {
    'is 404': (response) => response.writeHead(404).end(page),
    'is 410': (response) => response.writeHead(410).end(),
    'is 403, from an object store': (response) => response.writeHead(403).end('<Error>AccessDenied</Error>'),
    'is 401': (response) => response.writeHead(401).end(),
    'is a page with status 200': (response) =>
      response.writeHead(200, { 'content-type': 'text/html; charset=utf-8' }).end(page),
    'is a page that says nothing of itself': (response) => response.writeHead(200).end(`\ufeff\n ${page}`),
    'is a page without tags': (response) =>
      response.writeHead(200, { 'content-type': 'text/html' }).end('Not found'),
    'is a redirect to a page': (response) => response.writeHead(302, { location: '/login' }).end(),
  };
  for (const [name, answer] of Object.entries(answers)) {
    const absent =
      (files: Files) =>
      (file: string, response: ServerResponse): boolean => {
        if (file === '/login') response.writeHead(200, { 'content-type': 'text/html' }).end(page);
        else if (files[file] === undefined) answer(response);
        else return false;
        return true;
      };

    test(`${name}: optional files are done without`, async () => {
      const { files } = await smallCheckpoint();
      expect(Object.keys(files)).not.toContain('tokenizer_config.json');
      (await load(await serve(absent(files), files))).dispose();
    });

    test(`${name}: a sharded checkpoint loads`, async () => {
      const { files } = await shardedCheckpoint();
      (await load(await serve(absent(files), files))).dispose();
    });

    test(`${name}: a needed file is FILE_NOT_FOUND`, async () => {
      for (const file of ['config.json', 'tokenizer.json', 'model.safetensors']) {
        const { [file]: _, ...files } = (await smallCheckpoint()).files;
        const error = await errorOf(load(await serve(absent(files), files)));
        expect(error.code).toBe('FILE_NOT_FOUND');
        expect(error.message).toContain(file);
        expect(error.fix).toBeDefined();
      }
    });
  }

  test('is told from JSON that is called a page, and from weights that begin like one', async () => {
    const { files } = await smallCheckpoint();
    const weights = files['model.safetensors'] as Uint8Array;
    // The length of the header is its first byte's business: "<" is 60.
    const header = new DataView(weights.buffer, weights.byteOffset).getUint32(0, true);
    const more = (60 - (header % 256) + 256) % 256;
    const padded = new Uint8Array(weights.length + more).fill(0x20);
    padded.set(weights.subarray(0, 8 + header));
    padded.set(weights.subarray(8 + header), 8 + header + more);
    new DataView(padded.buffer).setUint32(0, header + more, true);
    expect(padded[0]).toBe('<'.charCodeAt(0));
    const served: Files = { ...files, 'model.safetensors': padded };
    const base = await serve((file, response) => {
      const content = served[file];
      if (content === undefined) return false;
      response.writeHead(200, { 'content-type': 'text/html' }).end(content);
      return true;
    });
    (await load(base)).dispose();
  });
});

test('a query goes with every file, a fragment with none, and messages show neither', async () => {
  const { files } = await smallCheckpoint();
  const asked: string[] = [];
  const base = await serve((_, response, { url = '' }) => {
    asked.push(url);
    const isKnown = new URL(url, 'http://host').searchParams.get('token') === 'secret';
    if (!isKnown) response.writeHead(403).end();
    return !isKnown;
  }, files);
  for (const source of [`${base}?token=secret`, `${base}/?token=secret#main`]) (await load(source)).dispose();
  expect(asked).toContain('/models/small/model.safetensors?token=secret');
  const error = await errorOf(load(`${base}?token=wrong`));
  expect(error.code).toBe('FILE_NOT_FOUND');
  expect(error.message).toContain('403');
  expect(error.message).not.toContain('wrong');
});

test('names of shards are names, whatever they look like', async () => {
  const checkpoint = await shardedCheckpoint(['a?b#c.safetensors', 'https:%2e%2e.safetensors']);
  (await load(await serve(undefined, checkpoint.files))).dispose();
});

test('redirects are followed', async () => {
  const base = await serve((file, response, { url = '' }) => {
    if (!url.startsWith('/models/small')) return false;
    response.writeHead(307, { location: `/elsewhere/${file}` }).end();
    return true;
  });
  const { files } = await smallCheckpoint();
  const moved: Files = Object.fromEntries(
    Object.entries(files).map(([file, content]) => [`/elsewhere/${file}`, content]),
  );
  expect((await errorOf(load(base))).code).toBe('FILE_NOT_FOUND');
  const there = await serve((file, response, { url = '' }) => {
    if (!url.startsWith('/models/small')) return false;
    response.writeHead(307, { location: `/elsewhere/${file}` }).end();
    return true;
  }, moved);
  (await load(there)).dispose();
});

test('compressed files have another length than announced', async () => {
  const { files } = await smallCheckpoint();
  const base = await serve((file, response) => {
    const content = files[file];
    if (content === undefined) return false;
    const packed = gzipSync(content);
    response.writeHead(200, { 'content-encoding': 'gzip', 'content-length': packed.length }).end(packed);
    return true;
  });
  (await load(base)).dispose();
});

test.each(['config.json', 'tokenizer.json', 'model.safetensors'])(
  'a compressed %s that is cut is an error',
  async (cut) => {
    const { files } = await smallCheckpoint();
    const base = await serve((file, response) => {
      if (file !== cut) return false;
      const packed = gzipSync(files[file] ?? '');
      response.writeHead(200, { 'content-encoding': 'gzip' }).end(packed.subarray(0, packed.length >> 1));
      return true;
    });
    expect((await errorOf(load(base))).code).toMatch(/^FILE_/);
  },
);

test('a body that is shorter than the file is FILE_TRUNCATED', async () => {
  const { files } = await smallCheckpoint();
  const base = await serve((file, response) => {
    if (file !== 'model.safetensors') return false;
    response.writeHead(200).end((files[file] as Uint8Array).subarray(0, -8));
    return true;
  });
  expect((await errorOf(load(base))).code).toBe('FILE_TRUNCATED');
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
