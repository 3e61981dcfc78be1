import { describe, expect, test } from 'vitest';
import {
  aBoolean,
  aFunction,
  aNumber,
  anArray,
  aString,
  aTensor,
  checkedLater,
  describeValue,
  either,
  type OptionKinds,
  oneOf,
  optionsWithin,
  readOptions,
  required,
  type Tensor,
  zeros,
} from '../../src/index.js';
import { createReferenceBackend } from '../../src/reference/index.js';

interface Options {
  readonly k: number;
  readonly causal?: boolean;
  readonly scale?: number;
  readonly name?: string;
  readonly mask?: Tensor;
  readonly select?: 'preactivation' | 'contribution';
  readonly threads?: number | 'auto';
  readonly axes?: readonly number[];
  readonly onStep?: (step: number) => void;
  readonly dropout?: { readonly rate: number; readonly seed?: number };
}

const kinds: OptionKinds<Options> = {
  k: checkedLater(),
  causal: aBoolean,
  scale: aNumber,
  name: aString,
  mask: aTensor,
  select: oneOf('preactivation', 'contribution'),
  threads: either(aNumber, oneOf('auto')),
  axes: anArray(),
  onStep: aFunction(),
  dropout: optionsWithin({ rate: required(aNumber), seed: aNumber }),
};

/** What a caller in plain JavaScript may hand over. */
function read(given: unknown): Options {
  return readOptions('someFunction', given as Options, kinds);
}

function failure(given: unknown): Record<string, unknown> {
  try {
    read(given);
  } catch (error) {
    return error as Record<string, unknown>;
  }
  throw new Error('nothing was thrown');
}

describe('reading options', () => {
  test('what is right passes, and undefined is not given', () => {
    const mask = zeros(createReferenceBackend(), [1], 'bool');
    const good = {
      k: 1,
      causal: undefined,
      scale: 2,
      name: '',
      mask,
      select: 'contribution',
      threads: 'auto',
      axes: [0],
      onStep: () => {},
      dropout: { rate: 0.5 },
    };
    expect(read(good)).toBe(good);
    expect(read(undefined)).toEqual({});
    expect(read(Object.create(null))).toEqual({});
  });

  test.each([
    ['casual', 'causal'],
    ['cuasal', 'causal'],
    ['Scale', 'scale'],
    ['K', 'k'],
    ['dropOut', 'dropout'],
    ['on_step', 'onStep'],
  ])('the unknown name %s is refused with advice', (name, meant) => {
    expect(failure({ k: 1, [name]: undefined })).toMatchObject({
      code: 'INVALID_OPTION',
      message: `someFunction: unknown option '${name}': expected ${Object.keys(kinds).join(', ')}, got ${name}. Did you mean ${meant}?`,
      fix: `Did you mean ${meant}?`,
    });
  });

  test.each(['temperature', 'constructor', 'toString', 'hasOwnProperty'])('%s has no neighbour', (name) => {
    const error = failure({ [name]: 1 });
    expect(error).toMatchObject({ code: 'INVALID_OPTION' });
    expect(error.fix).toBeUndefined();
  });

  test.each([
    [{ causal: 'yes' }, 'bad causal: expected true or false', "'yes'"],
    [{ causal: 1 }, 'bad causal', '1'],
    [{ scale: '4' }, 'bad scale: expected a number', "'4'"],
    [{ scale: null }, 'bad scale', 'null'],
    [{ scale: 4n }, 'bad scale', '4n'],
    [{ mask: [1, 0] }, 'bad mask: expected a Tensor from @topk-attention/core', 'an array of 2'],
    [{ mask: new Uint8Array(2) }, 'bad mask', 'a Uint8Array'],
    [{ mask: {} }, 'bad mask', 'an object'],
    [
      { select: 'pre-activation' },
      "bad select: expected 'preactivation' or 'contribution'",
      "'pre-activation'",
    ],
    [{ threads: 'all' }, "bad threads: expected a number, or 'auto'", "'all'"],
    [{ axes: 1 }, 'bad axes', '1'],
    [{ onStep: {} }, 'bad onStep: expected a function', 'an object'],
    [{ dropout: 0.5 }, 'bad dropout: expected an object', '0.5'],
    [{ dropout: { rate: '0' } }, 'bad dropout.rate: expected a number', "'0'"],
    [{ dropout: { seed: 1 } }, 'bad dropout.rate: expected a number', 'undefined'],
    [{ dropout: { rate: 0, sed: 1 } }, "unknown option 'dropout.sed': expected rate, seed", 'dropout.sed'],
  ])('%o', (given, message, got) => {
    const error = failure(given);
    expect(error).toMatchObject({ code: 'INVALID_OPTION', got });
    expect(String(error.message)).toContain(`someFunction: ${message}`);
  });

  test('a near word is advice too', () => {
    expect(failure({ select: 'pre-activation' }).fix).toBe("Did you mean 'preactivation'?");
  });

  test.each([
    [null, 'null'],
    ['causal', "'causal'"],
    [3, '3'],
    [[], 'an array of 0'],
    [new Float32Array(2), 'a Float32Array'],
    [new Map(), 'a Map'],
    [() => {}, 'a function'],
  ])('%o is no object of options', (given, got) => {
    expect(failure(given)).toMatchObject({ code: 'INVALID_OPTION', got });
    expect(String(failure(given).message)).toContain(
      'someFunction: bad options: expected an object of k, causal',
    );
  });

  test('a tensor is no object of options either', () => {
    const x = zeros(createReferenceBackend(), [2, 3]);
    expect(failure(x).got).toBe('a Tensor, f32 [2, 3]');
  });

  test('long strings are cut', () => {
    expect(describeValue('x'.repeat(1000))).toHaveLength(45);
  });

  test('a description that does not fit its interface does not compile', () => {
    // @ts-expect-error a name is missing
    const missing: OptionKinds<{ a?: number; b?: string }> = { a: aNumber };
    // @ts-expect-error a name too many
    const more: OptionKinds<{ a?: number }> = { a: aNumber, b: aNumber };
    // @ts-expect-error the wrong type
    const wrong: OptionKinds<{ a?: number }> = { a: aString };
    // @ts-expect-error a word is missing
    const narrow: OptionKinds<{ a?: 'x' | 'y' }> = { a: oneOf('x') };
    // @ts-expect-error what the interface requires is said to be required
    const optional: OptionKinds<{ a: number }> = { a: aNumber };
    expect([missing, more, wrong, narrow, optional]).toHaveLength(5);
  });

  test('it is cheap: well below a microsecond an option', () => {
    const good = { k: 1, causal: true, scale: 2, select: 'contribution', threads: 2, dropout: { rate: 0.5 } };
    const repeat = (times: number): number => {
      const start = performance.now();
      for (let i = 0; i < times; i++) read(good);
      return (performance.now() - start) / times;
    };
    repeat(10_000);
    const millisecondsPerCall = Math.min(...Array.from({ length: 20 }, () => repeat(1000)));
    expect(millisecondsPerCall / 7).toBeLessThan(1e-3);
  });
});

test('a function without options says so', () => {
  const read = (given: object): unknown => readOptions<Record<never, never>>('none', given, {});
  expect(read({})).toEqual({});
  expect(() => read({ alpha: 2 })).toThrow("unknown option 'alpha': expected no options, got alpha");
});
