import { describe, expect, test } from 'vitest';
import { type ByteSource, bytesSource, encodeSafetensors, openSafetensors } from '../../src/index.js';
import { errorOf, fileOf } from '../support/files.js';

const small = encodeSafetensors(
  {
    a: { dtype: 'F32', shape: [2, 3], data: Float32Array.of(1, 2, 3, 4, 5, 6) },
    b: { dtype: 'I64', shape: [2], data: BigInt64Array.of(-1n, 2n ** 53n + 1n) },
    c: { dtype: 'BOOL', shape: [3], data: Uint8Array.of(1, 0, 1) },
    d: { dtype: 'F16', shape: [1], data: Uint16Array.of(0x3c00) },
    scalar: { dtype: 'I32', shape: [], data: Int32Array.of(7) },
    empty: { dtype: 'F32', shape: [0, 4], data: new Float32Array(0) },
  },
  { format: 'pt' },
);

describe('openSafetensors', () => {
  test('reads what was written, as it was stored', async () => {
    const file = await openSafetensors(small);
    expect(file.metadata).toEqual({ format: 'pt' });
    expect([...file.tensors.keys()].sort()).toEqual(['a', 'b', 'c', 'd', 'empty', 'scalar']);
    expect(file.tensors.get('a')).toMatchObject({ dtype: 'F32', shape: [2, 3] });
    expect(await file.read('a')).toEqual(Float32Array.of(1, 2, 3, 4, 5, 6));
    expect(await file.read('b')).toEqual(BigInt64Array.of(-1n, 2n ** 53n + 1n));
    expect(await file.read('c')).toEqual(Uint8Array.of(1, 0, 1));
    expect(await file.read('d')).toEqual(Uint16Array.of(0x3c00));
    expect(await file.readFloat32('d')).toEqual(Float32Array.of(1));
    expect(await file.read('scalar')).toEqual(Int32Array.of(7));
    expect(await file.read('empty')).toEqual(new Float32Array(0));
  });

  test('reads a file at an odd offset of a larger buffer', async () => {
    const shifted = new Uint8Array(small.length + 3);
    shifted.set(small, 3);
    const file = await openSafetensors(shifted.subarray(3));
    expect(await file.read('b')).toEqual(BigInt64Array.of(-1n, 2n ** 53n + 1n));
  });

  test('reads data that no padding aligned', async () => {
    const data = new Uint8Array(Float32Array.of(1.5).buffer);
    const file = await openSafetensors(
      fileOf({ x: { dtype: 'F32', shape: [1], data_offsets: [0, 4] } }, data),
    );
    expect(await file.read('x')).toEqual(Float32Array.of(1.5));
  });

  test('reads only the bytes of the header and of the tensor asked for', async () => {
    const inner = bytesSource(small);
    const ranges: [number, number][] = [];
    const watched: ByteSource = {
      ...inner,
      read: (offset, length) => {
        ranges.push([offset, length]);
        return inner.read(offset, length);
      },
    };
    const file = await openSafetensors(watched);
    expect(ranges).toHaveLength(2);
    await file.read('a');
    expect(ranges[2]?.[1]).toBe(24);
  });

  test('an unknown name is a MISSING_WEIGHT, a dtype that is not read is UNSUPPORTED', async () => {
    const file = await openSafetensors(fileOf({ x: { dtype: 'U16', shape: [1], data_offsets: [0, 2] } }, 2));
    expect((await errorOf(file.read('y'))).code).toBe('MISSING_WEIGHT');
    expect((await errorOf(file.read('x'))).code).toBe('UNSUPPORTED');
  });

  test.each([
    ['F4', 8, 4],
    ['F6_E2M3', 8, 6],
    ['F6_E3M2', 4, 3],
    ['F8_E4M3', 4, 4],
    ['F8_E5M2', 4, 4],
    ['F8_E8M0', 4, 4],
    ['F8_E4M3FNUZ', 4, 4],
    ['F8_E5M2FNUZ', 4, 4],
    ['C64', 2, 16],
    // Of the future.
    ['F7', 3, 5],
    ['toString', 2, 8],
  ])('a file with a tensor of %s opens, and only that tensor is not read', async (dtype, elements, bytes) => {
    const file = await openSafetensors(
      fileOf(
        {
          odd: { dtype, shape: [elements], data_offsets: [0, bytes] },
          x: { dtype: 'F32', shape: [1], data_offsets: [bytes, bytes + 4] },
        },
        bytes + 4,
      ),
    );
    expect([...file.tensors.keys()].sort()).toEqual(['odd', 'x']);
    expect(file.tensors.get('odd')).toMatchObject({ dtype, shape: [elements] });
    expect(await file.readFloat32('x')).toEqual(Float32Array.of(0));
    for (const reading of [file.read('odd'), file.readFloat32('odd')]) {
      const error = await errorOf(reading);
      expect(error.code).toBe('UNSUPPORTED');
      expect(error.message).toContain(dtype);
    }
  });

  test.each<unknown>(['model.safetensors', undefined, null, {}])(
    'there is nothing to read in %o',
    async (data) => {
      expect((await errorOf(openSafetensors(data as Uint8Array))).code).toBe('INVALID_OPTION');
    },
  );

  test('metadata may be null', async () => {
    const file = await openSafetensors(
      fileOf({ __metadata__: null, a: { dtype: 'F32', shape: [1], data_offsets: [0, 4] } }, 4),
    );
    expect(file.metadata).toEqual({});
    expect([...file.tensors.keys()]).toEqual(['a']);
  });

  test('integers are not read as floats', async () => {
    const file = await openSafetensors(small);
    expect((await errorOf(file.readFloat32('b'))).code).toBe('DTYPE_MISMATCH');
  });
});

