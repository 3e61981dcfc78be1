import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, expect, test } from 'vitest';
import { unzip, zipEntries } from '../zip.mjs';
import { makeZip } from './make-zip.mjs';

const folder = mkdtempSync(join(tmpdir(), 'topk-zip-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

/** @param {string} name @param {Buffer} content */
function file(name, content) {
  const path = join(folder, name);
  writeFileSync(path, content);
  return path;
}

const files = {
  'a/stored.h': 'one',
  'a/deflated.h': 'two '.repeat(5000),
  'b/none': '',
  'b/left-out': 'x',
  'c/': '',
};

test('unpacks what was asked for, stored and deflated, to where it was asked to', async () => {
  const path = file('good.zip', makeZip(files, 'a comment'));
  expect((await zipEntries(path)).map(({ name, size }) => [name, size])).toEqual(
    Object.entries(files).map(([name, text]) => [name, text.length]),
  );
  const target = join(folder, 'good');
  const written = await unzip(path, target, (name) =>
    name.endsWith('left-out') ? undefined : `sub/${name}`,
  );
  expect(written).toBe(3);
  for (const name of /** @type {const} */ (['a/stored.h', 'a/deflated.h', 'b/none']))
    expect(readFileSync(join(target, 'sub', name), 'utf8')).toBe(files[name]);
});

test('an archive that is broken is refused with the reason', async () => {
  const whole = makeZip(files);
  const all = (/** @type {string} */ name) => name;
  for (const [name, content, reason] of /** @type {const} */ ([
    ['empty.zip', Buffer.alloc(0), 'no end record'],
    ['cut.zip', whole.subarray(0, -30), 'no end record'],
    ['page.zip', Buffer.from('<html>not found</html>'.repeat(10)), 'no end record'],
  ]))
    await expect(zipEntries(file(name, content))).rejects.toMatchObject({
      code: 'BAD_WHEEL',
      message: expect.stringContaining(reason),
    });
  const damaged = Buffer.from(whole);
  // Inside the deflated entry.
  damaged.fill(0xff, 110, 125);
  await expect(unzip(file('damaged.zip', damaged), join(folder, 'damaged'), all)).rejects.toMatchObject({
    code: 'BAD_WHEEL',
    message: expect.stringContaining('a/deflated.h'),
  });
});

test('no entry gets out of the folder', async () => {
  const path = file('evil.zip', makeZip({ '../evil': 'x' }));
  await expect(unzip(path, join(folder, 'evil'), (name) => name)).rejects.toThrow('leaves the folder');
});
