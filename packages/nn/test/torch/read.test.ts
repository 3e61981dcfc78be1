import { readFile } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import { TopKError } from '@topk-attention/core';
import { describe, expect, test } from 'vitest';
import { bytesSource, openFile, openShards, openTorchFile } from '../../src/index.js';
import { dictOps, op, type PickledTensor, storedZip, tensorOps, torchZip } from '../support/torch-zip.js';

const folder = fileURLToPath(new URL('../goldens/torch-files', import.meta.url));
const values: { readonly [name: string]: { dtype: string; shape: number[]; values: number[] } } = JSON.parse(
  await readFile(`${folder}/values.json`, 'utf8'),
);
const dtypes: { readonly [name: string]: string } = {
  float32: 'F32',
  float16: 'F16',
  bfloat16: 'BF16',
  float64: 'F64',
  int64: 'I64',
  int32: 'I32',
  uint8: 'U8',
  bool: 'BOOL',
};
const ones = new Uint8Array(Float32Array.of(1, -2).buffer);

async function codeOf(promise: Promise<unknown>): Promise<string> {
  const error: unknown = await promise.then(
    () => undefined,
    (reason) => reason,
  );
  if (!(error instanceof TopKError)) throw new Error(`expected a TopKError, got ${String(error)}`);
  expect(error.fix).toBeDefined();
  return error.code;
}

describe.each(['new.bin', 'old.bin'])('%s', (file) => {
  test('is read as torch reads it', async () => {
    const reader = await openTorchFile(await openFile(`${folder}/${file}`));
    expect([...reader.tensors.keys()].sort()).toEqual(Object.keys(values).sort());
    for (const [name, { dtype, shape, values: expected }] of Object.entries(values)) {
      expect(reader.tensors.get(name), name).toEqual({ dtype: dtypes[dtype], shape });
      const isFloat = /^(float|bfloat)/.test(dtype);
      const read = isFloat ? await reader.readFloat32(name) : await reader.read(name);
      expect(Array.from(read, Number), name).toEqual(isFloat ? expected.map(Math.fround) : expected);
    }
    await reader.close();
    await reader.close();
  });

  test('in any length less than its own is an error', async () => {
    const bytes = await readFile(`${folder}/${file}`);
    for (let length = 0; length < bytes.length; length += 1 + (length >> 4)) {
      const code = await codeOf(openTorchFile(new Uint8Array(bytes.subarray(0, length))));
      expect(code, `${length}`).toMatch(/^FILE_(TRUNCATED|CORRUPT)$/);
    }
  });

  test('that shrinks while it is open is an error', async () => {
    const bytes = new Uint8Array(await readFile(`${folder}/${file}`));
    let whole = true;
    const source = bytesSource(bytes, 'shrinking');
    const reader = await openTorchFile({
      ...source,
      read: async (from, length) => (whole ? source.read(from, length) : new Uint8Array(0)),
    });
    whole = false;
    expect(await codeOf(reader.read('whole'))).toBe('FILE_TRUNCATED');
  });
});

test('a source is closed when opening fails, and a source without read is refused', async () => {
  let closed = 0;
  const source = { ...bytesSource(new Uint8Array(100)), close: async () => void closed++ };
  expect(await codeOf(openTorchFile(source))).toBe('FILE_CORRUPT');
  expect(closed).toBe(1);
  expect(await codeOf(openTorchFile('pytorch_model.bin' as never))).toBe('INVALID_OPTION');
});

test('archives of this test are read', async () => {
  const reader = await openTorchFile(torchZip(dictOps({ w: tensorOps(), n: op.whole(3) }), { 0: ones }));
  expect([...reader.tensors.keys()]).toEqual(['w']);
  expect(await reader.readFloat32('w')).toEqual(Float32Array.of(1, -2));
  await expect(reader.read('n')).rejects.toMatchObject({ code: 'MISSING_WEIGHT' });
});

test('shards with an index', async () => {
  const shards: { readonly [file: string]: Uint8Array } = {
    'a.bin': torchZip(dictOps({ a: tensorOps() }), { 0: ones }),
    'b.bin': torchZip(dictOps({ b: tensorOps() }), { 0: ones }),
  };
  const index = JSON.stringify({ weight_map: { a: 'a.bin', b: 'b.bin' } });
  const open = async (file: string) => bytesSource(shards[file] as Uint8Array, file);
  const reader = await openShards('index', index, open, openTorchFile);
  expect(await reader.readFloat32('b')).toEqual(Float32Array.of(1, -2));
  for (const name of ['../a.bin', '/etc/passwd', '..', 'a/../b.bin', 'a\\b.bin']) {
    const hostile = JSON.stringify({ weight_map: { a: name } });
    expect(await codeOf(openShards('index', hostile, open, openTorchFile))).toBe('FILE_CORRUPT');
  }
});

