import { readFile } from 'node:fs/promises';
import { TopKError } from '@topk-attention/core';
import { randomBelow } from '@topk-attention/vitest-preset/random';
import { describe, expect, test } from 'vitest';
import { subgraphsOf } from '../../src/onnx/attributes.js';
import { dimsOf } from '../../src/onnx/dims.js';
import type { GraphProto, ModelProto } from '../../src/onnx/messages.js';
import { decodeModel } from '../../src/onnx/read-model.js';
import { encodeModel } from '../../src/onnx/write-model.js';
import { jsonOf, withoutUnnamed } from '../support/protobuf-json.js';

const golden = (name: string): Promise<Buffer> => readFile(new URL(`fixtures/${name}`, import.meta.url));
const [plain, everything] = [await golden('plain.onnx'), await golden('everything.onnx')];

function failure(bytes: Uint8Array): TopKError | undefined {
  try {
    decodeModel(bytes);
    return undefined;
  } catch (error) {
    if (error instanceof TopKError) return error;
    throw error;
  }
}

function codeOf(bytes: Uint8Array): string | undefined {
  return failure(bytes)?.code;
}

/** Bytes of a field that holds bytes. */
function field(number: number, content: Uint8Array): Uint8Array {
  const lengths: number[] = [];
  let rest = content.length;
  for (; rest > 127; rest >>>= 7) lengths.push((rest & 127) | 128);
  return Buffer.concat([Uint8Array.of((number << 3) | 2, ...lengths, rest), content]);
}

describe('files written by Python', () => {
  for (const name of ['plain', 'everything']) {
    test(`${name}: every named field is read`, async () => {
      const model = decodeModel(await golden(`${name}.onnx`));
      const expected: unknown = JSON.parse((await golden(`${name}.json`)).toString());
      expect(jsonOf(model)).toEqual(withoutUnnamed(expected));
    });

    test(`${name}: read, written and read again is the same`, async () => {
      const model = decodeModel(await golden(`${name}.onnx`));
      expect(decodeModel(encodeModel(model))).toEqual(model);
    });
  }

  test('where every field has a name, the same bytes are written', () => {
    expect(Buffer.from(encodeModel(decodeModel(plain))).equals(plain)).toBe(true);
  });

  test('what has no name here is written back', () => {
    const model = decodeModel(everything);
    expect(model.unknownFields?.length).toBeGreaterThan(0);
    expect(model.graph?.unknownFields?.length).toBeGreaterThan(0);
    expect(model.graph?.node[0]?.unknownFields?.length).toBeGreaterThan(0);
    expect(model.graph?.initializer[0]?.unknownFields?.length).toBeGreaterThan(0);
    const again = encodeModel(model);
    expect(again.length).toBe(everything.length);
    expect(Buffer.from(again).includes('SCALE_TENSOR')).toBe(true);
  });

  test('graphs inside of nodes, and extents with names', () => {
    const { graph } = decodeModel(plain);
    const branches = graph?.node.flatMap(subgraphsOf).map(({ name }) => name);
    expect(branches).toEqual(['inner', 'g0', 'g1', 'else', 'then']);
    expect(graph?.input.map(dimsOf)).toEqual([['batch', '', 4], []]);
    const unranked = graph?.valueInfo.find(({ name }) => name === 'unranked');
    expect(unranked && dimsOf(unranked)).toBeUndefined();
  });

  test('raw values are views of the file', () => {
    const tensor = decodeModel(plain).graph?.initializer.find(({ name }) => name === 'raw_float');
    expect(tensor?.rawData?.buffer).toBe(plain.buffer);
  });
});

describe('what other writers may do', () => {
  const graphWith = (...parts: Uint8Array[]): Uint8Array => field(7, Buffer.concat(parts));

  test('lists of numbers with a tag each where ours are packed, and the other way round', () => {
    // int64_data 1, 2 with a tag each, then -1 packed.
    const minusOne = [255, 255, 255, 255, 255, 255, 255, 255, 255, 1];
    const values = Uint8Array.of(0x38, 1, 0x38, 2, 0x3a, 10, ...minusOne);
    // dims 3 packed.
    const tensor = Uint8Array.of(0x0a, 1, 3, 0x10, 7, ...values);
    const initializer = decodeModel(graphWith(field(5, tensor))).graph?.initializer[0];
    expect(initializer).toEqual({ dims: [3], dataType: 7, int64Data: BigInt64Array.of(1n, 2n, -1n) });
  });

  test('a known number with another wire type is an unknown field', () => {
    const model = decodeModel(Uint8Array.of(0x0a, 1, 65, ...graphWith()));
    expect(model.irVersion).toBeUndefined();
    expect(model.unknownFields).toEqual(Uint8Array.of(0x0a, 1, 65));
  });

  test('groups, which protobuf no longer has, are kept as they are', () => {
    const group = Uint8Array.of(0x9b, 0x06, 0x08, 1, 0x9c, 0x06);
    expect(decodeModel(Uint8Array.of(...group, ...graphWith())).unknownFields).toEqual(group);
  });
});

