import {
  aBoolean,
  aNumber,
  type OptionKinds,
  readOptions,
  required,
  scope,
  type Tensor,
  TopKError,
} from '@topk-attention/core';
import { type Context, within } from '../context.js';
import type { Declared } from '../declared/declaration.js';
import type { KeysAndValues } from '../layers/attention.js';
import { recomputed } from '../layers/recomputed.js';
import type { MechanismState } from '../mechanisms/mechanism.js';
import { requireWhole } from '../require.js';
import { type DecoderInputs, decoderLayer } from './decoder-layer.js';
import {
  type EncoderInputs,
  encoderLayer,
  type TransformerLayerOptions,
  transformerLayerKinds,
} from './encoder-layer.js';
import { defineLayer, type Layer } from './layer.js';
import { normLayer } from './norm-layer.js';
import { type RelativePositions, relativePositionsKind, relativeTable } from './relative-table.js';

export interface StackOptions extends TransformerLayerOptions {
  /** Number of layers. */
  readonly layers: number;
  /** A norm after the last layer, `norm.*`. Default: only with `normFirst`, whose last sum has no norm. */
  readonly finalNorm?: boolean;
  /** T5's relative biases, one table `relative_attention_bias.weight` for all layers. Default: none. */
  readonly relativePositions?: RelativePositions;
  /**
   * Whether each layer runs again in the backward pass instead of keeping its tensors: less memory for a second forward
   * pass, and the same bits. Default false.
   */
  readonly recompute?: boolean;
}

/** A stack's result for the next tokens. */
export interface StackStep {
  /** [B, n, width] */
  readonly output: Tensor;
  /** One per layer. */
  readonly states: readonly MechanismState[];
}

export interface EncoderStack extends Layer<readonly [x: Tensor, inputs?: EncoderInputs]> {
  /**
   * The next tokens x [B, n, width] of causal decoding. Learned and sinusoidal positions need the offset of the first
   * one, which is the length of a state.
   *
   * @param states after the previous tokens; undefined at the beginning. Stay the caller's.
   * @throws TopKError UNSUPPORTED for a mechanism without a state, and with `relativePositions`.
   */
  step(context: Context, x: Tensor, states?: readonly MechanismState[]): StackStep;
}

export interface DecoderStack extends Layer<readonly [x: Tensor, memory: Tensor, inputs?: DecoderInputs]> {
  /** Keys and values of the memory for each layer, which all steps attend to. */
  remember(context: Context, memory: Tensor): readonly KeysAndValues[];
  /** As `EncoderStack.step`, with what `remember` returned for the memory. */
  step(
    context: Context,
    x: Tensor,
    memories: readonly KeysAndValues[],
    states?: readonly MechanismState[],
    inputs?: Pick<DecoderInputs, 'memoryLengths'>,
  ): StackStep;
}

const kinds: OptionKinds<StackOptions> = {
  layers: required(aNumber),
  finalNorm: aBoolean,
  relativePositions: relativePositionsKind,
  recompute: aBoolean,
  ...transformerLayerKinds,
};

/**
 * Encoder layers one after the other: x [B, L, width] -> [B, L, width]. Parameters `layers.<i>.*` and `norm.*`, as in
 * PyTorch's TransformerEncoder. With `attention: { causal: true }` it is a decoder without an encoder, like GPT.
 *
 * @throws TopKError as `encoderLayer`.
 *
 * @example
 * const stack = encoderStack({ layers: 2, width: 8, heads: 2, hidden: 16, normFirst: true });
 * const x = tensor(backend, new Float32Array(40), [1, 5, 8]);
 * const y = stack.apply(contextOf(initialize(backend, stack, 42)), x);
 */
export function encoderStack(options: StackOptions): EncoderStack {
  const { layers, table, layerOptions, norm, applied } = partsOf('encoderStack', options);
  const each = Array.from({ length: layers }, () => encoderLayer(layerOptions));
  const stack = defineLayer(named(each, table, norm), (context, x: Tensor, inputs?: EncoderInputs) => {
    const all = { ...inputs, ...(table && { relativeBias: table.biasIn(context) }) };
    return through(context, each, norm, x, (layer, inner, from) =>
      applied(inner, { x: from, all }, (run, { x, all }) => layer.apply(run, x, all)),
    );
  });
  return {
    ...stack,
    step: (context, x, states) =>
      scope(() => {
        if (table !== undefined) throw withoutStep('encoderStack');
        const next: MechanismState[] = [];
        const output = through(context, each, norm, x, (layer, inner, from, index) => {
          const made = layer.step(inner, from, states?.[index]);
          next.push(made.state);
          return made.output;
        });
        return { output, states: next };
      }),
  };
}

