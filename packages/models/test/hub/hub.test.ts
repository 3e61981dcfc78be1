import { once } from 'node:events';
import {
  mkdir,
  mkdtemp,
  readdir,
  readFile,
  readlink,
  rename,
  rm,
  stat,
  symlink,
  writeFile,
} from 'node:fs/promises';
import { hostname, tmpdir } from 'node:os';
import { join } from 'node:path';
import type { FileSource } from '@topk-attention/nn';
import { optional } from '@topk-attention/vitest-preset';
import {
  type Asked,
  bytesOf,
  COMMIT,
  cutAfter,
  type Files,
  gitHash,
  type HubServer,
  listed,
  sendFile,
  sha256,
  startHub,
} from '@topk-attention/vitest-preset/hub-server';
import { randomBelow } from '@topk-attention/vitest-preset/random';
import { beforeEach, describe, expect, onTestFinished, test, vi } from 'vitest';
import { DiskStore } from '../../src/hub/disk-store.js';
import { hubSource } from '../../src/hub/hub.js';
import { nodeModules } from '../../src/hub/node-modules.js';
import { memoryShelf, PageStore } from '../../src/hub/page-store.js';
import { hubSettings } from '../../src/hub/settings.js';
import type { HubStore } from '../../src/hub/store.js';
import { type HubOptions, hub, type Progress } from '../../src/index.js';
import { errorOf } from '../support/errors.js';

const VARIABLES = [
  'HF_HOME',
  'HF_HUB_CACHE',
  'HF_ENDPOINT',
  'HF_TOKEN',
  'HF_HUB_OFFLINE',
  'HUGGINGFACE_HUB_CACHE',
];

beforeEach(() => {
  for (const name of VARIABLES) vi.stubEnv(name, undefined);
  onTestFinished(() => {
    vi.unstubAllEnvs();
  });
});

const random = randomBelow(5);
const large = Uint8Array.from({ length: 300_000 }, () => random(256));
const files: Files = {
  'config.json': '{"model_type": "t5"}',
  'model.safetensors': large,
  'sub/notes.txt': 'small',
  'empty.txt': '',
};

async function folder(): Promise<string> {
  const path = await mkdtemp(join(tmpdir(), 'topk-hub-'));
  onTestFinished(() => rm(path, { recursive: true, force: true }));
  return path;
}

/** A source that does not wait long between tries. */
async function openHub(options: HubOptions, store?: HubStore): Promise<FileSource> {
  const settings = hubSettings('hub', 'org/name', options);
  const node = await nodeModules();
  if (node === undefined) throw new Error('tests run in Node');
  return hubSource(
    settings,
    () => 1,
    async () => store ?? new DiskStore(node, settings),
  );
}

/** A short content as text, a long one as its hash. */
const shown = (content: string | Uint8Array): string =>
  content.length < 100 ? String(bytesOf(content)) : sha256(content);

async function read(source: FileSource, file: string): Promise<string | undefined> {
  const opened = await source.open(file);
  if (opened === undefined) return undefined;
  const bytes = await opened.read(0, opened.size);
  await opened.close();
  return shown(bytes);
}

const requests = (server: HubServer): string[] => server.asked.map(({ kind, path }) => `${kind} ${path}`);

/** Each store keeps the same promises. A piece of a page's store is small here. */
const stores: { readonly [name: string]: () => Promise<(options: HubOptions) => Promise<FileSource>> } = {
  'on disk': async () => {
    const cacheDir = await folder();
    return (options) => openHub({ cacheDir, ...options });
  },
  'in a page': async () => {
    const shelf = memoryShelf();
    return (options) =>
      openHub(options, new PageStore(shelf, hubSettings('hub', 'org/name', options), 20_000));
  },
};

