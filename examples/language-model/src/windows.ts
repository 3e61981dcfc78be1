import { type Backend, type Tensor, tensor } from '@topk-attention/core';
import type { Dataset } from '@topk-attention/nn';

/** A piece of text: a window of tokens, and the token after each. */
export interface Window {
  readonly inputs: Int32Array;
  readonly targets: Int32Array;
}

/** Windows as tensors. */
export type Batch = {
  /** i32 [B, length] */
  readonly inputs: Tensor;
  /** i32 [B * length] */
  readonly targets: Tensor;
};

/** Windows of a text, each `stride` tokens after the one before. */
export function windowsOf(tokens: Int32Array, length: number, stride: number): Dataset<Window> {
  return {
    // The last token is only a target.
    length: Math.max(0, Math.floor((tokens.length - 1 - length) / stride) + 1),
    get: (index) => windowAt(tokens, index * stride, length),
  };
}

function windowAt(tokens: Int32Array, at: number, length: number): Window {
  return { inputs: tokens.subarray(at, at + length), targets: tokens.subarray(at + 1, at + length + 1) };
}

export function toBatch(backend: Backend, windows: readonly Window[]): Batch {
  const length = windows[0]?.inputs.length ?? 0;
  const [inputs, targets] = [
    new Int32Array(windows.length * length),
    new Int32Array(windows.length * length),
  ];
  for (const [row, window] of windows.entries()) {
    inputs.set(window.inputs, row * length);
    targets.set(window.targets, row * length);
  }
  return {
    inputs: tensor(backend, inputs, [windows.length, length], 'i32'),
    targets: tensor(backend, targets, [targets.length], 'i32'),
  };
}