/** Pickles that want more than tensors; what a reader that ran them would do. */
const hostile: { readonly [name: string]: Buffer } = {
  'os.system': Buffer.concat([
    op.global('os system'),
    op.tuple(op.text('touch /tmp/owned')),
    Buffer.from('R'),
  ]),
  'builtins.eval': Buffer.concat([op.global('builtins eval'), op.tuple(op.text('1')), Buffer.from('R')]),
  'a name by STACK_GLOBAL': Buffer.concat([op.text('os'), op.text('system'), Buffer.from([0x93])]),
  'a name that only begins well': op.global('torch._utils _rebuild_tensor_v2.__globals__'),
  'the prototype': op.global('__proto__ constructor'),
  'a dict called with arguments': Buffer.concat([
    op.global('collections OrderedDict'),
    op.tuple(op.whole(1)),
    Buffer.from('R'),
  ]),
  'the call of a text': Buffer.concat([op.text('os.system'), op.tuple(), Buffer.from('R')]),
  'the call of a storage type': Buffer.concat([
    op.global('torch FloatStorage'),
    op.tuple(op.whole(1e9)),
    Buffer.from('R'),
  ]),
  NEWOBJ: Buffer.concat([op.global('collections OrderedDict'), op.tuple(), Buffer.from([0x81])]),
  INST: Buffer.from('(ios\nsystem\n'),
  OBJ: Buffer.concat([Buffer.from('('), op.global('collections OrderedDict'), Buffer.from('o')]),
  'an extension': Buffer.from([0x82, 1]),
  'the state of a text': Buffer.concat([op.text('x'), op.text('y'), Buffer.from('b')]),
};

test.each(Object.entries(hostile))('a pickle with %s is UNSAFE_FILE', async (_, ops) => {
  expect(await codeOf(openTorchFile(torchZip(dictOps({ w: ops }), { 0: ones })))).toBe('UNSAFE_FILE');
});

const broken: { readonly [name: string]: readonly [Buffer, string] } = {
  'no opcodes': [Buffer.alloc(0), 'FILE_CORRUPT'],
  'an end at once': [Buffer.from('.'), 'FILE_CORRUPT'],
  'no dict': [Buffer.concat([op.text('w'), Buffer.from('.')]), 'UNSUPPORTED'],
  'no tensors': [dictOps({ n: op.whole(1) }), 'UNSUPPORTED'],
  'a value that was not kept': [Buffer.from('h\x07.'), 'FILE_CORRUPT'],
  'a mark too few': [Buffer.from('t.'), 'FILE_CORRUPT'],
  'values below a mark': [Buffer.from([0x4e, 0x28, 0x85, 0x2e]), 'FILE_CORRUPT'],
  'a text without end': [Buffer.from([0x58, 0xff, 0xff, 0xff, 0xff, 0x41]), 'FILE_CORRUPT'],
  'a text that is not UTF-8': [Buffer.from([0x8c, 1, 0xff, 0x2e]), 'FILE_CORRUPT'],
  'a key without value': [Buffer.from('}(Nu.'), 'FILE_CORRUPT'],
  'a dict within itself': [Buffer.from('}q\x00(h\x00h\x00u.'), 'UNSUPPORTED'],
  'a long number': [
    Buffer.concat([Buffer.from([0x8a, 255]), Buffer.alloc(255, 0x7f), Buffer.from('.')]),
    'UNSUPPORTED',
  ],
  'millions of dicts': [Buffer.concat([Buffer.alloc(2 ** 21, 0x7d), Buffer.from('.')]), 'UNSUPPORTED'],
  'millions of values to keep': [
    Buffer.concat([Buffer.from('N'), Buffer.alloc(2 ** 21, 0x94), Buffer.from('.')]),
    'UNSUPPORTED',
  ],
  'a protocol of the future': [Buffer.from([0x80, 9, 0x4e, 0x2e]), 'FILE_CORRUPT'],
};

test.each(Object.entries(broken))('a pickle with %s', async (_, [pickle, code]) => {
  expect(await codeOf(openTorchFile(torchZip(pickle, { 0: ones })))).toBe(code);
});

test.each<[string, PickledTensor, string]>([
  ['beyond the storage', { shape: [3] }, 'FILE_CORRUPT'],
  ['from beyond the storage', { offset: 1 }, 'FILE_CORRUPT'],
  ['with a stride beyond the storage', { strides: [2] }, 'FILE_CORRUPT'],
  ['of a huge shape', { shape: [2 ** 40, 2 ** 40], strides: [1, 1] }, 'FILE_CORRUPT'],
  ['that repeats an element', { shape: [2 ** 50], strides: [0] }, 'UNSUPPORTED'],
  ['of a negative size', { shape: [-2] }, 'FILE_CORRUPT'],
  ['with a negative stride', { offset: 1, strides: [-1] }, 'FILE_CORRUPT'],
  ['with strides too few', { strides: [] }, 'FILE_CORRUPT'],
  ['of many axes', { shape: Array(65).fill(1), strides: Array(65).fill(1) }, 'FILE_CORRUPT'],
  ['of a storage that lies', { elements: 3 }, 'FILE_CORRUPT'],
  ['of a storage that lies a lot', { elements: 2 ** 52, shape: [2 ** 52] }, 'FILE_CORRUPT'],
  ['of no storage', { key: '7' }, 'FILE_CORRUPT'],
  ['of a storage elsewhere', { key: '../../../etc/passwd' }, 'FILE_CORRUPT'],
  ['of the prototype', { key: '__proto__' }, 'FILE_CORRUPT'],
  ['of a quantised storage', { storage: 'torch QInt8Storage' }, 'UNSAFE_FILE'],
  ['of a storage that is no storage', { storage: 'collections OrderedDict' }, 'FILE_CORRUPT'],
])('a tensor %s', async (_, tensor, code) => {
  expect(await codeOf(openTorchFile(torchZip(dictOps({ w: tensorOps(tensor) }), { 0: ones })))).toBe(code);
});