describe.each(Object.entries(stores))('a store %s', (_, newStore) => {
  let server: HubServer;
  let open: (options?: HubOptions) => Promise<FileSource>;
  beforeEach(async () => {
    server = await startHub(files);
    const openIn = await newStore();
    open = (options = {}) => openIn({ endpoint: server.endpoint, onProgress: server.read, ...options });
  });

  test('gives files, and downloads each once', async () => {
    for (let load = 0; load < 2; load++) {
      const source = await open();
      for (const [path, content] of Object.entries(files))
        expect(await read(source, path)).toBe(shown(content));
      expect(await read(source, 'absent.json')).toBeUndefined();
    }
    expect(requests(server).sort()).toEqual([
      'cdn model.safetensors',
      'file config.json',
      'file model.safetensors',
      'file sub/notes.txt',
      'listing main',
      'listing main',
    ]);
  });

  test('reads parts of a file', async () => {
    const opened = await (await open()).open('model.safetensors');
    for (const [from, length] of [
      [0, 8],
      [19_990, 20],
      [39_999, 60_002],
      [299_990, 100],
      [300_000, 5],
    ] as const) {
      const expected = bytesOf(large.subarray(from, from + length));
      expect(Buffer.from((await opened?.read(from, length)) ?? [])).toEqual(expected);
    }
    await opened?.close();
    await opened?.close();
  });

  test('a commit that is cached is not asked for', async () => {
    await read(await open(), 'config.json');
    server.asked.length = 0;
    expect(await read(await open({ revision: COMMIT }), 'config.json')).toBe(files['config.json']);
    expect(server.asked).toEqual([]);
  });

  test('a new commit is seen, and what did not change is not downloaded again', async () => {
    await read(await open(), 'model.safetensors');
    await read(await open(), 'config.json');
    server.commit = 'f'.repeat(40);
    server.files = { ...files, 'config.json': '{"model_type": "bert"}' };
    server.asked.length = 0;
    const source = await open();
    expect(await read(source, 'config.json')).toContain('bert');
    expect(await read(source, 'model.safetensors')).toBe(sha256(large));
    expect(requests(server).filter((one) => one.startsWith('cdn'))).toEqual([]);
    expect(await read(await open({ revision: COMMIT }), 'config.json')).toContain('t5');
  });

  test('without downloads: what is cached, and NOT_CACHED for the rest', async () => {
    expect((await errorOf(read(await open({ localFilesOnly: true }), 'config.json'))).code).toBe(
      'NOT_CACHED',
    );
    await read(await open(), 'config.json');
    server.asked.length = 0;
    const source = await open({ localFilesOnly: true });
    expect(await read(source, 'config.json')).toBe(files['config.json']);
    const error = await errorOf(read(source, 'model.safetensors'));
    expect(error.code).toBe('NOT_CACHED');
    expect(error.message).toContain('model.safetensors');
    expect(server.asked).toEqual([]);
  });

  test('without a connection: what is cached, else DOWNLOAD_FAILED', async () => {
    server.fault = ({ response }) => {
      response.destroy();
      return true;
    };
    expect((await errorOf(read(await open(), 'config.json'))).code).toBe('DOWNLOAD_FAILED');
    server.fault = undefined;
    await read(await open(), 'config.json');
    server.fault = ({ response }) => {
      response.writeHead(503).end();
      return true;
    };
    server.asked.length = 0;
    const source = await open();
    expect(await read(source, 'config.json')).toBe(files['config.json']);
    expect((await errorOf(read(source, 'model.safetensors'))).code).toBe('NOT_CACHED');
    // The second file did not begin the tries anew.
    expect(server.asked.length).toBe(5);
  });

  test('a download that is cut at random places is whole', async () => {
    for (let trial = 0; trial < 5; trial++) {
      const content = Uint8Array.from({ length: 100_000 + random(100_000) }, () => random(256));
      server.files = { 'model.safetensors': content };
      server.commit = sha256(content).slice(0, 40);
      server.fault = (asked) => {
        if (asked.kind !== 'cdn' || asked.before === 3) return false;
        cutAfter(asked, random(30_000));
        return true;
      };
      server.asked.length = 0;
      expect(await read(await open(), 'model.safetensors')).toBe(shown(content));
      const starts = server.asked.filter(({ kind }) => kind === 'cdn').map(({ from }) => from);
      expect(starts).toEqual([...starts].sort((a, b) => a - b));
      expect(starts.length).toBe(4);
      expect(starts[3]).toBeGreaterThan(0);
    }
  });

  test('a download that was given up goes on where it ended', async () => {
    server.fault = (asked) => {
      if (asked.kind !== 'cdn') return false;
      cutAfter(asked, asked.before === 0 ? 130_000 : 0);
      return true;
    };
    expect((await errorOf(read(await open(), 'model.safetensors'))).code).toBe('DOWNLOAD_FAILED');
    server.fault = undefined;
    server.asked.length = 0;
    expect(await read(await open(), 'model.safetensors')).toBe(sha256(large));
    expect(server.asked.find(({ kind }) => kind === 'cdn')?.from).toBeGreaterThan(100_000);
  });

  test('a part of something else is not built upon', async () => {
    const other = Uint8Array.from({ length: 300_000 }, () => random(256));
    server.fault = (asked) => {
      if (asked.kind !== 'cdn') return false;
      cutAfter({ ...asked, body: bytesOf(other) }, asked.before === 0 ? 150_000 : 0);
      return true;
    };
    await errorOf(read(await open(), 'model.safetensors'));
    server.fault = undefined;
    expect(await read(await open(), 'model.safetensors')).toBe(sha256(large));
  });

  test('a file that changes in the middle starts over', async () => {
    const other = Uint8Array.from({ length: 300_000 }, () => random(256));
    server.fault = (asked) => {
      if (asked.kind !== 'cdn' || asked.before > 0) return false;
      cutAfter({ ...asked, body: bytesOf(other) }, 100_000);
      return true;
    };
    expect(await read(await open(), 'model.safetensors')).toBe(sha256(large));
    // The tag is sent along, so that the server answers with the whole file.
    const second = server.asked.filter(({ kind }) => kind === 'cdn')[1];
    expect(second?.request.headers['if-range']).toBe(`"${sha256(other)}"`);
  });

  test('a file that changes in the middle starts over where If-Range is ignored', async () => {
    const other = Uint8Array.from({ length: 300_000 }, () => random(256));
    server.fault = (asked) => {
      if (asked.kind !== 'cdn') return false;
      if (asked.before === 0) cutAfter({ ...asked, body: bytesOf(other) }, 100_000);
      else {
        delete asked.request.headers['if-range'];
        sendFile(asked);
      }
      return true;
    };
    expect(await read(await open(), 'model.safetensors')).toBe(sha256(large));
  });

  test('a server without ranges starts over', async () => {
    server.fault = (asked) => {
      if (asked.kind !== 'cdn') return false;
      if (asked.before < 2) cutAfter({ ...asked, from: 0 }, 70_000);
      else asked.response.writeHead(200).end(asked.body);
      return true;
    };
    expect(await read(await open(), 'model.safetensors')).toBe(sha256(large));
  });

  test('other bytes than listed are FILE_CORRUPT and not kept', async () => {
    const wrong = Uint8Array.from(large);
    wrong[299_999] = (wrong[299_999] as number) ^ 1;
    server.fault = (asked) => {
      if (asked.kind !== 'cdn') return false;
      sendFile({ ...asked, body: bytesOf(wrong) });
      return true;
    };
    const error = await errorOf(read(await open(), 'model.safetensors'));
    expect(error.code).toBe('FILE_CORRUPT');
    expect(error.expected).toContain(sha256(large));
    expect(error.got).toBe(sha256(wrong));
    server.fault = undefined;
    server.asked.length = 0;
    expect(await read(await open(), 'model.safetensors')).toBe(sha256(large));
    expect(server.asked.find(({ kind }) => kind === 'cdn')?.from).toBe(0);
  });

  test('small files are checked by the hash of git', async () => {
    server.fault = ({ kind, response }) => {
      if (kind === 'file') response.writeHead(200).end('{"model_type": "T5"}');
      return kind === 'file';
    };
    const error = await errorOf(read(await open(), 'config.json'));
    expect(error.code).toBe('FILE_CORRUPT');
    expect(error.expected).toContain(gitHash(files['config.json'] ?? ''));
  });

  test.each<[string, (asked: Asked) => void, string]>([
    [
      'a file that is longer than listed',
      ({ response, body }) => response.end(Buffer.concat([body, body])),
      'FILE_CORRUPT',
    ],
    [
      'half a file',
      ({ response, body }) => response.writeHead(200).end(body.subarray(0, 5000)),
      'FILE_TRUNCATED',
    ],
    [
      'half a file that says it is whole',
      ({ response, body }) =>
        response.writeHead(200, { 'content-length': 50_000 }).end(body.subarray(0, 50_000)),
      'FILE_TRUNCATED',
    ],
    ['a length that is never sent', (asked) => cutAfter(asked, 0), 'DOWNLOAD_FAILED'],
    [
      'another total in a range',
      (asked) =>
        asked.from === 0
          ? cutAfter(asked, 70_000)
          : asked.response.writeHead(206, { 'content-range': `bytes ${asked.from}-9/999999999999` }).end('x'),
      'FILE_CORRUPT',
    ],
  ])('%s is an error', async (_name, answer, code) => {
    server.fault = (asked) => {
      if (asked.kind === 'cdn') answer(asked);
      return asked.kind === 'cdn';
    };
    expect((await errorOf(read(await open(), 'model.safetensors'))).code).toBe(code);
  });

  test('an answer that is refused is not left open', async () => {
    const closed: Promise<unknown>[] = [];
    server.fault = (asked) => {
      if (asked.kind !== 'cdn') return false;
      if (asked.from === 0) cutAfter(asked, 70_000);
      else {
        closed.push(once(asked.response, 'close'));
        asked.response.writeHead(206, { 'content-range': `bytes ${asked.from}-9/999999999999` }).write('x');
      }
      return true;
    };
    expect((await errorOf(read(await open(), 'model.safetensors'))).code).toBe('FILE_CORRUPT');
    expect(closed.length).toBe(1);
    const late = new Promise((resolve) => setTimeout(resolve, 10_000, 'open'));
    expect(await Promise.race([...closed, late])).not.toBe('open');
  });

  test.each([429, 500, 502, 503, 504])('status %i passes after a while', async (status) => {
    server.fault = ({ before, response }) => {
      if (before < 2) response.writeHead(status, { 'retry-after': '0' }).end('busy');
      return before < 2;
    };
    expect(await read(await open(), 'model.safetensors')).toBe(sha256(large));
  });

  test('429 without end is DOWNLOAD_FAILED', async () => {
    server.fault = ({ response }) => {
      response.writeHead(429).end();
      return true;
    };
    const error = await errorOf(read(await open(), 'config.json'));
    expect(error.code).toBe('DOWNLOAD_FAILED');
    expect(error.got).toContain('429');
    expect(server.asked.length).toBe(5);
  });

  test('a list that is cut is asked for again', async () => {
    server.fault = ({ kind, before, response }) => {
      if (kind !== 'listing' || before > 1) return false;
      if (before === 0)
        response.writeHead(200, { 'content-length': 1000 }).write('{"sha"', () => response.destroy());
      else response.writeHead(200).end('{"sha": "');
      return true;
    };
    expect(await read(await open(), 'empty.txt')).toBe('');
  });

  test.each<[string, number, string, string]>([
    ['a gated repository', 403, 'GatedRepo', 'ACCESS_DENIED'],
    ['a gated repository without a token', 401, 'GatedRepo', 'ACCESS_DENIED'],
    ['a missing repository', 404, 'RepoNotFound', 'REPO_NOT_FOUND'],
    ['a missing or private repository', 401, '', 'REPO_NOT_FOUND'],
    ['a missing revision', 404, 'RevisionNotFound', 'REVISION_NOT_FOUND'],
    ['what may not be read', 403, '', 'ACCESS_DENIED'],
    ['a teapot', 418, '', 'DOWNLOAD_FAILED'],
  ])('%s: %i %s is %s, at once', async (_name, status, code, expected) => {
    server.fault = ({ response }) => {
      response.writeHead(status, code === '' ? {} : { 'x-error-code': code }).end('{}');
      return true;
    };
    const error = await errorOf(read(await open(), 'config.json'));
    expect(error.code).toBe(expected);
    expect(error.fix).toBeDefined();
    expect(server.asked.length).toBe(1);
  });

  test('a gated file of an open list is ACCESS_DENIED', async () => {
    server.fault = ({ kind, response }) => {
      if (kind === 'file') response.writeHead(401, { 'x-error-code': 'GatedRepo' }).end();
      return kind === 'file';
    };
    expect((await errorOf(read(await open(), 'config.json'))).code).toBe('ACCESS_DENIED');
  });

  test.each<[string, unknown]>([
    ['no object', []],
    ['no commit', { siblings: [] }],
    ['a commit that is a path', { sha: '../../../../../../../../../../../../etc/ab', siblings: [] }],
    ['no files', { sha: COMMIT }],
    ['files without hashes', { sha: COMMIT, siblings: [{ rfilename: 'config.json' }] }],
    [
      'a hash that is a path',
      { sha: COMMIT, siblings: [{ rfilename: 'a', size: 1, blobId: `../${'a'.repeat(37)}` }] },
    ],
    ['a negative size', { sha: COMMIT, siblings: [{ ...listed('a', 'b'), size: -1 }] }],
    ['a size that is no number', { sha: COMMIT, siblings: [{ ...listed('a', 'b'), size: 1e300 }] }],
  ])('a list with %s is FILE_CORRUPT', async (_name, list) => {
    server.fault = ({ response }) => {
      response.writeHead(200).end(JSON.stringify(list));
      return true;
    };
    expect((await errorOf(read(await open(), 'config.json'))).code).toBe('FILE_CORRUPT');
  });

  test.each(['../config.json', '/etc/passwd', 'a/../../b', '..\\b', 'C:x', '', 'a//b', './a'])(
    'the name %j is refused',
    async (name) => {
      server.files = { ...files, [name]: 'x' };
      expect((await errorOf(read(await open(), name))).code).toBe('INVALID_OPTION');
      expect(server.asked).toEqual([]);
    },
  );

  test('progress counts the bytes of each file', async () => {
    const seen: Progress[] = [];
    const source = await open({ onProgress: (progress) => seen.push(progress) });
    await read(source, 'model.safetensors');
    expect(seen.at(-1)).toEqual({
      stage: 'download',
      done: 300_000,
      total: 300_000,
      file: 'model.safetensors',
    });
    expect(seen.map(({ done }) => done)).toEqual(seen.map(({ done }) => done).sort((a, b) => a - b));
  });

  test('an abort ends a download, and a wait for the next try', async () => {
    for (const when of ['cdn', 'listing']) {
      const controller = new AbortController();
      server.fault = (asked) => {
        if (asked.kind !== when) return false;
        if (when === 'cdn') {
          asked.response.writeHead(200, { 'content-length': 300_000 });
          asked.response.write(asked.body.subarray(0, 1000));
        } else asked.response.writeHead(429, { 'retry-after': '60' }).end();
        setTimeout(() => controller.abort(), 20);
        return true;
      };
      const source = await open({ signal: controller.signal });
      expect((await errorOf(read(source, 'model.safetensors'))).code).toBe('ABORTED');
    }
    server.fault = undefined;
    expect(await read(await open(), 'model.safetensors')).toBe(sha256(large));
  });

  test('the token goes to the endpoint, and not to where it redirects', async () => {
    await read(await open({ token: 'hf_secret' }), 'model.safetensors');
    const tokens = server.asked.map(({ kind, request }) => [kind, request.headers.authorization]);
    expect(tokens).toEqual([
      ['listing', 'Bearer hf_secret'],
      ['file', 'Bearer hf_secret'],
      ['cdn', undefined],
    ]);
  });

  test('a slow server is waited for', async () => {
    server.fault = (asked) => {
      if (asked.kind !== 'cdn') return false;
      asked.response.writeHead(200, { 'content-length': asked.body.length });
      let at = 0;
      const more = (): void => {
        asked.response.write(asked.body.subarray(at, at + 20_000));
        at += 20_000;
        if (at < asked.body.length) setTimeout(more, 10);
        else asked.response.end();
      };
      more();
      return true;
    };
    expect(await read(await open(), 'model.safetensors')).toBe(sha256(large));
  });
});

