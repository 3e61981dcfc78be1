import {
  aBoolean,
  add,
  aNumber,
  exactAttention,
  type OptionKinds,
  readOptions,
  required,
  scope,
  type Tensor,
  TopKError,
} from '@topk-attention/core';
import {
  type Context,
  defineLayer,
  dropout,
  feedForwardLayer,
  type Layer,
  linearLayer,
  mergeHeads,
  normLayer,
  splitHeads,
  within,
} from '@topk-attention/nn';
import { requireNumber, requireWhole } from './inputs.js';
import {
  readInputs,
  requireBothDirections,
  type TwoStreamBlock,
  type TwoStreamInputs,
  type TwoStreams,
} from './two-streams.js';

export interface LunaAttentionOptions {
  readonly width: number;
  readonly heads: number;
  /** Heads of the attention of the memory to the text. Default: heads. */
  readonly packHeads?: number;
  /** Whether values are the keys, as published. Default true. */
  readonly tied?: boolean;
}

export interface LunaBlockOptions extends LunaAttentionOptions {
  /** Hidden units of the feed-forward layer. */
  readonly hidden: number;
  /** Default 0.1. */
  readonly dropout?: number;
}

const attentionKinds: OptionKinds<LunaAttentionOptions> = {
  width: required(aNumber),
  heads: required(aNumber),
  packHeads: aNumber,
  tied: aBoolean,
};

const blockKinds: OptionKinds<LunaBlockOptions> = {
  ...attentionKinds,
  hidden: required(aNumber),
  dropout: aNumber,
};

/**
 * Luna's attention (Ma et al., 2021), before residuals and norms: the memory attends to the text (pack, without an output
 * projection), then the text to what the memory found (unpack). Linear in the length of the text. Parameters `pack_query`,
 * `pack_key`, `query`, `key`, `output`, and without ties `pack_value` and `value`.
 *
 * @throws TopKError INVALID_OPTION; UNSUPPORTED for `causal`. Both also when applied, for inputs besides `keyLengths`.
 */
export function lunaAttention(options: LunaAttentionOptions): TwoStreamBlock {
  requireBothDirections('lunaAttention', options);
  const given = readOptions('lunaAttention', options, attentionKinds);
  const { width, heads, packHeads = heads, tied = true } = given;
  requireHeads('lunaAttention', width, heads);
  requireHeads('lunaAttention', width, packHeads);
  const parts: { readonly [name: string]: Layer } = Object.fromEntries(
    [...['pack_query', 'pack_key', 'query', 'key', 'output'], ...(tied ? [] : ['pack_value', 'value'])].map(
      (name) => [name, linearLayer(width, width)],
    ),
  );
  const { parameters } = defineLayer(parts, (_, x: Tensor) => x);
  const apply = (context: Context, { x, memory }: TwoStreams, called?: TwoStreamInputs): TwoStreams =>
    scope(() => {
      const { keyLengths } = readInputs('lunaAttention', context, called);
      const of = (name: string, from: Tensor, count: number): Tensor =>
        // Every name is one of the parts.
        splitHeads((parts[name] as Layer).apply(within(context, name), from), count);
      const packKey = of('pack_key', x, packHeads);
      const packValue = tied ? packKey : of('pack_value', x, packHeads);
      const packed = mergeHeads(
        exactAttention(of('pack_query', memory, packHeads), packKey, packValue, {
          ...(keyLengths && { keyLengths }),
        }),
      );
      const key = of('key', packed, heads);
      const value = tied ? key : of('value', packed, heads);
      const attended = mergeHeads(exactAttention(of('query', x, heads), key, value));
      return { x: (parts.output as Layer).apply(within(context, 'output'), attended), memory: packed };
    });
  return { width, parameters, apply };
}

/**
 * A block of Luna: `lunaAttention`, residuals and norms of both streams, and a feed-forward layer on the text alone. The
 * next block gets the new memory. Not causal: for that there is the mechanism `causalLuna`.
 *
 * @throws TopKError as `lunaAttention`
 *
 * @example
 * const block = lunaBlock({ width: 64, heads: 4, hidden: 128 });
 */
export function lunaBlock(options: LunaBlockOptions): TwoStreamBlock {
  requireBothDirections('lunaBlock', options);
  const { hidden, dropout: rate = 0.1, ...sizes } = readOptions('lunaBlock', options, blockKinds);
  requireNumber('lunaBlock', 'dropout', rate, 0);
  const { width } = sizes;
  const attention = lunaAttention(sizes);
  const feedForward = feedForwardLayer({ width, hidden, dropout: rate });
  const norms = { norm_x: normLayer(width), norm_memory: normLayer(width), norm_output: normLayer(width) };
  const { parameters } = defineLayer({ attention, '': feedForward, ...norms }, (_, x: Tensor) => x);
  const apply = (context: Context, { x, memory }: TwoStreams, called?: TwoStreamInputs): TwoStreams =>
    scope(() => {
      const inputs = readInputs('lunaBlock', context, called);
      const made = attention.apply(within(context, 'attention'), { x, memory }, inputs);
      const sum = (name: keyof typeof norms, to: Tensor, one: Tensor): Tensor => {
        const dropped = dropout(context, within(context, name).path, one, rate);
        return norms[name].apply(within(context, name), add(to, dropped));
      };
      const attended = sum('norm_x', x, made.x);
      return {
        x: sum('norm_output', attended, feedForward.apply(context, attended)),
        memory: sum('norm_memory', memory, made.memory),
      };
    });
  return { width, parameters, apply };
}

/** @throws TopKError INVALID_OPTION unless heads divide the width. */
export function requireHeads(where: string, width: number, heads: number): void {
  requireWhole(where, 'width', width, 1);
  requireWhole(where, 'heads', heads, 1);
  if (width % heads === 0) return;
  throw new TopKError('INVALID_OPTION', `${where}: bad heads`, {
    expected: `a number that divides the width of ${width}`,
    got: String(heads),
  });
}