const pickle = dictOps({ w: tensorOps() });
const entries = [['archive/data.pkl', pickle] as const, ['archive/data/0', ones] as const];
test.each<[string, Uint8Array, string]>([
  ['compressed', storedZip(entries, { method: 8 }), 'UNSUPPORTED'],
  ['of sizes that differ', storedZip(entries, { size: 2 ** 31 }), 'UNSUPPORTED'],
  ['with entries in one place', storedZip(entries, { header: 0 }), 'FILE_CORRUPT'],
  ['with entries beyond its end', storedZip(entries, { header: 2 ** 31 }), 'FILE_CORRUPT'],
  ['with a name twice', storedZip([...entries, ...entries]), 'FILE_CORRUPT'],
  ['without a pickle', storedZip(entries.slice(1)), 'FILE_CORRUPT'],
  ['with two pickles', storedZip([...entries, ['b/data.pkl', pickle]]), 'FILE_CORRUPT'],
  ['of TorchScript', storedZip([...entries, ['archive/constants.pkl', pickle]]), 'UNSUPPORTED'],
  [
    'of a big-endian machine',
    storedZip([...entries, ['archive/byteorder', Buffer.from('big')]]),
    'UNSUPPORTED',
  ],
  ['without a storage', storedZip(entries.slice(0, 1)), 'FILE_CORRUPT'],
])('an archive %s', async (_, bytes, code) => {
  expect(await codeOf(openTorchFile(bytes))).toBe(code);
});

test.each<[string, string]>([
  ['a pointer of Git LFS', 'version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n'],
  ['a page', '<!DOCTYPE html>'],
  ['nothing', ''],
])('%s is FILE_CORRUPT', async (_, content) => {
  expect(await codeOf(openTorchFile(new Uint8Array(Buffer.from(content))))).toBe('FILE_CORRUPT');
});

test('an archive beyond 4 GB has 64-bit places', async () => {
  // The same archive far behind its start: only its ends are ever read.
  const far = 5 * 2 ** 30;
  const whole = Buffer.from(torchZip(pickle, { 0: ones }));
  const end = whole.subarray(-22);
  const directory = whole.subarray(end.readUInt32LE(16), whole.length - 22);
  const count = end.readUInt16LE(10);
  const wide: Buffer[] = [];
  for (let at = 0; at < directory.length; ) {
    const name = directory.readUInt16LE(at + 28);
    const entry = Buffer.from(directory.subarray(at, at + 46 + name));
    const extra = Buffer.alloc(12);
    extra.writeUInt16LE(1, 0);
    extra.writeUInt16LE(8, 2);
    extra.writeBigUInt64LE(BigInt(entry.readUInt32LE(42) + far), 4);
    entry.writeUInt32LE(0xffffffff, 42);
    entry.writeUInt16LE(extra.length, 30);
    wide.push(entry, extra);
    at += 46 + name;
  }
  const central = Buffer.concat(wide);
  const start = whole.length - 22 - directory.length;
  const end64 = Buffer.alloc(56);
  end64.writeUInt32LE(0x06064b50, 0);
  end64.writeBigUInt64LE(BigInt(count), 32);
  end64.writeBigUInt64LE(BigInt(central.length), 40);
  end64.writeBigUInt64LE(BigInt(far + start), 48);
  const locator = Buffer.alloc(20);
  locator.writeUInt32LE(0x07064b50, 0);
  locator.writeBigUInt64LE(BigInt(far + start + central.length), 8);
  const narrow = Buffer.from(end);
  narrow.writeUInt32LE(0xffffffff, 16);
  const tail = Buffer.concat([whole.subarray(0, start), central, end64, locator, narrow]);
  const reader = await openTorchFile({
    ...bytesSource(tail),
    size: far + tail.length,
    read: async (offset, length) => {
      if (offset === 0) return new Uint8Array(whole.subarray(0, length));
      const before = Math.min(length, Math.max(0, far - offset));
      const from = offset + before - far;
      return new Uint8Array(
        Buffer.concat([Buffer.alloc(before), tail.subarray(from, from + length - before)]),
      );
    },
  });
  expect(await reader.readFloat32('w')).toEqual(Float32Array.of(1, -2));
});