describe('the cache on disk', () => {
  test('has the layout of Python', async () => {
    const cacheDir = await folder();
    const { endpoint } = await startHub(files);
    const source = await openHub({ cacheDir, endpoint });
    for (const path of Object.keys(files)) await read(source, path);
    const at = join(cacheDir, 'models--org--name');
    expect(await readFile(join(at, 'refs/main'), 'utf8')).toBe(COMMIT);
    expect(await readlink(join(at, 'snapshots', COMMIT, 'sub/notes.txt'))).toBe(
      `../../../blobs/${gitHash('small')}`,
    );
    expect(await readlink(join(at, 'snapshots', COMMIT, 'model.safetensors'))).toBe(
      `../../blobs/${sha256(large)}`,
    );
    // Nothing is left over.
    expect((await readdir(join(at, 'blobs'))).sort()).toEqual(
      [sha256(large), gitHash('small'), gitHash(''), gitHash(files['config.json'] ?? '')].sort(),
    );
    expect(await readdir(join(cacheDir, '.locks/models--org--name'))).toEqual([]);
  });

  test('what Python has downloaded is used', async () => {
    const cacheDir = await folder();
    const at = join(cacheDir, 'models--org--name');
    for (const one of ['blobs', 'refs/refs/pr', `snapshots/${COMMIT}`])
      await mkdir(join(at, one), { recursive: true });
    await writeFile(join(at, 'refs/refs/pr/1'), COMMIT);
    await writeFile(join(at, 'blobs', gitHash('{}')), '{}');
    await symlink(`../../blobs/${gitHash('{}')}`, join(at, 'snapshots', COMMIT, 'config.json'));
    const source = await openHub({ cacheDir, revision: 'refs/pr/1', localFilesOnly: true });
    expect(await read(source, 'config.json')).toBe('{}');
  });

  test('a call that has lost its lock leaves the file to the one that has it', async () => {
    const cacheDir = await folder();
    const server = await startHub(files);
    const blob = join(cacheDir, 'models--org--name/blobs', sha256(large));
    const lock = join(cacheDir, '.locks/models--org--name', `${sha256(large)}.js.lock`);
    let other: Promise<void> | undefined;
    server.fault = (asked) => {
      if (asked.kind !== 'cdn') return false;
      other = (async () => {
        // This process was suspended, say, and another took the lock.
        await writeFile(lock, JSON.stringify({ host: hostname(), pid: process.pid, call: 'other' }));
        sendFile(asked);
        await vi.waitFor(async () => expect((await stat(`${blob}.js.incomplete`)).size).toBe(300_000));
        await new Promise((resolve) => setTimeout(resolve, 200));
        await rename(`${blob}.js.incomplete`, blob);
        await rm(lock);
      })();
      return true;
    };
    expect(await read(await openHub({ cacheDir, endpoint: server.endpoint }), 'model.safetensors')).toBe(
      sha256(large),
    );
    await other;
    expect(requests(server).filter((one) => one.startsWith('cdn')).length).toBe(1);
  });

  test('a copy of another length is downloaded again', async () => {
    const cacheDir = await folder();
    const { endpoint } = await startHub(files);
    await read(await openHub({ cacheDir, endpoint }), 'model.safetensors');
    const blob = join(cacheDir, 'models--org--name/blobs', sha256(large));
    await writeFile(blob, large.subarray(0, 1000));
    expect(await read(await openHub({ cacheDir, endpoint }), 'model.safetensors')).toBe(sha256(large));
  });

  test('variables of the environment are heard, options come first', async () => {
    const [one, two] = [await folder(), await folder()];
    const server = await startHub(files);
    vi.stubEnv('HF_ENDPOINT', server.endpoint);
    vi.stubEnv('HF_TOKEN', 'hf_variable');
    vi.stubEnv('HF_HOME', one);
    await read(hub('org/name'), 'config.json');
    expect(await readdir(join(one, 'hub'))).toContain('models--org--name');
    expect(server.asked[0]?.request.headers.authorization).toBe('Bearer hf_variable');
    vi.stubEnv('HF_HUB_CACHE', two);
    await read(hub('org/name', { token: 'hf_option' }), 'config.json');
    expect(await readdir(two)).toContain('models--org--name');
    expect(server.asked.at(-1)?.request.headers.authorization).toBe('Bearer hf_option');
    vi.stubEnv('HF_HUB_OFFLINE', 'yes');
    const error = await errorOf(read(hub('org/other'), 'config.json'));
    expect(error.code).toBe('NOT_CACHED');
    expect(await read(hub('org/name'), 'config.json')).toBeDefined();
    expect(await read(hub('org/name', { localFilesOnly: false }), 'model.safetensors')).toBeDefined();
  });

  test('two calls at once download once', async () => {
    const cacheDir = await folder();
    const server = await startHub(files);
    const sources = [
      await openHub({ cacheDir, endpoint: server.endpoint }),
      await openHub({ cacheDir, endpoint: server.endpoint }),
    ];
    const both = await Promise.all(sources.map((source) => read(source, 'model.safetensors')));
    expect(both).toEqual([sha256(large), sha256(large)]);
    expect(requests(server).filter((one) => one.startsWith('cdn'))).toEqual(['cdn model.safetensors']);
  });

  test('a folder that cannot be written to is CACHE_NOT_WRITABLE', async () => {
    const cacheDir = join(await folder(), 'file');
    await writeFile(cacheDir, '');
    const { endpoint } = await startHub(files);
    expect((await errorOf(read(await openHub({ cacheDir, endpoint }), 'config.json'))).code).toBe(
      'CACHE_NOT_WRITABLE',
    );
  });

  const fullDevice = {
    need: 'full-device',
    available: process.platform === 'linux',
    reason: '/dev/full is of Linux',
  };
  optional('a full disk is DISK_FULL', fullDevice, async () => {
    const cacheDir = await folder();
    const { endpoint } = await startHub(files);
    const blobs = join(cacheDir, 'models--org--name/blobs');
    await mkdir(blobs, { recursive: true });
    await symlink('/dev/full', join(blobs, `${gitHash('small')}.js.incomplete`));
    const error = await errorOf(read(await openHub({ cacheDir, endpoint }), 'sub/notes.txt'));
    expect(error.code).toBe('DISK_FULL');
    expect(error.message).toContain(cacheDir);
  });
});

