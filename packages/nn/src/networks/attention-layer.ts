import { readOptions, scope, Tensor, TopKError } from '@topk-attention/core';
import { type Context, within } from '../context.js';
import { declarationsOf } from '../declared/declaration.js';
import { type Initializer, xavierUniform, zeros } from '../declared/initializers.js';
import type { KeysAndValues } from '../layers/attention.js';
import { mergeHeads, splitHeads } from '../layers/heads.js';
import { exact } from '../mechanisms/kept-keys.js';
import type {
  Mechanism,
  MechanismCall,
  MechanismOptions,
  MechanismState,
  MechanismStep,
} from '../mechanisms/mechanism.js';
import { requireAbilities, requireAbility, requireSource } from '../mechanisms/require-ability.js';
import { requireWhole } from '../require.js';
import { seedOf } from '../seeds.js';
import {
  type AttentionInputs,
  type AttentionLayerOptions,
  attentionInputKinds,
  attentionKinds,
} from './attention-settings.js';
import { requireRate } from './dropout-layer.js';
import type { Layer } from './layer.js';
import { linearLayer } from './linear-layer.js';
import { requireWidth } from './require-width.js';
import { rotary } from './rotary.js';

/** Attention with its projections, as a value. */
export interface MultiHeadAttention extends Layer<readonly [x: Tensor, inputs?: AttentionInputs]> {
  readonly mechanism: Mechanism;
  /** Keys and values of a source [B, Lk, sourceWidth], to reuse in several calls. */
  keysAndValues(context: Context, source: Tensor): KeysAndValues;
  /**
   * The next tokens x [B, n, width] of causal decoding: their output [B, n, width], and the state after them.
   *
   * @param state after the previous tokens; undefined at the beginning. Stays the caller's.
   * @throws TopKError UNSUPPORTED for a mechanism without a state, INVALID_OPTION for a layer that is not causal.
   */
  step(context: Context, x: Tensor, state?: MechanismState): MechanismStep;
}

/**
 * Multi-head attention x [B, Lq, width] -> [B, Lq, width], to itself or to a source. Parameters `q_proj.*`, `k_proj.*`,
 * `v_proj.*`, `out_proj.*`, and those of the mechanism as `mechanism.*`.
 *
 * @throws TopKError INVALID_OPTION, UNSUPPORTED for a mechanism that does not support the options; when applied
 * MISSING_WEIGHT, RANK_MISMATCH, SHAPE_MISMATCH, UNSUPPORTED for inputs that the mechanism does not support.
 *
 * @example
 * const layer = attentionLayer({ width: 8, heads: 2, causal: true, mechanism: topK({ k: 16 }) });
 * const x = tensor(backend, new Float32Array(40), [1, 5, 8]);
 * const y = layer.apply(contextOf(initialize(backend, layer, 42)), x);
 */