describe('what is no safetensors file', () => {
  const one = { dtype: 'F32', shape: [2], data_offsets: [0, 8] };
  const withLength = (length: bigint): Uint8Array => {
    const file = small.slice();
    new DataView(file.buffer).setBigUint64(0, length, true);
    return file;
  };
  const cases: readonly [string, Uint8Array, string][] = [
    ['no bytes', new Uint8Array(0), 'FILE_TRUNCATED'],
    ['5 bytes', small.slice(0, 5), 'FILE_TRUNCATED'],
    ['an end inside the header', small.slice(0, 40), 'FILE_TRUNCATED'],
    ['a missing last byte', small.slice(0, -1), 'FILE_TRUNCATED'],
    ['bytes after the end', fileOf({ x: one }, 16), 'FILE_CORRUPT'],
    ['a header of length 0', withLength(0n), 'FILE_CORRUPT'],
    ['a header longer than the file', withLength(BigInt(small.length)), 'FILE_TRUNCATED'],
    ['a header of 2^63 bytes', withLength(2n ** 63n), 'FILE_CORRUPT'],
    ['a header that is not JSON', fileOf('{nonsense'), 'FILE_CORRUPT'],
    ['a header that is not UTF-8', fileOf({ x: one }, 8).fill(0xff, 8, 12), 'FILE_CORRUPT'],
    ['a header that is an array', fileOf([]), 'FILE_CORRUPT'],
    ['a header that is null', fileOf(null), 'FILE_CORRUPT'],
    ['metadata that are no strings', fileOf({ __metadata__: { a: 1 } }), 'FILE_CORRUPT'],
    ['a tensor that is a number', fileOf({ x: 3 }), 'FILE_CORRUPT'],
    ['a tensor that is null', fileOf({ x: null }), 'FILE_CORRUPT'],
    ['a dtype that is no name', fileOf({ x: { ...one, dtype: 7 } }, 8), 'FILE_CORRUPT'],
    ['no dtype', fileOf({ x: { shape: [2], data_offsets: [0, 8] } }, 8), 'FILE_CORRUPT'],
    ['metadata that are a list', fileOf({ __metadata__: [] }), 'FILE_CORRUPT'],
    ['a size that is not that of 4-bit elements', fileOf({ x: { ...one, dtype: 'F4' } }, 8), 'FILE_CORRUPT'],
    [
      'elements of 4 bits that fill no byte',
      fileOf({ x: { dtype: 'F4', shape: [3], data_offsets: [0, 2] } }, 2),
      'FILE_CORRUPT',
    ],
    ['no shape', fileOf({ x: { dtype: 'F32', data_offsets: [0, 8] } }, 8), 'FILE_CORRUPT'],
    ['a negative shape', fileOf({ x: { ...one, shape: [-1, -2] } }, 8), 'FILE_CORRUPT'],
    ['a broken shape', fileOf({ x: { ...one, shape: [1.5, 2] } }, 8), 'FILE_CORRUPT'],
    ['a huge shape', fileOf({ x: { ...one, shape: [2 ** 30, 2 ** 30] } }, 8), 'FILE_CORRUPT'],
    [
      'a shape that overflows',
      fileOf('{"x":{"dtype":"F32","shape":[4611686018427387904,8],"data_offsets":[0,0]}}'),
      'FILE_CORRUPT',
    ],
    [
      'a shape that overflows to the right size',
      fileOf({ x: { ...one, shape: [2 ** 52, 2 ** 12], data_offsets: [0, 0] } }),
      'FILE_CORRUPT',
    ],
    ['one offset', fileOf({ x: { ...one, data_offsets: [0] } }, 8), 'FILE_CORRUPT'],
    ['offsets the wrong way round', fileOf({ x: { ...one, data_offsets: [8, 0] } }, 8), 'FILE_CORRUPT'],
    ['a negative offset', fileOf({ x: { ...one, data_offsets: [-8, 0] } }, 8), 'FILE_CORRUPT'],
    ['tensors that overlap', fileOf({ x: one, y: { ...one, data_offsets: [4, 12] } }, 12), 'FILE_CORRUPT'],
    ['a gap', fileOf({ x: one, y: { ...one, data_offsets: [12, 20] } }, 20), 'FILE_CORRUPT'],
    ['a gap before the first', fileOf({ x: { ...one, data_offsets: [8, 16] } }, 16), 'FILE_CORRUPT'],
    [
      'data past the end',
      fileOf({ x: { ...one, shape: [100], data_offsets: [0, 400] } }, 8),
      'FILE_TRUNCATED',
    ],
  ];

  for (const [what, bytes, code] of cases) {
    test(`${what}: ${code}`, async () => {
      const error = await errorOf(openSafetensors(bytesSource(bytes, 'model.safetensors')));
      expect(error.code).toBe(code);
      expect(error.message).toContain('model.safetensors');
      expect(error.expected).toBeDefined();
      expect(error.got).toBeDefined();
      expect(error.fix).toBeDefined();
    });
  }

  test('cut off anywhere, the file does not open', async () => {
    for (let length = 0; length < small.length; length++) {
      const error = await errorOf(openSafetensors(small.slice(0, length)));
      expect(error.code, `${length} bytes`).toBe('FILE_TRUNCATED');
    }
  });

  test('with any byte of the header changed, it opens or gives a typed error', async () => {
    const length = Number(new DataView(small.buffer).getBigUint64(0, true));
    let opened = 0;
    for (let at = 0; at < 8 + length; at++) {
      for (const flip of [0x01, 0x10, 0x80]) {
        const bytes = small.slice();
        bytes[at] = (bytes[at] as number) ^ flip;
        try {
          await openSafetensors(bytes);
          opened++;
        } catch {
          expect(['FILE_CORRUPT', 'FILE_TRUNCATED']).toContain((await errorOf(openSafetensors(bytes))).code);
        }
      }
    }
    // A changed letter of a name goes unnoticed; that and little else.
    expect(opened).toBeLessThan(100);
  });

  test('a source that fails is closed', async () => {
    let closed = 0;
    const source = { ...bytesSource(new Uint8Array(3)), close: async () => void closed++ };
    await errorOf(openSafetensors(source));
    expect(closed).toBe(1);
  });

  test('a file that shrank after it was opened gives no values', async () => {
    let length = small.length;
    const source: ByteSource = {
      ...bytesSource(small),
      read: async (offset, count) => small.slice(offset, Math.min(offset + count, length)),
    };
    const file = await openSafetensors(source);
    length = small.length - 12;
    expect((await errorOf(file.read('c'))).code).toBe('FILE_TRUNCATED');
  });
});