test.each(['', 'a/b/c', '../x', '-a', 'a--b', 'a..b', 'x.git', 'a b', 'a/', '.a/b', 7, undefined])(
  'the repository %j is refused',
  (name) => {
    expect(() => hub(name as string)).toThrow(expect.objectContaining({ code: 'INVALID_OPTION' }));
  },
);

test.each(['', '../main', 'a/../b', '.hidden', 'a//b', 'a\\b'])('the revision %j is refused', (revision) => {
  expect(() => hub('org/name', { revision })).toThrow(expect.objectContaining({ code: 'INVALID_OPTION' }));
});

test('a piece that a page has lost is an early end once, and then downloaded', async () => {
  const server = await startHub(files);
  const shelf = memoryShelf();
  const options = { endpoint: server.endpoint };
  const open = () => openHub(options, new PageStore(shelf, hubSettings('hub', 'org/name', options), 20_000));
  await read(await open(), 'model.safetensors');
  await shelf.delete(`${server.endpoint}/org/name/blobs/${sha256(large)}/300000/7`);
  expect(await read(await open(), 'model.safetensors')).toBe(sha256(large.subarray(0, 140_000)));
  server.asked.length = 0;
  expect(await read(await open(), 'model.safetensors')).toBe(sha256(large));
  expect(server.asked.filter(({ kind }) => kind === 'cdn').map(({ from }) => from)).toEqual([140_000]);
});

test.each(['hf_sec\nret', 'hf_secrét', 'hf_sec\u2713ret', 'hf_sec ret'])(
  'the token %j is refused and not shown',
  (token) => {
    const refuse = (): unknown => hub('org/name', { token });
    expect(refuse).toThrow(expect.objectContaining({ code: 'INVALID_OPTION' }));
    expect(refuse).not.toThrow(/sec/);
  },
);

test('white space around a token is no part of it', async () => {
  const server = await startHub(files);
  vi.stubEnv('HF_TOKEN', ' hf_variable\n');
  await read(hub('org/name', { endpoint: server.endpoint, cacheDir: await folder() }), 'config.json');
  expect(server.asked[0]?.request.headers.authorization).toBe('Bearer hf_variable');
});

test.each(['ftp://x', 'nowhere', 'https://user:secret@x.org', 'https://x.org?token=secret'])(
  'the endpoint %j is refused and not shown',
  (endpoint) => {
    const refuse = (): unknown => hub('org/name', { endpoint });
    expect(refuse).toThrow(expect.objectContaining({ code: 'INVALID_OPTION' }));
    expect(refuse).not.toThrow(/secret/);
  },
);