export function attentionLayer(options: AttentionLayerOptions): MultiHeadAttention {
  const given = readOptions('attentionLayer', options, attentionKinds);
  const { width, heads, mechanism = exact(), causal = false, bias = true, initializers = {} } = given;
  const {
    keyValueHeads = heads,
    headDim = width / heads,
    sourceWidth = width,
    dropout = 0,
    scale,
    rotary: turn,
  } = given;
  for (const [name, extent] of Object.entries({ width, heads, keyValueHeads, sourceWidth })) {
    requireWhole('attentionLayer', name, extent, 1);
  }
  requireHeads(width, heads, keyValueHeads, headDim);
  requireRate('attentionLayer', 'dropout', dropout);
  if (causal) requireAbility('attentionLayer', mechanism, 'causal');
  if (dropout > 0) requireAbility('attentionLayer', mechanism, 'dropout');
  if (keyValueHeads !== heads) requireAbility('attentionLayer', mechanism, 'groupedHeads');
  if (sourceWidth !== width) requireSource('attentionLayer', mechanism);

  const packed = xavierUniform(Math.SQRT1_2);
  const projection = (inputs: number, outputs: number, initializer?: Initializer): Layer =>
    linearLayer(inputs, outputs, { bias, biasInitializer: zeros, ...(initializer && { initializer }) });
  const q_proj = projection(width, heads * headDim, initializers.query ?? packed);
  const k_proj =
    mechanism.self === 'tied'
      ? undefined
      : projection(sourceWidth, keyValueHeads * headDim, initializers.key ?? packed);
  const v_proj = projection(sourceWidth, keyValueHeads * headDim, initializers.value ?? packed);
  const out_proj = projection(heads * headDim, width, initializers.output);
  const own = { parameters: mechanism.declare?.({ width, heads, keyValueHeads, headDim }) ?? {} };

  const turned = (one: Tensor, offset: number): Tensor =>
    turn === undefined ? one : rotary(one, { ...turn, offset });
  const keysAndValues = (
    context: Context,
    source: Tensor,
    offset: number,
    query: Tensor | undefined,
  ): KeysAndValues => {
    requireWidth(context, source, sourceWidth, 3);
    const key =
      query ??
      // Only a layer of tied keys has no projection, and it passes its queries.
      turned(splitHeads((k_proj as Layer).apply(within(context, 'k_proj'), source), keyValueHeads), offset);
    return {
      key,
      value: splitHeads(v_proj.apply(within(context, 'v_proj'), source), keyValueHeads),
    };
  };

  /** The mechanism's arguments, for tokens from a given position on. */
  const callOf = (
    context: Context,
    x: Tensor,
    called: AttentionInputs | undefined,
    offset: number,
  ): MechanismCall => {
    const { source = x, ...inputs } = readOptions(whereOf(context), called, attentionInputKinds);
    requireWidth(context, x, width, 3);
    if (source !== x) requireSource(whereOf(context), mechanism);
    const seed = (): number => seedOf(context, within(context, 'weights').path);
    const options: MechanismOptions = {
      ...inputs,
      ...(causal && { causal }),
      ...(scale !== undefined && { scale }),
      ...(context.training && dropout > 0 && { dropout: { rate: dropout, seed: seed() } }),
    };
    requireAbilities(whereOf(context), mechanism, options);
    const query = turned(splitHeads(q_proj.apply(within(context, 'q_proj'), x), heads), offset);
    const tied = mechanism.self === 'tied' ? query : undefined;
    return {
      context: within(context, 'mechanism'),
      path: context.path,
      query,
      ...(source instanceof Tensor ? keysAndValues(context, source, offset, tied) : source),
      input: x,
      ...(source !== x && { fromSource: true }),
      options,
    };
  };
  const outputOf = (context: Context, attended: Tensor): Tensor =>
    out_proj.apply(within(context, 'out_proj'), mergeHeads(attended));

  return {
    mechanism,
    parameters: declarationsOf({ q_proj, ...(k_proj && { k_proj }), v_proj, out_proj, mechanism: own }),
    apply: (context, x, inputs) =>
      scope(() => outputOf(context, mechanism.attend(callOf(context, x, inputs, 0)))),
    keysAndValues: (context, source) =>
      scope(() => {
        requireSource('attentionLayer.keysAndValues', mechanism);
        return keysAndValues(context, source, 0, undefined);
      }),
    step: (context, x, state) =>
      scope(() => {
        requireAbility('attentionLayer.step', mechanism, 'decoding');
        if (mechanism.step === undefined) throw withoutStep(mechanism);
        if (!causal) throw notCausal();
        const call = callOf(context, x, undefined, state?.length ?? 0);
        const { output, state: next } = mechanism.step(call, state);
        return { output: outputOf(context, output), state: next };
      }),
  };
}

function whereOf({ path }: Context): string {
  return path === '' ? 'attention' : path;
}

function requireHeads(width: number, heads: number, keyValueHeads: number, headDim: number): void {
  if (!Number.isSafeInteger(headDim) || headDim < 1) {
    throw new TopKError('INVALID_OPTION', 'attentionLayer: bad headDim', {
      expected: 'a whole number of at least 1; without one, heads must divide width',
      got: `${headDim} for width ${width} and ${heads} heads`,
    });
  }
  if (heads % keyValueHeads === 0) return;
  throw new TopKError('INVALID_OPTION', 'attentionLayer: bad keyValueHeads', {
    expected: `a number that divides the ${heads} heads`,
    got: String(keyValueHeads),
  });
}

function notCausal(): TopKError {
  return new TopKError('INVALID_OPTION', 'attentionLayer.step: the layer is not causal', {
    expected: 'a layer built with causal: true',
    got: 'a layer whose tokens see later ones',
  });
}

function withoutStep({ name }: Mechanism): TopKError {
  return new TopKError('INVALID_OPTION', `attentionLayer: ${name} attention is incomplete`, {
    expected: "a step function, because it takes 'decoding'",
    got: 'none',
  });
}
