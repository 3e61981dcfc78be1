import { describe, expect, test } from 'vitest';
import { checkChoices, type LayerChoices, resolveChoice } from '../src/choices.js';

const paths = ['encoder.0', 'encoder.1', 'decoder.0', 'decoder.1', 'decoder.10'];
const k = (value: number) => ({ attention: { k: value } });
const kOf = (path: string, ...levels: LayerChoices[]): unknown => {
  const { attention } = resolveChoice(path, levels);
  return typeof attention === 'object' ? attention.k : attention;
};

describe('resolveChoice', () => {
  test('nothing chosen is exact', () => {
    expect(resolveChoice('encoder.0', [{}])).toEqual({
      attention: 'exact',
      crossAttention: 'exact',
      feedForward: 'exact',
    });
  });

  test('a layer wins over its stack, and the stack over the top level', () => {
    const choices: LayerChoices = { ...k(1), encoder: k(2), layers: { 'encoder.1': k(3) } };
    expect(kOf('decoder.0', choices)).toBe(1);
    expect(kOf('encoder.0', choices)).toBe(2);
    expect(kOf('encoder.1', choices)).toBe(3);
  });

  test('patterns match by segment; the fewest stars win, then the later pattern', () => {
    const choices: LayerChoices = {
      ...k(1),
      decoder: k(2),
      layers: { 'decoder.1': k(3), 'decoder.*': k(4), '*.1': k(5), '*.*': k(6) },
    };
    expect(kOf('decoder.1', choices)).toBe(3);
    expect(kOf('decoder.0', choices)).toBe(4);
    // Not '*.1': segments are compared whole.
    expect(kOf('decoder.10', choices)).toBe(4);
    expect(kOf('encoder.1', choices)).toBe(5);
    expect(kOf('encoder.0', choices)).toBe(6);
    expect(kOf('encoder.1', { layers: { '*.1': k(7), 'encoder.*': k(8) } })).toBe(8);
    expect(kOf('encoder.1', { layers: { 'encoder.*': k(8), '*.1': k(7) } })).toBe(7);
  });

  test('a pattern that says nothing about a part leaves it to the next level', () => {
    const choices: LayerChoices = { ...k(1), layers: { 'encoder.*': { feedForward: { k: 9 } } } };
    expect(resolveChoice('encoder.0', [choices])).toMatchObject({ ...k(1), feedForward: { k: 9 } });
  });

  test('every choice of the call wins over every choice of the load', () => {
    expect(kOf('encoder.0', k(1), { layers: { 'encoder.0': k(2) } })).toBe(1);
    expect(kOf('encoder.0', { decoder: k(1) }, { layers: { 'encoder.0': k(2) } })).toBe(2);
  });

  test('cross-attention follows attention of the same level', () => {
    const cross = (...levels: LayerChoices[]) => resolveChoice('decoder.0', levels).crossAttention;
    expect(cross(k(1))).toEqual({ k: 1 });
    expect(cross({ ...k(1), crossAttention: 'exact' })).toBe('exact');
    expect(cross({ crossAttention: { k: 5 }, layers: { 'decoder.*': k(2) } })).toEqual({ k: 2 });
  });
});

describe('checkChoices', () => {
  test.each(['encoder.0', 'encoder.*', '*.10', '*.*'])('%s names a layer', (pattern) => {
    expect(() => checkChoices('load', { layers: { [pattern]: k(1) } }, paths)).not.toThrow();
  });

  test.each(['encoder.2', 'encoder', '*', 'encoder.0.attention', 'enc*.0', 'middle.*', '*.2', 'encoder.00'])(
    '%s names none',
    (pattern) => {
      const call = () => checkChoices('load', { layers: { [pattern]: k(1) } }, paths);
      expect(call).toThrow(expect.objectContaining({ code: 'INVALID_OPTION', got: pattern }));
    },
  );

  test('a bad k is found at every level', () => {
    for (const choices of [k(0), { decoder: k(1.5) }, { layers: { '*.0': k(-1) } }]) {
      expect(() => checkChoices('load', choices as LayerChoices, paths)).toThrow(
        expect.objectContaining({ code: 'INVALID_K', fix: expect.stringContaining('exact') }),
      );
    }
  });
});