describe('files that are broken', () => {
  test('nothing, and text', () => {
    expect(codeOf(new Uint8Array())).toBe('FILE_CORRUPT');
    expect(codeOf(Buffer.from('version https://git-lfs.github.com/spec/v1\n'))).toMatch(/^FILE_/);
    expect(codeOf(Buffer.from('{"model_type": "t5"}'))).toMatch(/^FILE_/);
  });

  test('a file that ends anywhere is no model', () => {
    const codes = Array.from({ length: plain.length }, (_, length) => codeOf(plain.subarray(0, length)));
    // What is left is whole between two fields of the model itself, where its graph is there.
    const whole = codes.flatMap((code, length) => (code === undefined ? [length] : []));
    expect(whole.length).toBeLessThan(8);
    for (const length of whole) expect(decodeModel(plain.subarray(0, length)).graph?.name).toBe('main');
    expect(new Set(codes)).toEqual(new Set([undefined, 'FILE_TRUNCATED', 'FILE_CORRUPT']));
    expect(codeOf(plain.subarray(0, 1000))).toBe('FILE_TRUNCATED');
  });

  test('a length of two gigabytes in a file of some bytes', () => {
    const huge = Uint8Array.of(0x3a, 0xff, 0xff, 0xff, 0xff, 7);
    expect(codeOf(huge)).toBe('FILE_TRUNCATED');
    expect(codeOf(field(7, Uint8Array.of(0x2a, ...huge.subarray(1))))).toBe('FILE_CORRUPT');
  });

  test('a length, a number and a tag of more bits than there are', () => {
    const long = new Array<number>(12).fill(0xff);
    expect(codeOf(Uint8Array.of(0x3a, ...long, 1))).toMatch(/^FILE_/);
    expect(codeOf(Uint8Array.of(0x08, ...long, 1))).toMatch(/^FILE_/);
    expect(codeOf(Uint8Array.of(...long, 1))).toMatch(/^FILE_/);
    // Version 2^62: no whole number of JavaScript's.
    expect(codeOf(Uint8Array.of(0x08, ...new Array<number>(8).fill(0x80), 0x40))).toBe('FILE_CORRUPT');
  });

  test('a name that is no UTF-8', () => {
    expect(codeOf(field(7, field(2, Uint8Array.of(0xff, 0xfe))))).toBe('FILE_CORRUPT');
  });

  test('graphs in graphs without end', () => {
    const nested = (levels: number): Uint8Array => {
      let graph: Uint8Array = new Uint8Array();
      for (let level = 0; level < levels; level++) graph = field(1, field(5, field(6, graph)));
      return field(7, graph);
    };
    expect(codeOf(nested(30))).toBeUndefined();
    expect(failure(nested(40))?.got).toContain('nested');
    expect(codeOf(nested(1000))).toBe('FILE_CORRUPT');
  });

  test('the error names the file and what to do', () => {
    expect(() => decodeModel(new Uint8Array(), 'model.onnx')).toThrow(
      /^model\.onnx: not an ONNX model: .*it has no graph\. Download or export the file again/,
    );
  });
});

describe('2,000 random changes of a file', () => {
  /** Some bytes changed, and now and then a part cut out or put in twice. */
  function mutated(seed: number): Uint8Array {
    const draw = randomBelow(seed);
    let bytes: Uint8Array = Uint8Array.from(everything);
    for (let change = draw(4); change >= 0; change--) bytes[draw(bytes.length)] = draw(256);
    if (draw(3) === 0) {
      const start = draw(bytes.length);
      const end = start + draw(bytes.length - start);
      const parts =
        draw(2) === 0 ? [bytes.subarray(0, start)] : [bytes.subarray(0, end), bytes.subarray(start, end)];
      bytes = Uint8Array.from(Buffer.concat([...parts, bytes.subarray(end)]));
    }
    return bytes;
  }

  const countOf = ({ node }: GraphProto): number =>
    node.reduce((count, one) => subgraphsOf(one).reduce((sum, graph) => sum + countOf(graph), count + 1), 0);

  test('give a model that can be written, or a typed error', () => {
    let models = 0;
    for (let seed = 0; seed < 2000; seed++) {
      let model: ModelProto;
      try {
        model = decodeModel(mutated(seed));
      } catch (error) {
        const isTyped = error instanceof TopKError && /^FILE_(TRUNCATED|CORRUPT)$/.test(error.code);
        if (!isTyped) throw new Error(`seed ${seed}`, { cause: error });
        continue;
      }
      models++;
      const written = encodeModel(model);
      const again = decodeModel(written);
      const isSame =
        Buffer.from(encodeModel(again)).equals(written) &&
        countOf(again.graph as GraphProto) === countOf(model.graph as GraphProto);
      if (!isSame) throw new Error(`seed ${seed}: written, read and written again, the model differs`);
    }
    // Changed values and names are models; broken lengths are not.
    expect(models).toBeGreaterThan(200);
    expect(models).toBeLessThan(1800);
  });
});
