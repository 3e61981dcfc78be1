import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest';
import { getWheel, linkIn } from '../wheel.mjs';

const content = Buffer.from('some wheel '.repeat(100_000));
const wheel = {
  project: 'some-wheel',
  version: '1.0',
  file: 'some_wheel-1.0+cpu-py3-none-any.whl',
  sha256: createHash('sha256').update(content).digest('hex'),
};
const escaped = wheel.file.replace('+', '%2B');
const page = `<html><a href="other-1.0.whl">other</a> <a class="x" href="../../files/${escaped}#sha256=00">this</a></html>`;

/** @type {{ url: string, range: string | undefined, login: string | undefined }[]} */
const asked = [];
let cutOff = false;

// An index like PyPI: a page of links, and a file that can be fetched in parts.
const server = createServer((request, response) => {
  const url = request.url ?? '';
  const { range, authorization } = request.headers;
  asked.push({ url, range, login: authorization });
  if (url === '/simple/some-wheel/') {
    response.setHeader('content-type', 'text/html');
    response.end(page);
  } else if (url === `/files/${escaped}`) {
    const start = Number(/bytes=(\d+)-/.exec(range ?? '')?.[1] ?? 0);
    const part = content.subarray(start);
    response.writeHead(start > 0 ? 206 : 200, { 'content-length': part.length });
    if (cutOff && start === 0) response.write(part.subarray(0, 400_000), () => response.destroy());
    else response.end(part);
  } else {
    response.statusCode = 404;
    response.end();
  }
});
let origin = '';
let folder = '';
const root = mkdtempSync(join(tmpdir(), 'topk-wheel-'));

beforeAll(async () => {
  await new Promise((resolve) => server.listen(0, '127.0.0.1', () => resolve(undefined)));
  const address = server.address();
  origin = typeof address === 'object' && address ? `127.0.0.1:${address.port}` : '';
});
beforeEach(() => {
  folder = mkdtempSync(join(root, 'test-'));
  asked.length = 0;
  cutOff = false;
});
afterAll(() => {
  server.close();
  rmSync(root, { recursive: true, force: true });
});

test('finds the link of a file in a page, whatever stands around it', () => {
  expect(linkIn(page, 'https://a.example/simple/some-wheel/', wheel.file)).toBe(
    `https://a.example/files/${escaped}`,
  );
  expect(linkIn(page, 'https://a.example/simple/some-wheel/', 'missing.whl')).toBeUndefined();
});

test('downloads from an index, with the login of its address', async () => {
  const sources = { indexes: [`http://me:se%20cret@${origin}/simple/`], links: [] };
  /** @type {string[]} */
  const lines = [];
  const file = await getWheel(wheel, folder, { sources, pip: false, log: (line) => lines.push(line) });
  expect(readFileSync(file).equals(content)).toBe(true);
  const login = `Basic ${Buffer.from('me:se cret').toString('base64')}`;
  expect(asked).toEqual([
    { url: '/simple/some-wheel/', range: undefined, login },
    { url: `/files/${escaped}`, range: undefined, login },
  ]);
  expect(lines.join('\n')).toContain('100 %');
  expect(lines.join('\n')).not.toContain('se%20cret');
  // The second time it already exists.
  expect(await getWheel(wheel, folder, { sources, pip: false })).toBe(file);
  expect(asked).toHaveLength(2);
});

test('goes on where a download broke off', async () => {
  cutOff = true;
  const file = await getWheel(wheel, folder, {
    sources: { indexes: [`http://${origin}/simple`], links: [] },
    pip: false,
  });
  expect(readFileSync(file).equals(content)).toBe(true);
  expect(asked.at(-1)?.range).toMatch(/^bytes=[1-9]\d*-$/);
});

test('the rest of another download does not spoil this one', async () => {
  writeFileSync(join(folder, `${wheel.file}.part`), 'whatever');
  const sources = { indexes: [`http://${origin}/simple`], links: [] };
  const file = await getWheel(wheel, folder, { sources, pip: false });
  expect(asked.map(({ range }) => range)).toEqual([undefined, 'bytes=8-', undefined]);
  expect(readFileSync(file).equals(content)).toBe(true);
});

test('takes a file from a folder or an index on disk where it lies', async () => {
  const links = join(folder, 'links');
  const index = join(folder, 'index', 'simple');
  for (const each of [links, join(index, wheel.project), join(folder, 'index', 'files')])
    mkdirSync(each, { recursive: true });
  writeFileSync(join(links, wheel.file), content);
  writeFileSync(join(folder, 'index', 'files', wheel.file), content);
  writeFileSync(join(index, wheel.project, 'index.html'), page);
  const none = { indexes: [], links: [] };
  const own = { ...none, links: [pathToFileURL(links).href] };
  expect(await getWheel(wheel, folder, { sources: own, pip: false })).toBe(join(links, wheel.file));
  const file = await getWheel(wheel, folder, {
    sources: { ...none, indexes: [pathToFileURL(index).href] },
    pip: false,
  });
  expect(file).toBe(join(folder, 'index', 'files', wheel.file));
});

test('a file with another checksum is refused, and not kept', async () => {
  const other = { ...wheel, sha256: '0'.repeat(64), project: 'some-wheel' };
  const sources = { indexes: [`http://${origin}/simple`], links: [] };
  await expect(getWheel(other, folder, { sources, pip: false })).rejects.toMatchObject({
    code: 'CHECKSUM',
    message: expect.stringContaining(`sha256 ${wheel.sha256} instead of 0000`),
    fix: expect.stringContaining('--wheel'),
  });
  expect(existsSync(join(folder, wheel.file))).toBe(false);
});

test('says where it looked when nobody has the file', async () => {
  const missing = { ...wheel, project: 'nowhere' };
  const sources = {
    indexes: [`http://${origin}/simple`, 'http://127.0.0.1:1/simple'],
    links: ['file:///nowhere'],
  };
  await expect(getWheel(missing, folder, { sources, pip: false })).rejects.toMatchObject({
    code: 'DOWNLOAD_FAILED',
    message: expect.stringMatching(/file:\/\/\/nowhere: has no[\s\S]*nowhere\/: has no[\s\S]*127\.0\.0\.1:1/),
  });
});
