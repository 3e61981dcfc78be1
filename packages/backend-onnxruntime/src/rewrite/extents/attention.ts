import type { Facts, Rule, Rules } from './facts.js';
import { type Known, withExtent } from './known.js';

/** Keys or values of a past [B, heads, past, d] with those of the input. */
function grown(facts: Facts, past: number, type: number, dims: readonly number[]): Known {
  if (!facts.has(past)) return { type, dims };
  const before = facts.input(past).dims[2] as number;
  return { type, dims: withExtent(dims, 2, before + (dims[2] as number)) };
}

function inHeads([batch, length, width]: readonly number[], heads: number): readonly number[] {
  return [batch as number, heads, length as number, (width as number) / heads];
}

/** The operator of set 23: queries of 3 or 4 axes. */
const attention: Rule = (facts) => {
  const { type, dims } = facts.input(0);
  const [key, value] = [facts.input(1).dims, facts.input(2).dims];
  const isFlat = dims.length === 3;
  const heads = facts.int('q_num_heads', 1);
  const keyHeads = facts.int('kv_num_heads', heads);
  const split = (one: readonly number[]): readonly number[] => (isFlat ? inHeads(one, keyHeads) : one);
  const width = isFlat ? heads * ((value.at(-1) as number) / keyHeads) : (value.at(-1) as number);
  return [
    { type, dims: withExtent(dims, -1, width) },
    grown(facts, 4, type, split(key)),
    grown(facts, 5, type, split(value)),
  ];
};

const multiHead: Rule = (facts) => {
  const { type, dims } = facts.input(0);
  const [key, value] = [facts.input(1).dims, facts.input(2).dims];
  const heads = facts.int('num_heads', 1);
  const split = (one: readonly number[]): readonly number[] => (one.length === 3 ? inHeads(one, heads) : one);
  const width = heads * (split(value).at(-1) as number);
  return [
    { type, dims: withExtent(dims, -1, width) },
    grown(facts, 6, type, split(key)),
    grown(facts, 7, type, split(value)),
  ];
};

const grouped: Rule = (facts) => {
  const { type, dims } = facts.input(0);
  const heads = facts.int('kv_num_heads', 1);
  const [key, value] = [facts.input(1).dims, facts.input(2).dims];
  return [
    { type, dims },
    grown(facts, 3, type, inHeads(key, heads)),
    grown(facts, 4, type, inHeads(value, heads)),
  ];
};

/** Weights for queries, keys and values in one; keys and values are returned in one. */
const packed: Rule = (facts) => {
  const { type, dims } = facts.input(0);
  const heads = facts.int('num_heads', 1);
  const third = (facts.input(1).dims.at(-1) as number) / 3;
  const [, , width = third] = facts.ints('qkv_hidden_sizes') ?? [];
  const [batch, length] = dims as [number, number];
  const past = facts.has(4) ? (facts.input(4).dims[3] as number) : 0;
  return [
    { type, dims: withExtent(dims, -1, width) },
    { type, dims: [2, batch, heads, past + length, width / heads] },
  ];
};

/** Operators for whole attention blocks. */
export const attentionRules: Rules = {
  Attention: attention,
  'com.microsoft.Attention': packed,
  'com.microsoft.GroupQueryAttention': grouped,
  'com.microsoft.MultiHeadAttention': multiHead,
};
