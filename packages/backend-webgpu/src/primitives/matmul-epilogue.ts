import type { Activation } from '@topk-attention/core';
import type { Binding } from '../runtime/binding.js';
import type { Span } from '../runtime/kernel.js';
import { activationText } from '../wgsl/activation.js';
import { type Buffer, optional, readFrom, write } from '../wgsl/define-kernel.js';
import { loadFloat } from '../wgsl/numbers.js';

/** What follows a product in the same launch: out = activation(a b + bias). */
export interface Epilogue {
  /** [columns] */
  readonly bias?: Binding | undefined;
  readonly activation?: Activation | undefined;
  /** Where the values go that the activation is applied to; laid out as the result. */
  readonly preactivations?: Span | undefined;
}

/** What a shader depends on. */
export interface EpilogueParts {
  readonly hasBias: boolean;
  readonly activation: Activation | undefined;
  readonly keeps: boolean;
}

export const NO_EPILOGUE: EpilogueParts = { hasBias: false, activation: undefined, keeps: false };

export function epilogueParts(epilogue: Epilogue | undefined): EpilogueParts {
  if (epilogue === undefined) return NO_EPILOGUE;
  const { bias, activation, preactivations } = epilogue;
  return { hasBias: bias !== undefined, activation, keeps: preactivations !== undefined };
}

/** For a kernel's key. */
export function epilogueKey({ hasBias, activation, keeps }: EpilogueParts): string {
  return `${hasBias ? ' bias' : ''}${activation === undefined ? '' : ` ${activation}`}${keeps ? ' keeps' : ''}`;
}

type Buffers = {
  readonly bias: Buffer<true, true>;
  readonly preactivations: Buffer<false, true>;
};

/** The buffers of a kernel with an epilogue; `vec`: four neighbours of a row at once. */
export function epilogueBuffers({ hasBias, keeps }: EpilogueParts, vec: boolean, half: boolean): Buffers {
  const element = half ? (vec ? 'vec2u' : 'u32') : vec ? 'vec4f' : 'f32';
  return {
    bias: optional(hasBias, readFrom(element)),
    preactivations: optional(keeps, write(element)),
  };
}

/** What a launch binds to them. */
export function epilogueSpans(
  epilogue: Epilogue | undefined,
  isUsed = true,
): { readonly bias: Binding | undefined; readonly preactivations: Span | undefined } {
  if (!isUsed) return { bias: undefined, preactivations: undefined };
  return { bias: epilogue?.bias, preactivations: epilogue?.preactivations };
}

/**
 * `finished(at, column, sums)`: the result of four neighbours with `vec`, else of one, at that place and column of the result;
 * `half` only with `vec`.
 */
export function finishText(
  { hasBias, activation, keeps }: EpilogueParts,
  vec: boolean,
  half: boolean,
): string {
  const place = (at: string): string => (vec ? `${at} / 4u` : at);
  const type = vec ? 'vec4f' : 'f32';
  const bias = half ? 'bias_at(column)' : `bias[${place('(params.bias_base + column)')}]`;
  const value = vec
    ? 'vec4f(activated(values.x), activated(values.y), activated(values.z), activated(values.w))'
    : 'activated(values)';
  return `${activation === undefined ? '' : activationText(activation)}
${half && hasBias ? `${biasOfFour}\n` : ''}fn finished(at: u32, column: u32, sums: ${type}) -> ${type} {
  let values = sums${hasBias ? ` + ${bias}` : ''};
  ${keeps ? `preactivations[${place('at')}] = ${half ? 'packed(values)' : 'values'};` : ''}
  return ${activation === undefined ? 'values' : value};
}`;
}

const biasOfFour = `fn bias_at(column: u32) -> vec4f {
  let found = bias[(params.bias_base + column) / 4u];
  return vec4f(unpack2x16float(found.x), unpack2x16float(found.y));
}`;

/**
 * For two halves, one after the other: `kept_value(column, sum)`, which is kept, and `final_value(value)`, the result that
 * follows from it.
 */
export function finishHalfText({ hasBias, activation }: EpilogueParts): string {
  return `${activation === undefined ? '' : activationText(activation)}
${hasBias ? loadFloat('bias', true) : ''}
fn kept_value(column: u32, sum: f32) -> f32 { return sum${hasBias ? ' + load_bias(params.bias_base + column)' : ''}; }
fn final_value(value: f32) -> f32 { return ${activation === undefined ? 'value' : 'activated(value)'}; }`;
}

/** Whether four neighbours of the bias can be read at once. */
export function biasInFours(epilogue: Epilogue | undefined): boolean {
  return (epilogue?.bias?.base ?? 0) % 4 === 0;
}

/** Whether there is nothing to do. */
export function isEmptyEpilogue({ hasBias, activation, keeps }: EpilogueParts): boolean {
  return !hasBias && activation === undefined && !keeps;
}