function withoutStep(where: string): TopKError {
  return new TopKError('UNSUPPORTED', `${where}.step: no decoding with relativePositions`, {
    expected: 'a stack with rotary, learned or sinusoidal positions',
    got: 'a table of relative positions',
    fix: 'Apply the stack to the whole text, or build it with attention: { rotary: {} }',
  });
}

/**
 * Decoder layers one after the other: x [B, L, width] and memory [B, Lm, width] -> [B, L, width]. Parameters `layers.<i>.*`
 * and `norm.*`, as in PyTorch's TransformerDecoder.
 *
 * @throws TopKError as `decoderLayer`.
 *
 * @example
 * const stack = decoderStack({ layers: 2, width: 8, heads: 2, hidden: 16 });
 */
export function decoderStack(options: StackOptions): DecoderStack {
  const { layers, table, layerOptions, norm, applied } = partsOf('decoderStack', options);
  const each = Array.from({ length: layers }, () => decoderLayer(layerOptions));
  const stack = defineLayer(
    named(each, table, norm),
    (context, x: Tensor, memory: Tensor, inputs?: DecoderInputs) => {
      const all = { ...inputs, ...(table && { relativeBias: table.biasIn(context) }) };
      return through(context, each, norm, x, (layer, inner, from) =>
        applied(inner, { x: from, memory, all }, (run, { x, memory, all }) =>
          layer.apply(run, x, memory, all),
        ),
      );
    },
  );
  return {
    ...stack,
    remember: (context, memory) =>
      scope(() => each.map((layer, index) => layer.remember(within(context, `layers.${index}`), memory))),
    step: (context, x, memories, states, inputs) =>
      scope(() => {
        if (table !== undefined) throw withoutStep('decoderStack');
        const next: MechanismState[] = [];
        const output = through(context, each, norm, x, (layer, inner, from, index) => {
          // One memory for each layer, as `remember` made them.
          const made = layer.step(inner, from, memories[index] as KeysAndValues, states?.[index], inputs);
          next.push(made.state);
          return made.output;
        });
        return { output, states: next };
      }),
  };
}

function partsOf(where: 'encoderStack' | 'decoderStack', options: StackOptions) {
  const { layers, finalNorm, relativePositions, recompute, ...layerOptions } = readOptions(
    where,
    options,
    kinds,
  );
  requireWhole(where, 'layers', layers, 1);
  const { normFirst = false, width } = layerOptions;
  const isBidirectional = where === 'encoderStack' && layerOptions.attention?.causal !== true;
  const ofLayers: Apply = recompute ? recomputed : (context, inputs, apply) => apply(context, inputs);
  return {
    layers,
    layerOptions,
    applied: ofLayers,
    norm: (finalNorm ?? normFirst) ? normLayer(width, layerOptions.norm) : undefined,
    table: relativePositions && relativeTable(layerOptions, relativePositions, isBidirectional),
  };
}

/** How a layer is applied to its inputs. */
type Apply = <Inputs>(
  context: Context,
  inputs: Inputs,
  apply: (context: Context, inputs: Inputs) => Tensor,
) => Tensor;

function named(
  layers: readonly Declared[],
  table: Declared | undefined,
  norm: Declared | undefined,
): { [name: string]: Declared } {
  return {
    ...(table && { '': table }),
    ...Object.fromEntries(layers.map((layer, index) => [`layers.${index}`, layer])),
    ...(norm && { norm }),
  };
}

/** Applies one layer after the other; disposes each output once the next is made. */
function through<One>(
  context: Context,
  layers: readonly One[],
  norm: Layer | undefined,
  x: Tensor,
  apply: (layer: One, context: Context, x: Tensor, index: number) => Tensor,
): Tensor {
  let current = x.alias();
  for (const [index, layer] of layers.entries()) {
    const next = apply(layer, within(context, `layers.${index}`), current, index);
    current.dispose();
    current = next;
  }
  return norm === undefined ? current : norm.apply(within(context, 'norm'), current);
}
